"""Painted defects: on three crops in four, and the mask is what changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clad.data.defects import CHANGED, LARGE, SMALL, _Materials, paint


def crops(n=12, channels=1, side=96):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (n, channels, side, side), dtype=np.uint8)
    noise[:, :, ::2] //= 3
    return noise


def test_a_quarter_of_the_crops_is_left_alone():
    normal = crops(400)
    made, masks = paint(normal, np.random.default_rng(1))
    alone = (made == normal).all(axis=(1, 2, 3))
    assert 0.18 < alone.mean() < 0.32
    assert not masks[alone].any()
    assert masks[~alone].any(axis=(1, 2)).mean() > 0.9, "what is painted may be what was there"


def test_the_crops_given_are_not_touched():
    normal = crops()
    before = normal.copy()
    paint(normal, np.random.default_rng(1))
    np.testing.assert_array_equal(normal, before)


def test_the_mask_is_what_changed():
    normal = crops(40, channels=3)
    made, masks = paint(normal, np.random.default_rng(2))
    difference = np.abs(made.astype(int) - normal).max(axis=1)
    np.testing.assert_array_equal(masks, difference > CHANGED)


def test_the_same_seed_paints_the_same():
    one, again, other = (paint(crops(), np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert (one[0] != other[0]).any()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 5),
    channels=st.integers(1, 5),
    height=st.integers(6, 40),
    width=st.integers(6, 40),
    seed=st.integers(0, 2**32),
)
def test_any_size_and_any_number_of_channels(n, channels, height, width, seed):
    normal = np.full((n, channels, height, width), 100, np.uint8)
    made, masks = paint(normal, np.random.default_rng(seed))
    assert made.shape == normal.shape
    assert masks.shape == (n, height, width)
    np.testing.assert_array_equal(masks, np.abs(made.astype(int) - 100).max(axis=1) > CHANGED)


@pytest.mark.parametrize(("kind", "least", "most"), [(SMALL, 4, 26), (LARGE, 40, 80)])
def test_small_and_large_ones(kind, least, most, monkeypatch):
    """One on a crop: the largest are as large as said, with the blur around them."""
    monkeypatch.setattr("clad.data.defects.MOST", {kind: 1})
    masks = paint(crops(400), np.random.default_rng(2))[1]
    for axis in (1, 2):
        sides = masks.any(axis=axis).sum(axis=1)
        assert sides[sides > 0].min() < 6
        assert least < sides.max() <= most


def test_fewer_on_a_smaller_crop():
    changed = [paint(crops(200, side=n), np.random.default_rng(2))[1].mean() for n in (48, 128)]
    assert 0.3 < changed[0] / changed[1] < 3, "the share of changed pixels stays about the same"


def test_flat_crops_without_another_level_cannot_always_change():
    normal = np.zeros((2, 1, 32, 32), np.uint8)
    rounds = [paint(normal, np.random.default_rng(seed))[1].any() for seed in range(30)]
    assert 0 < np.mean(rounds) < 1


@pytest.mark.parametrize("n", [1, 2])
def test_one_crop_is_its_own_other(n, monkeypatch):
    monkeypatch.setattr("clad.data.defects.CLEAR", 0)
    made, masks = paint(crops(n), np.random.default_rng(5))
    assert masks[0].any()
    assert len(made) == n


def test_plain_material_is_unlike_what_is_there():
    """A crop half black, half striped: what is taken for a black place is striped, and back."""
    striped = np.zeros((1, 40, 40), np.uint8)
    striped[:, :, 20:] = 200
    striped[:, ::2, 20:] = 180
    rng = np.random.default_rng(0)
    materials = _Materials(striped, rng)
    for before, low, high in ((0, 180, 200), (190, 0, 0)):
        found = materials.unlike(np.full((1, 9, 21), before, np.float32), rng)
        assert found.shape == (1, 9, 21)
        assert low <= found.min()
        assert found.max() <= high


def test_a_material_goes_to_and_fro():
    """The only spot of a crop of 3 x 3 is all of it."""
    crop = np.add.outer([0, 30, 60], [0, 1, 2]).astype(np.uint8)[None]
    rng = np.random.default_rng(0)
    found = _Materials(crop, rng).unlike(np.full((1, 8, 2), 200, np.float32), rng)
    assert found[0, :, 0].tolist() == [0, 30, 60, 60, 30, 0, 0, 30]
    assert found[0, 0].tolist() == [0, 1]
