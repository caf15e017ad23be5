"""Inspection images of real texture: mosaics of one family's pictures, defects of another's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clad.data.boards import Defect
from clad.data.convert import to_channels
from clad.data.images import ImageSet

LEAST = 8  # levels by which a pixel must differ to be called defective


@dataclass(frozen=True, eq=False)
class Mosaics:
    """Grey mosaics of ``family``'s pictures; a defect is a patch of a mosaic of ``foreign`` ones.

    Pictures: uint8 (N, 1, h, w).
    """

    family: NDArray[np.uint8]
    foreign: NDArray[np.uint8]

    @classmethod
    def of(cls, family: ImageSet, foreign: ImageSet) -> Mosaics:
        """Mosaics of these pictures, turned grey."""
        return cls(to_channels(family.read(), 1), to_channels(foreign.read(), 1))

    def normal(self, side: int, seed: int) -> NDArray[np.uint8]:
        """A mosaic uint8 (side, side), the same for the same seed."""
        return _mosaic(self.family, (side, side), np.random.default_rng((seed, 0)))

    def defective(self, side: int, seed: int, size: tuple[int, int]) -> Defect:
        """The mosaic of this seed with a foreign patch of ``size`` = (height, width) pixels."""
        image = self.normal(side, seed)
        rng = np.random.default_rng((seed, 1))
        height, width = size
        top, left = rng.integers(0, (side - height + 1, side - width + 1))
        place = slice(top, top + height), slice(left, left + width)
        before = image[place].astype(np.int16)
        image[place] = _mosaic(self.foreign, size, rng)
        mask = np.zeros(image.shape, bool)
        mask[place] = np.abs(image[place] - before) > LEAST
        return Defect(image, mask, "patch")


def _mosaic(
    pictures: NDArray[np.uint8], size: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Pictures drawn at random side by side, cut to ``size`` from a random corner."""
    h, w = pictures.shape[2:]
    down, across = size[0] // h + 2, size[1] // w + 2
    chosen = pictures[rng.integers(len(pictures), size=(down, across)), 0]
    whole = chosen.transpose(0, 2, 1, 3).reshape(down * h, across * w)
    top, left = rng.integers(h), rng.integers(w)
    return np.ascontiguousarray(whole[top : top + size[0], left : left + size[1]])
