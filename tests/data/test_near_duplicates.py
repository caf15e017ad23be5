import io

import numpy as np
import pytest
from PIL import Image

from clad.data.benchmarks import load
from clad.data.images import ImageSet
from clad.data.near_duplicates import near_duplicate_groups


def groups_of(array):
    return near_duplicate_groups(ImageSet.of(array)).tolist()


@pytest.fixture
def digits():
    """uint8 (1078, 1, 8, 8), each unlike the others."""
    return load("digits").train.images.read()


def test_by_hand():
    """An even grey, a brighter one, and eleven with one pixel raised by 80: 80 / sqrt(16) = 20 away
    from the first, so that up to 0.15 * 20 = 3 is near for it."""
    array = np.full((13, 1, 4, 4), 100, np.uint8)
    array[2:].reshape(11, 16)[np.arange(11), np.arange(11)] += 80
    array[1] += 2
    assert groups_of(array) == [0, 0, *range(1, 12)]
    # The brighter one is sqrt((77^2 + 15 * 3^2) / 16) = 19.5 away from the others: 2.9 is near.
    array[1] += 1
    assert groups_of(array) == list(range(13))


def test_real_digits_are_no_near_duplicates(digits):
    assert groups_of(digits) == list(range(len(digits)))


def test_another_encoding_is_found(digits):
    def encoded(image):
        file = io.BytesIO()
        Image.fromarray(image[0]).save(file, "JPEG", quality=95)
        return np.asarray(Image.open(file))[None]

    n = len(digits)
    array = np.concatenate([digits, [encoded(image) for image in digits[:200]]])
    groups = np.array(groups_of(array))
    assert (groups[:200] == groups[n:]).mean() > 0.95
    assert len(np.unique(groups[:n])) == n, "no two digits are joined"


def test_one_fixed_camera(rng):
    """Scenes that differ by the camera's noise alone are alike, and stay single."""
    scene = rng.integers(50, 200, (3, 16, 16))
    shots = (scene + rng.normal(0, 2, (300, 3, 16, 16))).astype(np.uint8)
    other = rng.integers(0, 255, (300, 3, 16, 16)).astype(np.uint8)
    assert groups_of(np.concatenate([shots, other])) == list(range(600))


@pytest.mark.parametrize("n", [0, 1, 2, 11])
def test_too_few_to_set_a_scale(n):
    assert groups_of(np.full((n, 1, 8, 8), 7, np.uint8)) == list(range(n))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 20), (2, 64, 3)])
def test_any_shape(shape, rng):
    array = rng.integers(0, 256, (30, *shape)).astype(np.uint8)
    assert len(groups_of(array)) == 30


def test_sets_with_many_cells_agree_with_one(rng, monkeypatch):
    """The approximate search finds what the exact one does, in images that cluster."""
    centres = rng.integers(40, 200, (50, 1, 8, 8))
    array = centres[rng.integers(0, 50, 3000)] + rng.normal(0, 15, (3000, 1, 8, 8))
    array = array.clip(0, 254).astype(np.uint8)
    array[2900:] = array[:100] + 1
    found = groups_of(array)
    monkeypatch.setattr("clad.data.near_duplicates.CELL", 10_000)
    assert groups_of(array) == found
    assert found[2900:] == found[:100]
