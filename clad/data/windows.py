"""Windows of an image that is read row by row: mirrored at its borders, band by band, tiles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from clad.data.rows import Rows

BAND = 1024  # rows of an image in memory at a time, without those around them


def bands(rows: Rows, step: int, edge: int) -> Iterator[NDArray[np.uint8]]:
    """An image as uint8 (C, h + 2 edge, W' + 2 edge) a band, top to bottom, whole cells of
    ``step`` pixels; beyond its borders it is mirrored."""
    _, height, width = rows.shape
    for top in range(0, height, BAND):
        yield window(rows, top, 0, min(BAND, height - top), width, step, edge)


def window(
    rows: Rows, top: int, left: int, height: int, width: int, step: int, edge: int
) -> NDArray[np.uint8]:
    """uint8 (C, h + 2 edge, w + 2 edge) around a window; its h and w whole cells, so perhaps
    larger than asked; mirrored where the image ends."""
    _, total_height, total_width = rows.shape
    down, right = -height % step, -width % step
    first, last = max(top - edge, 0), min(top + height + down + edge, total_height)
    begin, end = max(left - edge, 0), min(left + width + right + edge, total_width)
    pixels = rows.read(first, last)[:, :, begin:end]
    missing = (
        (0, 0),
        (first - (top - edge), top + height + down + edge - last),
        (begin - (left - edge), left + width + right + edge - end),
    )
    return np.pad(pixels, missing, mode="reflect")


def tile(rows: Rows, top: int, left: int, side: int) -> NDArray[np.uint8]:
    """uint8 (C, side, side), which lies within the image."""
    return rows.read(top, top + side)[:, :, left : left + side]
