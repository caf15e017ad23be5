"""Augmentation: changes of an image that leave what it shows the same."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clad.data.images import ImageSet
from clad.runtime import Runtime

COMPARED = 4000  # images, half of them with the other half
VARIED = 0.45  # the least spread of light that is called varied; GTSRB has 0.50, CIFAR-10 0.27
MILD, STRONG = 0.3, 0.9  # largest change of brightness and contrast, where light is even or varied


class Augmentation:
    """Shifts, flips, turns and relights each image of a batch by itself, at random.

    ``crop``: largest shift, in shares of the side; what moves in is the image mirrored at its edge.
    ``flip``: left and right are swapped every other time. ``rotation``: largest turn, in degrees.
    ``brightness``, ``contrast``, ``saturation``: largest change, in shares of the image's mean, of
    its distance from that mean, and of a colour's distance from grey.
    """

    def __init__(
        self,
        *,
        crop: float = 0.0,
        flip: bool = False,
        rotation: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
    ) -> None:
        self.crop = crop
        self.flip = flip
        self.rotation = rotation
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Float (N, C, H, W) in [0, 1] -> the same shape and range; ``generator`` is the CPU's."""
        if self.rotation > 0:
            x = self._turned(x, generator)
        if self.crop > 0 or self.flip:
            x = self._moved(x, generator)
        if self.brightness > 0 or self.contrast > 0 or self.saturation > 0:
            x = self._relit(x, generator)
        return x

    def _turned(self, x: Tensor, generator: torch.Generator) -> Tensor:
        angle = _uniform(len(x), x, generator).flatten() * math.radians(self.rotation)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        _, _, height, width = x.shape
        # the grid is in units of half a side, so an oblong image needs its sides' ratio
        ratio = height / width
        matrix = torch.stack([cos, -sin * ratio, zero, sin / ratio, cos, zero], dim=1)
        grid = F.affine_grid(matrix.view(-1, 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)

    def _moved(self, x: Tensor, generator: torch.Generator) -> Tensor:
        n, channels, height, width = x.shape
        rows = _shifted(n, height, self.crop, generator)
        columns = _shifted(n, width, self.crop, generator)
        if self.flip:
            flipped = torch.rand(n, 1, generator=generator) < 0.5
            columns = torch.where(flipped, columns.flip(1), columns)
        seen = (rows[:, :, None] * width + columns[:, None, :]).view(n, 1, -1).to(x.device)
        return x.flatten(2).gather(2, seen.expand(n, channels, -1)).view_as(x)

    def _relit(self, x: Tensor, generator: torch.Generator) -> Tensor:
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        brightness = 1 + self.brightness * _uniform(len(x), x, generator)
        contrast = 1 + self.contrast * _uniform(len(x), x, generator)
        x = (x - mean) * contrast + mean * brightness
        if x.shape[1] > 1 and self.saturation > 0:
            grey = x.mean(dim=1, keepdim=True)
            x = grey + (x - grey) * (1 + self.saturation * _uniform(len(x), x, generator))
        return x.clamp(0, 1)


def mirror_share(images: ImageSet, runtime: Runtime) -> float:
    """Share of normal images that are nearer to the nearest other one than their mirror image is.

    0.5 where left and right mean nothing, 1 where they mean everything. By pixels, of half of (at
    most 4,000) images to the other half, groups kept whole.
    """
    import faiss

    rng = runtime.rng("mirror")
    some = images.take(rng.permutation(len(images))[:COMPARED])
    groups = np.arange(len(some)) if some.groups is None else some.groups
    names = rng.permutation(np.unique(groups))
    others = np.isin(groups, names[: len(names) // 2])
    if others.all() or not others.any():
        return 1.0  # one group: nothing to compare with
    kept, asked = _flat(some.take(others).read()), some.take(~others).read()
    near, mirrored = (faiss.knn(_flat(x), kept, 1)[0] for x in (asked, asked[..., ::-1]))
    return float(np.mean((near < mirrored) + 0.5 * (near == mirrored)))


def spread_of_light(images: ImageSet, runtime: Runtime) -> float:
    """How much the light varies from one normal image to another.

    The smaller of two coefficients of variation, over (at most 4,000) images: of an image's mean,
    and of its pixels' standard deviation. Light scales both; what an image shows may change one.
    """
    some = images.take(runtime.rng("light").permutation(len(images))[:COMPARED])
    pixels = (1, 2, 3)
    each = [[batch.mean(axis=pixels), batch.std(axis=pixels)] for batch in some.batches(512)]
    light = np.concatenate(each, axis=1)
    return float((light.std(axis=1) / np.maximum(light.mean(axis=1), 1e-12)).min())


def _flat(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(pixels.reshape(len(pixels), -1), np.float32) / np.float32(255)


def _uniform(n: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """(n, 1, 1, 1) numbers in [-1, 1) on the device of ``like``."""
    return (2 * torch.rand(n, 1, 1, 1, generator=generator) - 1).to(like.device)


def _shifted(n: int, side: int, share: float, generator: torch.Generator) -> Tensor:
    """int64 (n, side): which row (or column) each one shows after a random shift."""
    most = int(share * side)
    shift = torch.randint(-most, most + 1, (n, 1), generator=generator)
    rows = torch.arange(side) + shift
    rows = torch.where(rows < 0, -rows, rows)  # mirrored at the edge, which is not repeated
    return torch.where(rows >= side, 2 * (side - 1) - rows, rows)
