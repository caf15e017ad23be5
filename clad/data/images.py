"""ImageSet: what every later step reads. uint8 (N, C, H, W), in memory or mapped, no labels."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad.errors import DataError

PORTION = 128  # images read before their pages are handed back: up to 2 MiB are mapped for each


@dataclass(frozen=True, eq=False)
class Origins:
    """What M images were as files: ``sizes`` int64 (M, 2), height and width, upright; ``modes``
    M texts, Pillow's ("L", "RGB", "I;16", ...)."""

    sizes: NDArray[np.int64]
    modes: list[str]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images without labels; a selection of a larger array costs an index, never a copy.

    ``array``: uint8 (M, C, H, W), ndarray or memmap. ``index``: int64 (N,), the rows of ``array``
    in this set, in order. ``names``: M names, a path or a row number each.
    ``groups``: int64 (M,) or None; images of one group stay on one side of every split.
    ``origins``: of M files, or None where the array is what the images always were.
    """

    array: NDArray[np.uint8]
    index: NDArray[np.int64]
    all_names: Sequence[str]
    all_groups: NDArray[np.int64] | None = None
    all_origins: Origins | None = None

    @classmethod
    def of(
        cls,
        array: NDArray[np.uint8],
        names: Sequence[str] | None = None,
        groups: NDArray[np.int64] | None = None,
        origins: Origins | None = None,
    ) -> ImageSet:
        """Wrap a whole uint8 (N, C, H, W) array; names default to row numbers."""
        if array.dtype != np.uint8 or array.ndim != 4:
            raise DataError(
                f"an ImageSet holds uint8 (N, C, H, W), got {array.dtype} {array.shape}"
            )
        n = len(array)
        names = [str(i) for i in range(n)] if names is None else names
        for what, got in (("names", len(names)), ("groups", n if groups is None else len(groups))):
            if got != n:
                raise DataError(f"{got} {what} for {n} images")
        return cls(array, np.arange(n, dtype=np.int64), names, groups, origins)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, c, h, w = self.array.shape
        return c, h, w

    @property
    def names(self) -> list[str]:
        """N names, in this set's order."""
        return [self.all_names[i] for i in self.index]

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """(N,) group numbers, or None where every image stands alone."""
        return None if self.all_groups is None else self.all_groups[self.index]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """int64 (N, 2): height and width of each image before it was brought to ``shape``."""
        if self.all_origins is None:
            return np.tile(np.array(self.shape[1:], np.int64), (len(self), 1))
        return self.all_origins.sizes[self.index]

    @property
    def modes(self) -> list[str]:
        """N of Pillow's modes: what each file held, or "L" and "RGB" by the channels."""
        if self.all_origins is None:
            return ["L" if self.shape[0] == 1 else "RGB"] * len(self)
        return [self.all_origins.modes[i] for i in self.index]

    @property
    def brightness(self) -> NDArray[np.float64]:
        """float64 (N,) in [0, 1]: the mean over an image's pixels, read when asked for."""
        means = [batch.mean(axis=(1, 2, 3)) / 255 for batch in self.batches(4096)]
        return np.concatenate(means) if means else np.empty(0)

    def take(self, positions: NDArray[np.integer] | NDArray[np.bool_]) -> ImageSet:
        """The images at these positions (integers, or a boolean mask of length N), uncopied."""
        return replace(self, index=self.index[positions])

    def read(self, positions: NDArray[np.integer] | slice = slice(None)) -> NDArray[np.uint8]:
        """Copy out uint8 (B, C, H, W); with no argument the whole set."""
        rows = self.index[positions]
        pixels = np.empty((len(rows), *self.shape), np.uint8)
        for start in range(0, len(rows), PORTION):
            part = slice(start, start + PORTION)
            pixels[part] = self.array[rows[part]]
            _release(self.array)
        return pixels

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """The images in order, uint8 (<= size, C, H, W) at a time."""
        for start in range(0, len(self), size):
            yield self.read(slice(start, start + size))


def _release(array: NDArray[np.uint8]) -> None:
    """Hand back the pages read from a mapped file, which would count as this process's memory.

    They stay in the system's cache. Only maps that nothing can be written to, and where there is
    such a call (not on Windows).
    """
    if not isinstance(array, np.memmap) or array.mode != "r" or not hasattr(mmap, "MADV_DONTNEED"):
        return
    mapped: Any = array
    while not isinstance(mapped, mmap.mmap):
        mapped = mapped.base
    mapped.madvise(mmap.MADV_DONTNEED)
