"""Small defects painted on normal crops, and which pixels they changed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

CHANGED = 8  # levels of 255 by which a pixel must differ to count
SMALL, LARGE = (3, 10), (6, 64)  # pixels a side of a defect, drawn evenly in their logarithm
MOST = {SMALL: 40, LARGE: 3}  # on ROOM pixels: small ones are what is hard to learn
ROOM = 128 * 128
CLEAR = 0.25  # share of the crops that stay as they are
OWN = 0.75  # share of the defects whose plain material is their crop's own
SHAPES = 2000  # to draw from, of either size
MARGIN = 8  # pixels around a shape for its blurred edge
SPOTS, SPOT, PLAINEST = 64, 6, 4  # spots looked at in a crop for plain material, pixels a side

Floats = NDArray[np.float32]


def paint(
    crops: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Crops uint8 (B, C, H, W), three in four with defects, large and small: copies, and the pixels
    bool (B, H, W) that differ from before by 8 levels of 255 in a channel.

    A defect is a rectangle, a blob or a scratch with a sharp or soft edge, filled with a plain
    material of the crop, a part of another crop, an even level, noise, or what was there, made
    lighter, darker or shifted (after Zavrtanik et al. 2021, arXiv 2108.07610; Schlüter et al. 2022,
    arXiv 2109.15222).
    """
    made = crops.copy()
    materials = [_Materials(crop, rng) for crop in crops]
    share = crops.shape[2] * crops.shape[3] / ROOM
    for i in np.flatnonzero(rng.random(len(crops)) >= CLEAR):
        j = (i + rng.integers(1, max(len(crops), 2))) % len(crops)
        for sides, most in MOST.items():
            for _ in range(rng.integers(sides == SMALL, max(round(most * share), 1) + 1)):
                _spoil(made[i], crops[j], materials[i if rng.random() < OWN else j], sides, rng)
    difference = np.maximum(made, crops) - np.minimum(made, crops)  # of unsigned numbers
    return made, (difference > CHANGED).any(axis=1)


class _Materials:
    """Plain spots of a crop, the plainest first, from which a material is spread over any size."""

    def __init__(self, crop: NDArray[np.uint8], rng: np.random.Generator) -> None:
        size = min(SPOT, crop.shape[1]), min(SPOT, crop.shape[2])
        spots = _parts(crop, size, SPOTS, rng)
        self.spots = spots[np.argsort(spots.std(axis=(2, 3)).mean(axis=1), kind="stable")]
        self.levels = self.spots.mean(axis=(2, 3))

    def unlike(self, before: Floats, rng: np.random.Generator) -> Floats:
        """One of the plainest that differ from float32 (C, h, w), of that size, if there is any."""
        away = np.abs(self.levels - before.mean(axis=(1, 2))).max(axis=1) > CHANGED
        choice = np.flatnonzero(away)[:PLAINEST]
        spot = self.spots[rng.choice(choice) if len(choice) else 0]
        height, width = before.shape[1:]
        missing = max(height - spot.shape[1], 0), max(width - spot.shape[2], 0)
        spread = np.pad(spot, ((0, 0), (0, missing[0]), (0, missing[1])), mode="symmetric")
        return spread[:, :height, :width]


def _spoil(
    crop: NDArray[np.uint8],
    other: NDArray[np.uint8],
    materials: _Materials,
    sides: tuple[int, int],
    rng: np.random.Generator,
) -> None:
    """One defect, in place."""
    shapes = _shapes(sides)
    cover = shapes[rng.integers(len(shapes))][: crop.shape[1], : crop.shape[2]]
    height, width = cover.shape
    top, left = (
        rng.integers(whole - part + 1)
        for whole, part in zip(crop.shape[1:], cover.shape, strict=True)
    )
    place = np.s_[:, top : top + height, left : left + width]
    before = crop[place].astype(np.float32)
    mixed = before + cover * (_filling(before, other, materials, rng) - before)
    crop[place] = np.rint(mixed).clip(0, 255).astype(np.uint8)


def _filling(
    before: Floats, other: NDArray[np.uint8], materials: _Materials, rng: np.random.Generator
) -> Floats:
    """What a defect shows, float32 (C, h, w) or what broadcasts to it."""
    channels, height, width = before.shape
    kind = rng.random()
    if kind < 0.5:  # plain material in the wrong place
        return materials.unlike(before, rng)
    if kind < 0.65:  # a part of another crop, perhaps in another light
        part = _parts(other, (height, width), 1, rng)[0]
        return part * np.float32(rng.uniform(0.8, 1.25) if rng.random() < 0.5 else 1)
    if kind < 0.7:  # an even level that occurs, with a little grain
        level = _parts(other, (1, 1), 1, rng)[0]
        grain = rng.standard_normal((height, width), dtype=np.float32)
        return level + np.float32(rng.uniform(0, 6)) * grain
    if kind < 0.85:  # a stain
        return before * np.float32(rng.uniform(0.6, 1.4))
    if kind < 0.93:  # out of place
        return np.roll(before, tuple(rng.integers(-12, 13, 2)), (1, 2))
    spread = np.float32(rng.uniform(2, 40))
    noise = rng.standard_normal((channels, height, width), dtype=np.float32)
    return np.float32(rng.uniform(0, 255)) + spread * noise


def _parts(
    crop: NDArray[np.uint8], size: tuple[int, int], n: int, rng: np.random.Generator
) -> Floats:
    """``n`` windows of a crop, float32 (n, C, h, w), drawn at random."""
    windows = np.lib.stride_tricks.sliding_window_view(crop, size, axis=(1, 2))
    rows, columns = (rng.integers(length, size=n) for length in windows.shape[1:3])
    found: Floats = windows[:, rows, columns].swapaxes(0, 1).astype(np.float32)
    return found


@lru_cache(maxsize=2)
def _shapes(sides: tuple[int, int]) -> list[Floats]:
    """Shapes as opacity float32 (h, w) in [0, 1], the same in every run."""
    rng = np.random.default_rng(sides)
    return [_cover(sides, rng) for _ in range(SHAPES)]


def _cover(sides: tuple[int, int], rng: np.random.Generator) -> Floats:
    """A shape as opacity float32 (h, w) in [0, 1]; a blurred one is larger by its margin."""
    low, high = np.log(sides)
    height, width = np.exp(rng.uniform(low, high, 2)).astype(int)
    if rng.random() < 0.5:  # about as wide as high
        width = int(height * rng.uniform(0.6, 1.6))
    height, width = np.clip((height, width), SMALL[0], sides[1]).tolist()
    picture = Image.new("L", (width, height))
    pen, kind = ImageDraw.Draw(picture), rng.integers(3)
    if kind == 0:
        pen.rectangle((0, 0, width - 1, height - 1), fill=255)
    elif kind == 1 or min(height, width) < 6:
        pen.polygon([*_blob(height, width, rng).ravel()], fill=255)
    else:
        points = rng.uniform(0, 1, (rng.integers(2, 6), 2)) * (width - 1, height - 1)
        pen.line([*points.ravel()], fill=255, width=int(rng.integers(2, 5)))
    if rng.random() < 0.85:  # what a camera sees is never sharp
        blur = rng.uniform(0.4, 1.4) if rng.random() < 0.75 else rng.uniform(1, 4)
        wide = Image.fromarray(np.pad(np.asarray(picture), MARGIN))
        picture = wide.filter(ImageFilter.GaussianBlur(blur))
    found: Floats = np.asarray(picture, np.float32) / np.float32(255)
    return found


def _blob(height: int, width: int, rng: np.random.Generator) -> Floats:
    """Corners (32, 2) of a round with a wavy edge that fills its box, x first."""
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    radius = np.ones(32)
    for k in (2, 3, 5):
        radius += rng.normal(0, 0.15 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    corners = np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None]
    corners -= corners.min(axis=0)
    found: Floats = corners / corners.max(axis=0) * (width - 1, height - 1)
    return found
