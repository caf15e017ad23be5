"""Where tiles lie on an image, how their values are blended, and tiles drawn to train on."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clad.data.groups import duplicate_groups
from clad.data.images import ImageSet
from clad.data.large import LargeImages
from clad.errors import DataError
from clad.runtime import derive_seed, track

SIDES = (64, 32, 16)  # of tiles, tried by "auto"


def tile_side(size: int | Literal["auto"], sizes: NDArray[np.int64]) -> int:
    """Pixels a side of the tiles for images of ``sizes`` int64 (N, 2).

    ``auto``: the largest of 64, 32 and 16 that goes twice into every side.
    """
    smallest = int(sizes.min())
    if size == "auto":
        return next((side for side in SIDES if 2 * side <= smallest), SIDES[-1])
    return size


def starts(length: int, tile: int, overlap: float) -> NDArray[np.int64]:
    """First pixels int64 (n,) of tiles along a side: the first at 0, the last at its end.

    They are evenly spaced, neighbours sharing at least ``overlap`` of a tile; every pixel is in
    one. Raises DataError for a side under a tile.
    """
    if length < tile:
        raise DataError(f"a side of {length} pixels is smaller than a tile of {tile}")
    step = max(int(tile * (1 - overlap)), 1)
    n = -(-(length - tile) // step) + 1
    return np.rint(np.linspace(0, length - tile, n)).astype(np.int64)


def blending(first: NDArray[np.int64], tile: int, length: int) -> NDArray[np.float32]:
    """Weights float32 (length, n) of n tiles for each pixel of a side; rows sum to 1.

    A tile counts for most in its middle and least at its ends, in a straight line between.
    """
    inside = np.arange(length)[:, None] - first
    weights = np.minimum(inside + 1, tile - inside).clip(0).astype(np.float32)
    return weights / weights.sum(axis=1, keepdims=True)


def tile_maxima(
    values: NDArray[np.float32], tops: NDArray[np.int64], lefts: NDArray[np.int64], tile: int
) -> NDArray[np.float32]:
    """The largest of ``values`` (h, w) in each tile of ``tile`` cells a side: (tops, lefts)."""
    windows = np.lib.stride_tricks.sliding_window_view
    across = [values[top : top + tile].max(axis=0) for top in tops]
    found: NDArray[np.float32] = windows(np.stack(across), tile, axis=1)[:, lefts].max(axis=2)
    return found


def sample_tiles(images: LargeImages, tile: int, n: int, seed: int) -> ImageSet:
    """About ``n`` tiles (C, tile, tile) drawn at random, as many from each image; exact repeats
    are dropped. ``groups`` are the images they come from."""
    share = -(-n // len(images))
    made = np.empty((len(images) * share, images.channels, tile, tile), np.uint8)
    names, at = [], 0
    for i, name in enumerate(track(images.names, "tiles", unit="image")):
        rng = np.random.default_rng(derive_seed(seed, "tiles", i))
        with images.open(i) as rows:
            _, height, width = rows.shape
            tops = np.sort(rng.integers(height - tile + 1, size=share))
            lefts = rng.integers(width - tile + 1, size=share)
            for top, left in zip(tops, lefts, strict=True):
                made[at] = rows.read(top, top + tile)[:, :, left : left + tile]
                names.append(f"{name} [{top}, {left}]")
                at += 1
    tiles = ImageSet.of(made, names, np.repeat(np.arange(len(images)), share))
    _, first = np.unique(duplicate_groups(tiles), return_index=True)
    return tiles.take(first)
