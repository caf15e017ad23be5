"""Blocks of an image that is read row by row, each with what surrounds it, and tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clad.data.rows import Rows

SIDE = 1024  # pixels of a block, without what surrounds it
PIECE = 128  # rows read at a time: what a file holds may be wider than the uint8 kept of it


class Block(NamedTuple):
    """``pixels`` uint8 (C, h, w); in cells: the ``inside`` of the block, its ``place`` in the
    image. Both are pairs of slices, down and across."""

    pixels: NDArray[np.uint8]
    inside: tuple[slice, slice]
    place: tuple[slice, slice]


def blocks(rows: Rows, step: int, edge: int) -> Iterator[Block]:
    """An image in blocks of whole cells of ``step`` pixels, the last ones perhaps cut off.

    Around a block are up to ``edge`` pixels, fewer where the image ends. One row of blocks is in
    memory at a time.
    """
    _, height, width = rows.shape
    for top, bottom, first, last in _spans(height, edge):
        band = _band(rows, first, last)
        for left, right, begin, end in _spans(width, edge):
            inside = _cells(top - first, bottom - first, step)
            across = _cells(left - begin, right - begin, step)
            place = _cells(top, bottom, step), _cells(left, right, step)
            yield Block(band[:, :, begin:end], (inside, across), place)


def _band(rows: Rows, first: int, last: int) -> NDArray[np.uint8]:
    band = np.empty((rows.shape[0], last - first, rows.shape[2]), np.uint8)
    for start in range(first, last, PIECE):
        stop = min(start + PIECE, last)
        band[:, start - first : stop - first] = rows.read(start, stop)
    return band


def _spans(length: int, edge: int) -> Iterator[tuple[int, int, int, int]]:
    """Where each block of a side begins and ends, and where what surrounds it does."""
    for first in range(0, length, SIDE):
        last = min(first + SIDE, length)
        yield first, last, max(first - edge, 0), min(last + edge, length)


def _cells(first: int, last: int, step: int) -> slice:
    return slice(first // step, -(-last // step))


def tile(rows: Rows, top: int, left: int, side: int) -> NDArray[np.uint8]:
    """uint8 (C, side, side), which lies within the image."""
    return rows.read(top, top + side)[:, :, left : left + side]
