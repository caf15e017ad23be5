"""Inspection images with known truth: circuit boards drawn from a seed, and defects on them.

A board is dense and geometric, never twice the same, and varies as made things do: ragged edges,
grain, uneven light, blur and noise. A defect is drawn in the material before the camera sees it
(copper missing or left over, a scratch, a stain), so that it has the levels, the edges and the
noise of everything around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

ZONE = 256  # pixels a side of a field of one pattern
CHANGED = 8.0  # levels of 255 that a pixel must differ by, before noise, to be called defective
KINDS = ("void", "island", "scratch", "stain")
SMALL = 40  # a shorter side: only voids and islands, which are themselves at any size
TRIES = 200
APART = 120  # pixels between the defects of one board, at least

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Defect:
    """A board with one defect: image uint8 (H, W); ``mask`` bool (H, W), the pixels it changed."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    kind: str


@dataclass(frozen=True, eq=False)
class Defects:
    """A board with some: image uint8 (H, W); ``labels`` uint8 (H, W), i + 1 where the i-th changed
    it, elsewhere 0."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    kinds: tuple[str, ...]


def board(side: int, seed: int) -> NDArray[np.uint8]:
    """A normal board uint8 (side, side), the same for the same seed."""
    copper, holes = _layout(side, np.random.default_rng((seed, 0)))
    camera = _Camera(side, seed)
    return camera.digitise(camera.see(copper, holes))


def defective(side: int, seed: int, size: tuple[int, int]) -> Defect:
    """The board of this seed with one defect that fills ``size`` = (height, width) pixels."""
    made = crowded(side, seed, [size])
    return Defect(made.image, made.labels > 0, made.kinds[0])


def crowded(side: int, seed: int, sizes: Sequence[tuple[int, int]]) -> Defects:
    """The board of this seed with a defect of each of at most 255 ``sizes``, far from each other.

    The place of each is drawn until at least a quarter of its shape shows. Raises ValueError where
    there is no room for one.
    """
    copper, holes = _layout(side, np.random.default_rng((seed, 0)))
    camera = _Camera(side, seed)
    stain = np.ones((side, side), np.float32)
    before = camera.see(copper, holes)
    labels = np.zeros((side, side), np.uint8)
    rng, kinds = np.random.default_rng((seed, 2)), []
    for number, size in enumerate(sizes, 1):
        kind = str(rng.choice(KINDS[:2] if min(size) < SMALL else KINDS))
        for _ in range(TRIES):
            shape, rows, columns = _place(size, side, kind, rng)
            if labels[_around(rows), _around(columns)].any():
                continue
            patch, drilled = copper[rows, columns], holes[rows, columns]
            inside = shape > 127
            if kind in ("void", "island"):
                wanted = patch[inside].mean() / 255
                shows = wanted if kind == "void" else 1 - wanted
                drilled_small = drilled[inside].any() and min(size) < SMALL
                if drilled_small or shows < (0.9, 0.4)[max(size) > 9]:
                    continue
            changed, bored, stained = copper.copy(), holes.copy(), stain.copy()
            if kind == "stain":
                dim = np.asarray(Image.fromarray(shape).filter(ImageFilter.GaussianBlur(3)))
                stained[rows, columns] *= 1 - 0.22 * dim.astype(np.float32) / 255
            else:
                changed[rows, columns] = np.where(inside, 255 * (kind == "island"), patch)
                bored[rows, columns] = np.where(inside, 0, drilled)
            seen = camera.see(changed, bored) * stained
            shown = np.abs(seen - before) > CHANGED
            if shown.sum() >= 0.25 * inside.sum():
                break
        else:
            raise ValueError(f"no room on {side}x{side} pixels for defect {number}, of {size}")
        labels[shown] = number
        kinds.append(kind)
        copper, holes, stain, before = changed, bored, stained, seen
    return Defects(camera.digitise(before), labels, tuple(kinds))


def _around(part: slice) -> slice:
    return slice(max(part.start - APART, 0), part.stop + APART)


class _Camera:
    """Material -> grey levels: what differs from one photograph to the next."""

    def __init__(self, side: int, seed: int) -> None:
        rng = np.random.default_rng((seed, 1))
        self.substrate = 80 + rng.uniform(-5, 5)
        self.copper = 140 + rng.uniform(-7, 7)
        self.hole = 28 + rng.uniform(-4, 4)
        self.blur = rng.uniform(0.5, 0.8)
        shape = (side, side)
        self.edges = 0.11 * _smooth(shape, 3, rng) + 0.07 * _smooth(shape, 12, rng)
        self.edges += rng.uniform(-0.06, 0.06)  # lines etched thinner or thicker
        # Under a third, edges wander; over it, copper and holes would appear in the open.
        self.edges = self.edges.clip(-0.3, 0.3)
        self.grain = 3.0 * _smooth(shape, 2, rng)
        y, x = np.arange(side, dtype=np.float32)[:, None], np.arange(side, dtype=np.float32)
        weave = 2.0 * (np.sin(2 * np.pi * x / 13) * np.sin(2 * np.pi * y / 13))
        self.weave = weave.astype(np.float32)
        self.light = 1 + 0.06 * _smooth(shape, side // 3, rng)
        self.noise = 3.0 * rng.standard_normal(shape, dtype=np.float32)

    def see(self, copper: NDArray[np.uint8], holes: NDArray[np.uint8]) -> Floats:
        """Levels float32 (H, W) without the sensor's noise."""
        share = _sharpen(_blurred(copper, 1.2) / np.float32(255) + self.edges)
        bored = _sharpen(_blurred(holes, 1.0) / np.float32(255) + self.edges / 2)
        level = self.substrate + self.weave + (self.copper - self.substrate + self.grain) * share
        level = (level * (1 - bored) + self.hole * bored) * self.light
        return _blurred(np.rint(level).clip(0, 255).astype(np.uint8), self.blur)

    def digitise(self, level: Floats) -> NDArray[np.uint8]:
        """Levels float32 (H, W) with the sensor's noise, as uint8."""
        return np.rint(level + self.noise).clip(0, 255).astype(np.uint8)


def _blurred(image: NDArray[np.uint8], sigma: float) -> Floats:
    found = Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma))
    return np.asarray(found).astype(np.float32)


def _sharpen(share: Floats) -> Floats:
    """Coverage in [0, 1] from a blurred one: an edge is half a pixel wide wherever it lies."""
    found: Floats = ((share - 0.5) * 3 + 0.5).clip(0, 1)
    return found


def _smooth(shape: tuple[int, int], scale: int, rng: np.random.Generator) -> Floats:
    """Noise float32 (H, W) of unit variance or a little less, smooth over ``scale`` pixels."""
    coarse = rng.standard_normal([-(-n // scale) + 3 for n in shape], dtype=np.float32)
    size = coarse.shape[1] * scale, coarse.shape[0] * scale
    fine = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    return fine[scale : scale + shape[0], scale : scale + shape[1]]


# -- the layout ---------------------------------------------------------------------------------


def _layout(side: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Copper and drilled holes, 0 or 255, (side, side) each."""
    copper, holes = Image.new("L", (side, side)), Image.new("L", (side, side))
    pens = ImageDraw.Draw(copper), ImageDraw.Draw(holes)
    first = -rng.integers(ZONE, size=2)
    for top in range(first[0], side, ZONE):
        for left in range(first[1], side, ZONE):
            pattern = (_rows, _columns, _diagonals, _pads)[rng.integers(4)]
            pattern(pens, top, left, rng)
    return np.asarray(copper), np.asarray(holes)


Pens = tuple[ImageDraw.ImageDraw, ImageDraw.ImageDraw]


def _via(pens: Pens, y: float, x: float, radius: float, hole: float) -> None:
    pens[0].ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    pens[1].ellipse((x - hole, y - hole, x + hole, y + hole), fill=255)


def _traces(
    pens: Pens, top: int, left: int, rng: np.random.Generator, *, upright: bool = False
) -> None:
    """Parallel lines, broken now and then, each end in a via."""
    pitch, width = int(rng.choice((20, 24, 28))), int(rng.choice((7, 9)))
    for offset in range(pitch // 2, ZONE - pitch // 4, pitch):
        start = 6
        while start < ZONE - 12:
            end = ZONE - 6 if rng.random() < 0.6 else min(start + int(rng.integers(60, 200)), 250)
            if end - start > 24:
                ends = [(offset, start), (offset, end)]
                if upright:
                    ends = [(b, a) for a, b in ends]
                (y0, x0), (y1, x1) = [(top + y, left + x) for y, x in ends]
                pens[0].line((x0, y0, x1, y1), fill=255, width=width)
                for y, x in ((y0, x0), (y1, x1)):
                    _via(pens, y, x, 8, 4)
            start = end + 20


def _rows(pens: Pens, top: int, left: int, rng: np.random.Generator) -> None:
    _traces(pens, top, left, rng)


def _columns(pens: Pens, top: int, left: int, rng: np.random.Generator) -> None:
    _traces(pens, top, left, rng, upright=True)


def _diagonals(pens: Pens, top: int, left: int, rng: np.random.Generator) -> None:
    """Lines at 45 degrees, of one direction, that end at the field's border."""
    pitch, width, falling = int(rng.choice((30, 36))), 8, rng.random() < 0.5
    for offset in range(-ZONE + pitch, ZONE - pitch // 2, pitch):
        a, b = max(0, offset) + 4, min(ZONE, ZONE + offset) - 4
        y0, x0, y1, x1 = a - offset, a, b - offset, b
        if b - a < 24:
            continue
        if not falling:
            x0, x1 = ZONE - x0, ZONE - x1
        pens[0].line((left + x0, top + y0, left + x1, top + y1), fill=255, width=width)


def _pads(pens: Pens, top: int, left: int, rng: np.random.Generator) -> None:
    """A grid of pads, some of them joined to the next."""
    pitch, square = 32, rng.random() < 0.5
    for y in range(top + pitch // 2, top + ZONE, pitch):
        for x in range(left + pitch // 2, left + ZONE, pitch):
            if x + pitch < left + ZONE and rng.random() < 0.3:
                pens[0].line((x, y, x + pitch, y), fill=255, width=7)
            if square:
                pens[0].rectangle((x - 10, y - 10, x + 10, y + 10), fill=255)
            _via(pens, y, x, 11, 5)


# -- defects ------------------------------------------------------------------------------------


def _place(
    size: tuple[int, int], side: int, kind: str, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], slice, slice]:
    """A shape uint8 (h, w) that fills its box, 0 or 255, and where on the board it lies."""
    height, width = size if rng.random() < 0.5 else size[::-1]
    top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
    picture = Image.new("L", (width, height))
    pen = ImageDraw.Draw(picture)
    if kind == "scratch":
        along = np.linspace(0, 1, 9)
        bend = 0.5 + np.cumsum(rng.normal(0, 0.12, 9))
        bend = (bend - bend.min()) / max(np.ptp(bend), 1e-6)
        long, short = (width, height) if width >= height else (height, width)
        a, b = 2 + along * (long - 5), 2 + bend * (short - 5)
        x, y = (a, b) if width >= height else (b, a)
        pen.line([*np.column_stack([x, y]).ravel()], fill=255, width=4, joint="curve")
    else:
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        waves = sum(
            rng.normal(0, 0.12 / k) * np.cos(k * angle + rng.uniform(0, 7)) for k in (2, 3, 5)
        )
        y, x = np.sin(angle) * (1 + waves), np.cos(angle) * (1 + waves)
        y, x = ((v - v.min()) / np.ptp(v) for v in (y, x))
        points = np.column_stack([x * (width - 1), y * (height - 1)])
        pen.polygon([*points.ravel()], fill=255)
    return np.asarray(picture), slice(top, top + height), slice(left, left + width)
