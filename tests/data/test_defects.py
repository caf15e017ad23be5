"""Painted defects: on every other crop, and the mask is what changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clad.data.defects import CHANGED, LARGE, SMALL, _filling, paint


def crops(n=12, channels=1, side=96):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (n, channels, side, side), dtype=np.uint8)
    noise[:, :, ::2] //= 3
    return noise


def test_every_other_crop_is_left_alone():
    normal = crops(100)
    made, masks = paint(normal, np.random.default_rng(1))
    np.testing.assert_array_equal(made[1::2], normal[1::2])
    assert not masks[1::2].any()
    assert masks[::2].any(axis=(1, 2)).mean() > 0.9, "what is painted may be what was there"


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


def test_small_and_large_ones(monkeypatch):
    monkeypatch.setattr("clad.data.defects.MOST", {SMALL: 1, LARGE: 1})
    masks = paint(crops(400), np.random.default_rng(2))[1][::2]
    for axis in (1, 2):
        sides = masks.any(axis=axis).sum(axis=1)
        assert sides[sides > 0].min() < 6
        assert 40 < sides.max() <= LARGE[1] + 16


def test_flat_crops_without_another_level_cannot_always_change():
    normal = np.zeros((2, 1, 32, 32), np.uint8)
    rounds = [paint(normal, np.random.default_rng(seed))[1].any() for seed in range(30)]
    assert 0 < np.mean(rounds) < 1


@pytest.mark.parametrize("n", [1, 2])
def test_one_crop_is_its_own_other(n):
    made, masks = paint(crops(n), np.random.default_rng(5))
    assert masks[0].any()
    assert len(made) == n


def test_plain_material_from_elsewhere():
    """Half black, half striped crops: what is taken for a black place is striped, and back."""
    striped = np.zeros((1, 40, 40), np.uint8)
    striped[:, :, 20:] = 200
    striped[:, ::2, 20:] = 180
    rng = np.random.default_rng(0)
    for before in (np.zeros((1, 5, 5), np.float32), np.full((1, 5, 5), 190, np.float32)):
        means = {round(_filling(before, striped, _Fixed(rng, 0.3)).mean()) for _ in range(40)}
        assert all(abs(mean - before.mean()) > CHANGED for mean in means)


class _Fixed:
    """A generator whose choice of a kind is known."""

    def __init__(self, rng, kind):
        self.rng, self.kind = rng, kind

    def random(self):
        return self.kind

    def __getattr__(self, name):
        return getattr(self.rng, name)
