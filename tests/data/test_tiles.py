"""Tiles: where they lie, how they blend, which are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clad.data.large import read_large
from clad.data.tiles import blending, sample_tiles, starts, tile_maxima, tile_side
from clad.errors import DataError

lengths = st.integers(16, 600)
tiles = st.integers(1, 16)
overlaps = st.floats(0, 0.9)


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "expected"),
    [
        (10, 4, 0.5, [0, 2, 4, 6]),
        (10, 4, 0.0, [0, 3, 6]),
        (8, 4, 0.0, [0, 4]),
        (9, 4, 0.25, [0, 2, 5]),  # (9 - 4) / 3 rounds up to two steps of 2.5
        (4, 4, 0.25, [0]),
        (5, 4, 0.9, [0, 1]),
    ],
)
def test_starts_by_hand(length, tile, overlap, expected):
    assert starts(length, tile, overlap).tolist() == expected


def test_a_side_under_a_tile():
    with pytest.raises(DataError, match="a side of 3 pixels is smaller than a tile of 4"):
        starts(3, 4, 0.25)


@given(lengths, tiles, overlaps)
def test_every_pixel_is_covered_and_neighbours_overlap(length, tile, overlap):
    first = starts(length, tile, overlap)
    covered = np.zeros(length, int)
    for at in first:
        covered[at : at + tile] += 1
    assert covered.min() >= 1
    assert (first[0], first[-1]) == (0, length - tile)
    assert (np.diff(first) <= max(int(tile * (1 - overlap)), 1)).all()
    assert (np.diff(first) > 0).all()


@given(lengths, tiles, overlaps)
def test_weights_sum_to_one(length, tile, overlap):
    first = starts(length, tile, overlap)
    weights = blending(first, tile, length)
    assert weights.shape == (length, len(first))
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    constant = weights @ np.full((len(first), 3), 7.0) @ np.full((3, 1), 1 / 3)
    np.testing.assert_allclose(constant, 7, rtol=1e-5)


def test_weights_by_hand():
    """Tiles of 4 at 0 and 2: pixel 2 is third in the first (weight 2), first in the second (1)."""
    weights = blending(np.array([0, 2]), 4, 6)
    expected = [[1, 0], [1, 0], [2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 1], [0, 1]]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_maxima_are_those_of_each_tile(tile, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=rng.integers(tile, 20, size=2)).astype(np.float32)
    tops, lefts = (starts(n, tile, 0.3) for n in values.shape)
    found = tile_maxima(values, tops, lefts, tile)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            assert found[i, j] == values[top : top + tile, left : left + tile].max()


@pytest.mark.parametrize(("smallest", "side"), [(128, 64), (127, 32), (63, 16), (20, 16)])
def test_auto_takes_the_largest_that_goes_in_twice(smallest, side):
    assert tile_side("auto", np.array([[300, 400], [500, smallest]])) == side


def test_a_number_is_taken_as_it_is():
    assert tile_side(48, np.array([[300, 400]])) == 48


def sampled(n=60, seed=3):
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 256, size, dtype=np.uint8) for size in ((140, 150), (130, 130), (190, 120))
    ]
    return images, sample_tiles(read_large(images)[0], 16, n, seed)


def test_tiles_come_from_all_images_alike_and_from_where_they_say():
    images, drawn = sampled()
    assert drawn.shape == (1, 16, 16)
    assert np.bincount(drawn.groups).tolist() == [20, 20, 20]
    for tile, name, source in zip(drawn.read(), drawn.names, drawn.groups, strict=True):
        number, _, corner = name.partition(" ")
        top, left = map(int, corner.strip("[]").split(", "))
        assert int(number) == source
        np.testing.assert_array_equal(images[source][top : top + 16, left : left + 16], tile[0])


def test_the_same_seed_draws_the_same_tiles():
    np.testing.assert_array_equal(sampled()[1].read(), sampled()[1].read())
    assert not np.array_equal(sampled()[1].read(), sampled(seed=4)[1].read())


def test_repeats_are_dropped():
    images = read_large([np.zeros((40, 40), np.uint8), np.full((40, 40), 9, np.uint8)])[0]
    drawn = sample_tiles(images, 16, 30, 0)
    assert len(drawn) == 2
    assert drawn.groups.tolist() == [0, 1]
