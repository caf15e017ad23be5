"""LargeImages: images of any size and of mixed sizes that stay in their files, read by rows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clad.data.convert import resize, to_channels
from clad.data.decode import strict_pillow
from clad.data.folder import BadFile, Entry, image_names, judge, path_entries, path_entry
from clad.data.groups import DIGEST
from clad.data.images import ImageSet
from clad.data.inputs import (
    holds_files,
    holds_images,
    is_torch,
    item_pixels,
    load_npy,
    tensor_array,
)
from clad.data.rows import ArrayRows, Rows, opened
from clad.data.tree import Tree
from clad.errors import DataError
from clad.runtime import track

BAND = 512  # rows read at a time
MANY = 32  # channels of a stack of images, at most


class _Source(NamedTuple):
    """One image: its name, and how to open its rows."""

    name: str
    open: Callable[[], AbstractContextManager[Rows]]


class _Facts(NamedTuple):
    """What one pass over an image's pixels tells; ``brightness`` is their mean in [0, 1]."""

    shape: tuple[int, int, int]
    mode: str
    brightness: float
    digest: bytes


@dataclass(frozen=True, eq=False)
class LargeImages:
    """N images with ``channels`` channels; what an ImageSet tells of its images, but no array.

    ``index``: int64 (N,), the sources in this set, in order. Every source has been read once, so
    all of them can be.
    """

    sources: Sequence[_Source]
    facts: Sequence[_Facts]
    index: NDArray[np.int64]
    channels: int

    groups = None  # each stands alone, but for duplicates

    def __len__(self) -> int:
        return len(self.index)

    @property
    def names(self) -> list[str]:
        """N names, in this set's order."""
        return [self.sources[i].name for i in self.index]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """int64 (N, 2): height and width of each image."""
        return np.array([self.facts[i].shape[1:] for i in self.index], np.int64).reshape(-1, 2)

    @property
    def modes(self) -> list[str]:
        """N of Pillow's modes: what each file holds."""
        return [self.facts[i].mode for i in self.index]

    @property
    def brightness(self) -> NDArray[np.float64]:
        """float64 (N,) in [0, 1]: the mean over an image's pixels."""
        return np.array([self.facts[i].brightness for i in self.index])

    @property
    def digests(self) -> NDArray[np.uint8]:
        """uint8 (N, ``DIGEST``): BLAKE2b of each image's pixels."""
        rows = b"".join(self.facts[i].digest for i in self.index)
        return np.frombuffer(rows, np.uint8).reshape(-1, DIGEST)

    def take(self, positions: NDArray[np.integer] | NDArray[np.bool_]) -> LargeImages:
        """The images at these positions (integers, or a boolean mask of length N)."""
        return replace(self, index=self.index[positions])

    def fits(self, channels: int | None, smallest: int) -> bool:
        """Whether all have ``channels`` channels (None: any) and sides of ``smallest`` or more."""
        large = bool((self.sizes >= smallest).all())
        return channels in (None, self.channels) and large

    @contextmanager
    def open(self, position: int) -> Iterator[Rows]:
        """The rows of one image, of ``channels`` channels. Errors name it."""
        with _opened(self.sources[self.index[position]]) as rows:
            yield rows if rows.shape[0] == self.channels else _Converted(rows, self.channels)

    def picture(self, position: int, side: int) -> NDArray[np.uint8]:
        """One image shrunk by a whole number until it is at most ``side`` pixels a side:
        uint8 (C, h, w), means over squares."""
        with self.open(position) as rows:
            _, height, width = rows.shape
            factor = -(-max(height, width) // side)
            if factor == 1:
                return rows.read(0, height)
            bands = []
            step = max(BAND // factor, 1) * factor
            for start in range(0, height, step):
                band = rows.read(start, min(start + step, height))
                down, right = -band.shape[1] % factor, -band.shape[2] % factor
                band = np.pad(band, ((0, 0), (0, down), (0, right)), mode="edge")
                c, h, w = band.shape
                cells = band.reshape(c, h // factor, factor, w // factor, factor)
                bands.append(np.rint(cells.mean(axis=(2, 4))).astype(np.uint8))
            return np.concatenate(bands, axis=1)

    def thumbnails(self, side: int = 128) -> NDArray[np.uint8]:
        """uint8 (N, 1 or 3, side, side), for a person to look at; of many channels the mean."""
        shown = []
        for i in range(len(self)):
            picture = self.picture(i, 4 * side)
            if self.channels not in (1, 3):
                picture = np.rint(picture.mean(axis=0, keepdims=True)).astype(np.uint8)
            shown.append([resize(plane[None], (side, side))[0] for plane in picture])
        channels = self.channels if self.channels in (1, 3) else 1
        return np.array(shown, np.uint8).reshape(-1, channels, side, side)

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """The images' thumbnails in order, uint8 (<= size, 1 or 3, side, side) at a time."""
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self)))).thumbnails()


class _Converted(Rows):
    """Grey as colour or colour as grey, by the package's one conversion."""

    def __init__(self, rows: Rows, channels: int) -> None:
        self._rows, self.mode = rows, rows.mode
        self.shape = channels, *rows.shape[1:]

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """See :meth:`Rows.read`."""
        return to_channels(self._rows.read(start, stop)[None], self.shape[0])[0]


def read_large(
    source: Any,
    *,
    channels: int | None = None,
    convert: bool = True,
    smallest: int = 0,
    on_bad: str = "error",
    first_frame: bool = False,
) -> tuple[LargeImages, list[BadFile]]:
    """Look through the images of ``source`` and keep where they are; and the files left out.

    ``source``: as for ``inputs.as_image_set``; files and ``.npy`` stacks stay on disk. ``channels``
    of None is the number all images have, or 3 for grey beside colour. ``convert``: whether grey
    and colour are turned into ``channels``; else an image of another number is bad, as one is with
    a side under ``smallest``. ``on_bad``: as in ``folder.read_images``.
    """
    if isinstance(source, LargeImages) and source.fits(channels, smallest):
        return source, []
    sources = _sources(source, first_frame)
    images, faults = _select(sources, channels, convert, smallest)
    judge(faults, len(sources), on_bad)
    return images, faults


def large_parts(
    source: Any, *, channels: int, convert: bool, smallest: int, on_bad: str, first_frame: bool
) -> Iterator[tuple[LargeImages, list[BadFile]]]:
    """As ``read_large``, one image at a time: the next is looked at when the last is done with.

    With ``on_bad="error"`` bad files are listed in a DataError when the last has been read.
    """
    sources = _sources(source, first_frame)
    faults: list[BadFile] = []
    for each in track(sources, "images", unit="image"):
        images, bad = _select([each], channels, convert, smallest)
        faults += bad
        yield images, bad
    judge(faults, len(sources), on_bad)


def _select(
    sources: Sequence[_Source], channels: int | None, convert: bool, smallest: int
) -> tuple[LargeImages, list[BadFile]]:
    """The images that can be used, perhaps none, and the files that cannot."""
    facts, bad = _look(sources, smallest)
    found = {fact.shape[0] for fact in facts.values()}
    if channels is None:
        channels = found.pop() if len(found) == 1 else 3
    for i, fact in facts.items():
        has = fact.shape[0]
        if has != channels and not (convert and {has, channels} <= {1, 3}):
            reason = f"{has} channels, where {channels} are expected; convert it"
            bad[i] = BadFile(sources[i].name, reason)
    good = [i for i in range(len(sources)) if i not in bad]
    images = LargeImages(
        [sources[i] for i in good],
        [facts[i] for i in good],
        np.arange(len(good)),
        channels,
    )
    return images, [bad[i] for i in sorted(bad)]


def _look(
    sources: Sequence[_Source], smallest: int
) -> tuple[dict[int, _Facts], dict[int, BadFile]]:
    """One pass over all pixels: what can be read, and what cannot."""
    facts: dict[int, _Facts] = {}
    bad: dict[int, BadFile] = {}
    with strict_pillow():
        for i, source in enumerate(
            track(sources, "look", unit="image") if len(sources) > 1 else sources
        ):
            try:
                with source.open() as rows:
                    _, height, width = rows.shape
                    if min(height, width) < smallest:
                        raise DataError(
                            f"{height}x{width} is smaller than a tile of {smallest} pixels; "
                            "leave it out, or fit with a smaller --tile"
                        )
                    facts[i] = _facts(rows)
            except DataError as error:
                bad[i] = BadFile(source.name, str(error))
            except OSError as error:
                bad[i] = BadFile(source.name, error.strerror or str(error))
    return facts, bad


def _facts(rows: Rows) -> _Facts:
    digest, total = hashlib.blake2b(repr(rows.shape).encode(), digest_size=DIGEST), 0
    for start in range(0, rows.shape[1], BAND):
        band = rows.read(start, min(start + BAND, rows.shape[1]))
        digest.update(np.ascontiguousarray(band).data)
        total += int(band.sum(dtype=np.int64))
    mean = total / np.prod(rows.shape, dtype=np.float64) / 255
    return _Facts(rows.shape, rows.mode, float(mean), digest.digest())


@contextmanager
def _opened(source: _Source) -> Iterator[Rows]:
    try:
        with strict_pillow(), source.open() as rows:
            yield rows
    except DataError as error:
        raise DataError(f"{source.name}: {error}") from error
    except OSError as error:
        raise DataError(f"{source.name}: {error.strerror or error}") from error


# -- where images come from -----------------------------------------------------------------------


def _sources(source: Any, first_frame: bool) -> list[_Source]:
    if isinstance(source, LargeImages):
        return [source.sources[i] for i in source.index]
    if isinstance(source, list) and source and isinstance(source[0], _Source):
        return source
    if holds_files(source):
        return [_Source(e.name, partial(_file, e, first_frame)) for e in _entries(source)]
    if isinstance(source, (str, os.PathLike)):
        source = load_npy(Path(source))
    if isinstance(source, ImageSet):
        arrays, names = [source.array[i] for i in source.index], source.names
    else:
        arrays, names = _arrays(source)
    return [
        _Source(name, partial(_array, array)) for name, array in zip(names, arrays, strict=True)
    ]


def _entries(source: Any) -> list[Entry]:
    """Files of a folder, a zip (which stays open), a list of paths or a text file of them."""
    if not isinstance(source, (str, os.PathLike)):
        return [path_entry(p) for p in source]
    path = Path(source)
    if path.is_dir() or path.suffix.lower() == ".zip":
        tree = Tree(path)
        return [Entry(name, partial(tree.open, name)) for name in image_names(tree)]
    return path_entries(path)


@contextmanager
def _array(array: NDArray[Any]) -> Iterator[Rows]:
    yield ArrayRows(array)


@contextmanager
def _file(entry: Entry, first_frame: bool) -> Iterator[Rows]:
    with entry.open() as stream, opened(stream, first_frame=first_frame) as rows:
        yield rows


def _arrays(source: Any) -> tuple[list[NDArray[Any]], list[str]]:
    """(C, H, W) each of a stack or a sequence of arrays, tensors or Pillow images, and names."""
    if is_torch(source, "Tensor"):
        source = tensor_array(source)
        source = source if source.ndim == 3 else source.transpose(0, 2, 3, 1)
    if isinstance(source, np.ndarray):
        stack = source[..., None] if source.ndim == 3 else source
        if stack.ndim != 4:
            raise DataError(f"shape {source.shape} is not (N, H, W), (N, H, W, C) or (N, C, H, W)")
        # the channels are the shorter of the two axes where they can be
        arrays = list(stack if stack.shape[1] < stack.shape[3] else stack.transpose(0, 3, 1, 2))
        if len(arrays) and len(arrays[0]) > MANY:
            raise DataError(f"shape {source.shape} has no axis of at most {MANY} channels")
    elif is_torch(source, "utils.data.Dataset") or holds_images(source):
        arrays = [item_pixels(source[i], i) for i in range(len(source))]
    else:
        raise DataError(f"large images cannot be read from a {type(source).__name__}")
    if not arrays:
        raise DataError("no images; give at least one")
    return arrays, [str(i) for i in range(len(arrays))]
