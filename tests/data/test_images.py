import dataclasses

import numpy as np
import pytest

from clad.data.convert import conform
from clad.data.images import ImageSet, Origins
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
        "array", "index", "all_names", "all_groups", "all_origins",
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


def test_sizes_and_modes_are_the_arrays_own_where_there_were_no_files():
    colour = ImageSet.of(np.zeros((3, 3, 4, 6), np.uint8)).take(np.array([2, 0]))
    assert colour.sizes.tolist() == [[4, 6], [4, 6]]
    assert colour.sizes.dtype == np.int64
    assert colour.modes == ["RGB", "RGB"]
    assert ImageSet.of(np.zeros((1, 1, 4, 6), np.uint8)).modes == ["L"]


def test_what_the_files_were_stays_with_the_images():
    origins = Origins(np.array([[10, 20], [30, 40], [50, 60]]), ["L", "P", "RGB"])
    images = ImageSet.of(np.zeros((3, 1, 8, 8), np.uint8), origins=origins)
    part = conform(images.take(np.array([2, 1])), (4, 4), 3).take(np.array([1]))
    assert part.sizes.tolist() == [[30, 40]]
    assert part.modes == ["P"]


def test_resizing_an_array_does_not_change_what_it_was():
    images = conform(ImageSet.of(np.zeros((2, 1, 8, 6), np.uint8)), (4, 4), 3)
    assert images.sizes.tolist() == [[8, 6], [8, 6]]
    assert images.modes == ["L", "L"]


def test_brightness_is_the_mean_of_the_pixels():
    array = np.zeros((3, 1, 4, 4), np.uint8)
    array[1] = 255
    array[2, 0, :2] = 51
    brightness = ImageSet.of(array).take(np.array([2, 1, 0])).brightness
    np.testing.assert_allclose(brightness, [0.1, 1.0, 0.0], rtol=1e-12)
    assert brightness.dtype == np.float64
    assert ImageSet.of(array).take(np.array([], int)).brightness.shape == (0,)
