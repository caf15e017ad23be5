"""Anomalies made from normal images: patches of noise, of the image itself and of other images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clad.data.images import ImageSet

CHANGED = 8  # levels of 255 by which a pixel differs to the eye
SHARE = 0.01  # of the pixels, that at least must differ
TRIES = 10


def synthesise(images: ImageSet, n: int, seed: int) -> ImageSet:
    """``n`` anomalies made from normal images (drawn without repeats while there are enough).

    In turn: a patch in the shape of Perlin noise, blended with another image (Zavrtanik et al.
    2021, arXiv 2108.07610); a rectangle of the image, its levels shifted, pasted elsewhere (Li et
    al. 2021, arXiv 2104.04015); a rectangle of Gaussian noise. Each differs from its source in at
    least 1% of its pixels. The same seed gives the same anomalies.
    """
    rng = np.random.default_rng(seed)
    rounds = -(-n // len(images))
    chosen = np.concatenate([rng.permutation(len(images)) for _ in range(rounds)])[:n]
    made = np.empty((n, *images.shape), np.uint8)
    for i, position in enumerate(chosen):
        source = images.read(slice(position, position + 1))[0]
        other = images.read(slice(j := int(rng.integers(len(images))), j + 1))[0]
        made[i] = _spoil(source, other, i % 3, rng)
    names = images.names
    return ImageSet.of(made, [f"synthetic/{i:04} of {names[p]}" for i, p in enumerate(chosen)])


def _spoil(
    image: NDArray[np.uint8], other: NDArray[np.uint8], kind: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One anomaly (C, H, W); where a kind changes nothing, such as black on black, noise does."""
    for attempt in range(TRIES + 1):
        if attempt == TRIES or kind == 2:
            result = _noise_patch(image, rng)
        elif kind == 1:
            result = _cut_paste(image, rng)
        else:
            result = _perlin_patch(image, other, rng)
        difference = np.abs(result.astype(np.int16) - image).max(axis=0)
        if (difference >= CHANGED).mean() >= SHARE:
            return result
    return 255 - image  # noise can fall on the very same levels; the negative differs everywhere


def _perlin_patch(
    image: NDArray[np.uint8], other: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Where Perlin noise is high, ``other`` blended over the image, opaque by half at least."""
    _, height, width = image.shape
    noise = perlin((height, width), int(2 ** rng.integers(1, 4)), rng)
    mask = noise > np.quantile(noise, rng.uniform(0.75, 0.95))
    opacity = rng.uniform(0.5, 1.0)
    texture = np.roll(other, rng.integers((height, width)), axis=(1, 2)).astype(np.float64)
    blended = np.where(mask, opacity * texture + (1 - opacity) * image, image)
    return np.rint(blended).astype(np.uint8)


def _cut_paste(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    _, height, width = image.shape
    rows, columns = _rectangle((height, width), rng)
    patch = image[:, rows, columns] * rng.uniform(0.7, 1.3) + rng.uniform(-25, 25)
    h, w = patch.shape[1:]
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    result = image.copy()
    result[:, top : top + h, left : left + w] = np.clip(np.rint(patch), 0, 255)
    return result


def _noise_patch(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    _, height, width = image.shape
    rows, columns = _rectangle((height, width), rng)
    result = image.copy()
    patch = rng.normal(rng.uniform(64, 192), rng.uniform(30, 80), result[:, rows, columns].shape)
    result[:, rows, columns] = np.clip(np.rint(patch), 0, 255)
    return result


def _rectangle(shape: tuple[int, int], rng: np.random.Generator) -> tuple[slice, slice]:
    """Rows and columns of 2 to 15% of the area, sides in a ratio of 0.3 to 3.3."""
    height, width = shape
    area = rng.uniform(0.02, 0.15) * height * width
    ratio = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
    h = int(np.clip(round(np.sqrt(area * ratio)), 1, height))
    w = int(np.clip(round(np.sqrt(area / ratio)), 1, width))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return slice(top, top + h), slice(left, left + w)


def perlin(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Perlin's gradient noise (1985; fade of 2002) on a grid of ``cells`` x ``cells``: (H, W).

    Smooth, at most 0.7072 from 0, and 0 at every node of the grid.
    """
    height, width = shape
    angle = rng.uniform(0, 2 * np.pi, (cells + 1, cells + 1))
    gradients = np.stack([np.sin(angle), np.cos(angle)])
    y, x = np.meshgrid(
        np.arange(height) * cells / height, np.arange(width) * cells / width, indexing="ij"
    )
    row, column = y.astype(int), x.astype(int)
    y, x = y - row, x - column

    def slope(down: int, right: int) -> NDArray[np.float64]:
        gy, gx = gradients[:, row + down, column + right]
        product: NDArray[np.float64] = gy * (y - down) + gx * (x - right)
        return product

    def fade(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return t**3 * (t * (6 * t - 15) + 10)

    upper = slope(0, 0) + fade(x) * (slope(0, 1) - slope(0, 0))
    lower = slope(1, 0) + fade(x) * (slope(1, 1) - slope(1, 0))
    return upper + fade(y) * (lower - upper)
