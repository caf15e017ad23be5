import dataclasses

import numpy as np
import pytest

from clad.data.images import ImageSet
from clad.errors import DataError


def test_take_shares_the_array_and_keeps_names_and_groups_aligned():
    array = np.arange(5 * 16, dtype=np.uint8).reshape(5, 1, 4, 4)
    images = ImageSet.of(array, list("abcde"), np.array([7, 7, 8, 9, 9]))
    part = images.take(np.array([3, 0, 4])).take(np.array([True, False, True]))
    assert part.array is array
    assert part.names == ["d", "e"]
    assert part.groups.tolist() == [9, 9]
    assert part.read()[:, 0, 0, 0].tolist() == [48, 64]
    assert [len(b) for b in images.batches(2)] == [2, 2, 1]


def test_an_image_set_has_no_place_for_labels():
    assert [f.name for f in dataclasses.fields(ImageSet)] == [
        "array", "index", "all_names", "all_groups",
    ]  # fmt: skip
    assert not [name for name in dir(ImageSet) if "label" in name]


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((2, 1, 4, 4)), r"uint8 \(N, C, H, W\), got float64 \(2, 1, 4, 4\)"),
        (np.zeros((2, 4, 4), np.uint8), r"got uint8 \(2, 4, 4\)"),
    ],
)
def test_refuses_other_arrays(array, match):
    with pytest.raises(DataError, match=match):
        ImageSet.of(array)


def test_refuses_names_of_another_length():
    with pytest.raises(DataError, match="1 names for 2 images"):
        ImageSet.of(np.zeros((2, 1, 4, 4), np.uint8), ["a"])
