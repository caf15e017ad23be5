"""Anomalies made from normal images: different from them, reproducible, of the same form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clad.data.images import ImageSet
from clad.data.synthetic import CHANGED, SHARE, perlin, synthesise


def some(n=12, shape=(1, 28, 28), seed=0):
    """Bright blobs on black, as digits are."""
    rng = np.random.default_rng(seed)
    array = np.zeros((n, *shape), np.uint8)
    for image in array:
        top, left = rng.integers(shape[1] - 3), rng.integers(shape[2] - 3)
        image[:, top : top + 4, left : left + 4] = rng.integers(100, 256)
    return ImageSet.of(array)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 20), (1, 4, 4), (3, 64, 64)])
@pytest.mark.parametrize("seed", range(3))
def test_every_one_differs_from_its_source(shape, seed):
    images = some(shape=shape)
    before = images.read()
    made = synthesise(images, 30, seed)
    assert made.read().dtype == np.uint8
    assert made.shape == shape
    sources = [int(name.split()[-1]) for name in made.names]
    difference = np.abs(made.read().astype(int) - before[sources]).max(axis=1)
    assert ((difference >= CHANGED).mean(axis=(1, 2)) >= SHARE).all()
    np.testing.assert_array_equal(images.read(), before)


def test_most_of_an_image_stays():
    """A defect, not another image: at most a third of it, by any kind."""
    images = some(shape=(1, 32, 32))
    made = synthesise(images, 60, 0)
    sources = [int(name.split()[-1]) for name in made.names]
    changed = (made.read() != images.read(np.array(sources))).mean(axis=(1, 2, 3))
    assert changed.max() < 1 / 3


@pytest.mark.parametrize("level", [0, 255, 128])
def test_flat_images_get_noise(level):
    images = ImageSet.of(np.full((3, 1, 8, 8), level, np.uint8))
    made = synthesise(images, 9, 1).read()
    assert (made != level).any(axis=(1, 2, 3)).all()


def test_the_seed_decides():
    images = some()
    first, again, other = (synthesise(images, 9, seed).read() for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_sources_repeat_only_when_they_must():
    images = some(5)
    sources = [name.split()[-1] for name in synthesise(images, 10, 0).names]
    assert sorted(sources[:5]) == sorted(sources[5:]) == list("01234")
    assert sources[:5] != sources[5:]


@given(st.integers(4, 40), st.integers(4, 40), st.sampled_from([2, 4, 8]), st.integers(0, 9))
def test_perlin_noise_is_bounded(height, width, cells, seed):
    noise = perlin((height, width), cells, np.random.default_rng(seed))
    assert noise.shape == (height, width)
    assert np.abs(noise).max() <= np.sqrt(0.5) + 1e-12


def test_perlin_noise_by_hand():
    """Zero at the nodes; halfway on an edge between two gradients, the mean of both slopes."""
    noise = perlin((8, 8), 4, np.random.default_rng(0))
    assert np.abs(noise[::2, ::2]).max() == 0
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, (5, 5))
    expected = (0.5 * np.cos(angle[0, 0]) - 0.5 * np.cos(angle[0, 1])) / 2
    assert noise[0, 1] == pytest.approx(expected)


def test_perlin_noise_is_smooth():
    noise = perlin((64, 64), 4, np.random.default_rng(0))
    steps = np.abs(np.diff(noise, axis=1))
    assert steps.max() < 0.15
    assert steps.mean() < 0.2 * np.abs(noise[:, :, None] - noise[:, None, :]).mean()
