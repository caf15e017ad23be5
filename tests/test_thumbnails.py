"""Thumbnails in sheets: each in its own cell, small enough together."""

import io

import numpy as np
import pytest
from PIL import Image

from clad import thumbnails

RNG = np.random.default_rng(0)


def cells(made):
    """Every thumbnail, cut out of the sheets as the page's script does."""
    height, width = made.size
    tall, wide = made.cell
    for sheet, count in zip(made.sheets, made.counts, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(sheet.tobytes())).convert("L"), float)
        for place in range(count):
            row, column = divmod(place, thumbnails.COLUMNS)
            top, left = row * tall, column * wide
            yield pixels[top : top + height, left : left + width]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (5, 40, 20), (3, 200, 100)])
def test_each_lies_in_its_cell(shape):
    grey = np.arange(300) * 211 % 256  # neighbours differ
    images = np.broadcast_to(grey[:, None, None, None], (300, *shape)).astype(np.uint8)
    made = thumbnails.make([images[:100], images[100:]])
    assert made.counts == (256, 44)
    assert len(made) == 300
    assert max(made.size) <= thumbnails.SIDE
    assert made.size[0] / made.size[1] == pytest.approx(shape[1] / shape[2], rel=0.05)
    for value, cell in zip(grey, cells(made), strict=True):
        assert cell.mean() == pytest.approx(value, abs=5)


def test_noise_is_kept_small():
    noise = RNG.integers(0, 256, (512, 3, 64, 64)).astype(np.uint8)
    made = thumbnails.make([noise])
    assert sum(map(len, made.sheets)) <= 1.05 * thumbnails.BYTES * 512


def test_on_disk_and_joined():
    made = thumbnails.make([RNG.integers(0, 256, (3, 1, 8, 8)).astype(np.uint8)])
    again = thumbnails.Thumbnails.of_arrays(made.arrays())
    both = again.joined(made)
    assert len(both) == 6
    assert both.counts == (3, 3)
    assert (both.sheets[0] == made.sheets[0]).all()
    assert both.size == (8, 8)


def test_none():
    assert len(thumbnails.make([])) == 0
