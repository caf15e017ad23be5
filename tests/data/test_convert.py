import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clad.data.convert import (
    as_uint8,
    check_variation,
    common_size,
    conform,
    over_black,
    resize,
    to_channels,
)
from clad.data.images import ImageSet
from clad.errors import DataError


def test_layouts_agree(rng):
    nchw = rng.integers(0, 256, (5, 3, 8, 9), dtype=np.uint8)
    assert as_uint8(nchw) is nchw or np.shares_memory(as_uint8(nchw), nchw)
    np.testing.assert_array_equal(as_uint8(nchw.transpose(0, 2, 3, 1)), nchw)
    np.testing.assert_array_equal(as_uint8(nchw[:, 0]), nchw[:, :1])


def test_a_memory_map_stays_one(tmp_path):
    for shape in ((2, 1, 8, 8), (2, 8, 8), (2, 8, 8, 3)):
        np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
        assert isinstance(as_uint8(np.load(tmp_path / "a.npy", mmap_mode="r")), np.memmap)


def test_every_level_survives_a_trip_through_floats():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    for dtype in (np.float16, np.float32, np.float64):
        np.testing.assert_array_equal(as_uint8((levels / 255).astype(dtype))[0], levels)


def test_exact_pixels_of_each_dtype():
    def convert(values, dtype):
        array = np.zeros((1, 4, 4), dtype)
        array.flat[: len(values)] = values
        return as_uint8(array).ravel()[: len(values)].tolist()

    # 128 / 257 = 0.498 -> 0, 129 / 257 = 0.502 -> 1
    assert convert([0, 128, 129, 257, 32768, 65535], np.uint16) == [0, 0, 1, 1, 128, 255]
    assert convert([0, 128, 129, 257, 32768, 65535], ">u2") == [0, 0, 1, 1, 128, 255]
    assert convert([False, True], bool) == [0, 255]
    assert convert([0, 7, 255], np.int64) == [0, 7, 255]
    assert convert([0.0, 0.5, 1.0], np.float32) == [0, 128, 255]  # 127.5 to even


def test_transparency_is_composited_over_black():
    rgba = np.zeros((1, 4, 4, 4), np.uint8)
    rgba[0, :, 0, 0] = 200, 100, 51, 128
    # 200 * 128 / 255 = 100.39, 100 * 128 / 255 = 50.196, 51 * 128 / 255 = 25.6
    assert over_black(rgba)[0, :, 0, 0].tolist() == [100, 50, 26]
    assert as_uint8(rgba, "NCHW")[0, :, 0, 0].tolist() == [100, 50, 26]


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=16, max_size=16))
def test_colour_to_grey_is_pillow_to_the_bit(colours):
    rgb = np.array(colours, np.uint8).reshape(4, 4, 3)
    expected = np.asarray(Image.fromarray(rgb).convert("L"))
    np.testing.assert_array_equal(to_channels(rgb.transpose(2, 0, 1)[None], 1)[0, 0], expected)


def test_grey_to_colour_and_luma_by_hand():
    rgb = np.array([255, 0, 10], np.uint8).reshape(1, 3, 1, 1)
    # (19595 * 255 + 7471 * 10 + 32768) >> 16 = 5104203 >> 16 = 77
    assert to_channels(rgb, 1).ravel().tolist() == [77]
    assert to_channels(np.full((1, 1, 1, 1), 9, np.uint8), 3).ravel().tolist() == [9, 9, 9]


@pytest.mark.parametrize("shape", [(2, 3, 8, 3), (2, 1, 8, 4)])
def test_an_ambiguous_layout_is_asked_about(shape):
    with pytest.raises(DataError, match="ambiguous"):
        as_uint8(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\) is not \(N, H, W\)"),
        (np.zeros((2, 5, 8, 8), np.uint8), "no axis of 1, 3 or 4 channels"),
        (np.zeros((0, 8, 8), np.uint8), "no images"),
        (np.zeros((2, 1, 1), np.uint8), r"1x1 .* under the minimum of 4x4"),
        (np.full((2, 8, 8), 300), "int64 values from 300 to 300 lie outside 0 to 255"),
        (np.full((2, 8, 8), -1), "values from -1 to -1"),
        (np.full((2, 8, 8), 1.5), r"float64 values from 1\.5 to 1\.5 lie outside 0 to 1"),
        (np.full((2, 8, 8), "a"), "dtype <U1 is not an image's"),
        (np.full((2, 8, 8), None), "dtype object"),
    ],
)
def test_arrays_that_are_not_images(array, match):
    with pytest.raises(DataError, match=match):
        as_uint8(array)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_found_with_their_index(bad):
    array = np.zeros((600, 4, 4), np.float32)
    array[555, 2, 3] = bad
    with pytest.raises(DataError, match=r"at index \(555, 2, 3\)"):
        as_uint8(array)


def test_resize_is_pillow_bilinear_a_channel_at_a_time(rng):
    image = rng.integers(0, 256, (3, 9, 13), dtype=np.uint8)
    small = resize(image, (5, 6))
    for plane, expected in zip(small, image, strict=True):
        pillow = Image.fromarray(expected).resize((6, 5), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(plane, np.asarray(pillow))


def test_conform_copies_only_where_it_must(rng):
    images = ImageSet.of(
        rng.integers(0, 256, (3, 3, 8, 8), dtype=np.uint8), list("abc"), np.array([1, 1, 2])
    )
    assert conform(images, (8, 8), 3) is images
    other = conform(images.take(np.array([2, 0])), (4, 6), 1)
    assert other.shape == (1, 4, 6)
    assert other.names == ["c", "a"]
    assert other.groups.tolist() == [2, 1]
    with pytest.raises(DataError, match="minimum"):
        conform(images, (2, 2), 1)
    with pytest.raises(DataError, match="channels=2 must be 1 or 3"):
        conform(images, (8, 8), 2)


def test_the_common_size():
    assert common_size([(28, 30)] * 3) == (28, 30)
    assert common_size([(28, 28), (28, 30)]) == (64, 64)
    assert common_size([(65, 65)]) == (64, 64)


def test_no_variation():
    flat = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) * np.ones((1, 1, 4, 4), np.uint8)
    with pytest.raises(DataError, match=r"no variation: every image is one flat colour"):
        check_variation(ImageSet.of(flat))
    pattern = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    with pytest.raises(DataError, match=r"no variation: all images are identical \(3 images\)"):
        check_variation(ImageSet.of(np.repeat(pattern, 3, axis=0)))
    check_variation(ImageSet.of(np.concatenate([flat, pattern])))
