"""Small pictures of many images, in sheets of JPEG that a page can carry."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 48  # pixels, at most
BLOCK = 16  # JPEG's, with halved colour: a thumbnail of its own blocks takes nothing from the next
COLUMNS = 16
PER_SHEET = 256
BYTES = 750  # a thumbnail, so that 2,000 and their heatmaps stay under 5 MB
QUALITIES = (75, 60, 45, 30, 15)  # the best that keeps to it


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """M thumbnails of ``size`` (height, width), row by row in sheets of ``COLUMNS`` columns.

    Each lies in the upper left of a cell whose sides are multiples of ``BLOCK``. ``sheets``: JPEG
    files as uint8 (bytes,). ``counts``: how many thumbnails each holds.
    """

    sheets: tuple[NDArray[np.uint8], ...]
    counts: tuple[int, ...]
    size: tuple[int, int]

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def cell(self) -> tuple[int, int]:
        """(height, width) of a cell of the sheets."""
        return _cell(self.size)

    def joined(self, other: Thumbnails) -> Thumbnails:
        """These and ``other``'s, which are of the same size, after them."""
        return Thumbnails(self.sheets + other.sheets, self.counts + other.counts, self.size)

    # -- on disk --------------------------------------------------------------------------------

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name."""
        numbered = {f"sheet-{i:05}": sheet for i, sheet in enumerate(self.sheets)}
        return {**numbered, "counts": np.array(self.counts, np.int64), "size": np.array(self.size)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Thumbnails:
        """What ``arrays`` gave; KeyError or ValueError for anything else."""
        sheets = tuple(arrays[name] for name in sorted(arrays) if name.startswith("sheet-"))
        height, width = arrays["size"].tolist()
        return cls(sheets, tuple(arrays["counts"].tolist()), (height, width))


def make(batches: Iterable[NDArray[np.uint8]]) -> Thumbnails:
    """Thumbnails of images uint8 (B, C, H, W), some at a time, all of one shape.

    They keep their proportions and are at most ``SIDE`` a side; one channel is grey, three are RGB,
    of any other number the mean is shown.
    """
    batches = iter(batches)
    first = next(batches, np.zeros((0, 1, SIDE, SIDE), np.uint8))
    size = _size(first.shape[2], first.shape[3])
    quality = QUALITIES[-1]
    if len(first):
        some = np.linspace(0, len(first) - 1, min(len(first), PER_SHEET)).astype(np.int64)
        trial = [_shrink(first[i], size) for i in some]
        fitting = (q for q in QUALITIES if len(_sheet(trial, size, q)) <= BYTES * len(trial))
        quality = next(fitting, quality)
    sheets, counts = [], []
    for part in _parts(
        _shrink(image, size) for batch in chain([first], batches) for image in batch
    ):
        sheets.append(np.frombuffer(_sheet(part, size, quality), np.uint8))
        counts.append(len(part))
    return Thumbnails(tuple(sheets), tuple(counts), size)


def _size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _cell(size: tuple[int, int]) -> tuple[int, int]:
    height, width = (math.ceil(side / BLOCK) * BLOCK for side in size)
    return height, width


def _shrink(image: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    planes = image.transpose(1, 2, 0) if len(image) == 3 else image.mean(axis=0).astype(np.uint8)
    shown = Image.fromarray(planes)
    height, width = size
    return shown.resize((width, height), Image.Resampling.BOX)


def _parts(images: Iterable[Image.Image]) -> Iterator[list[Image.Image]]:
    part: list[Image.Image] = []
    for image in images:
        part.append(image)
        if len(part) == PER_SHEET:
            yield part
            part = []
    if part:
        yield part


def _sheet(images: list[Image.Image], size: tuple[int, int], quality: int) -> bytes:
    height, width = _cell(size)
    rows = math.ceil(len(images) / COLUMNS)
    sheet = Image.new(images[0].mode, (COLUMNS * width, rows * height))
    for i, image in enumerate(images):
        row, column = divmod(i, COLUMNS)
        sheet.paste(image, (column * width, row * height))
    stream = io.BytesIO()
    sheet.save(stream, "JPEG", quality=quality)
    return stream.getvalue()
