"""Mosaics: the family's pictures side by side, and a patch of others."""

from __future__ import annotations

import numpy as np
import pytest

from clad.data.images import ImageSet
from clad.data.mosaics import LEAST, Mosaics


@pytest.fixture
def mosaics():
    """Pictures of one level each: the family's even, the foreign ones odd."""
    family = np.arange(0, 40, 2, dtype=np.uint8)[:, None, None, None]
    foreign = np.arange(201, 241, 2, dtype=np.uint8)[:, None, None, None]
    return Mosaics.of(*(ImageSet.of(np.tile(levels, (1, 1, 8, 8))) for levels in (family, foreign)))


def test_normal_is_of_the_family_alone(mosaics):
    image = mosaics.normal(50, 1)
    assert image.shape == (50, 50)
    assert (image % 2 == 0).all()
    assert len(np.unique(image)) > 5
    edges = np.flatnonzero((np.diff(image.astype(int), axis=0) != 0).any(axis=1))
    assert set(np.diff(edges)) == {8}, "whole pictures between the borders"
    np.testing.assert_array_equal(image, mosaics.normal(50, 1))
    assert (image != mosaics.normal(50, 2)).any()


@pytest.mark.parametrize("size", [(5, 5), (20, 8)])
def test_a_patch_is_foreign_and_the_rest_the_same(mosaics, size):
    found = mosaics.defective(64, 1, size)
    assert found.mask.sum() == size[0] * size[1]
    assert (found.image[found.mask] > 200).all()
    np.testing.assert_array_equal(found.image[~found.mask], mosaics.normal(64, 1)[~found.mask])
    rows, columns = np.nonzero(found.mask)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == size


def test_pixels_that_happen_to_agree_are_no_defect():
    pictures = np.full((3, 1, 8, 8), 100, np.uint8)
    same = Mosaics(pictures, pictures + LEAST)
    assert not same.defective(32, 0, (9, 9)).mask.any()


def test_colour_is_turned_grey():
    colour = np.zeros((4, 3, 8, 8), np.uint8)
    colour[:, 1] = 255
    found = Mosaics.of(ImageSet.of(colour), ImageSet.of(colour))
    assert found.family.shape == (4, 1, 8, 8)
    assert found.family.max() == found.family.min() == 150
