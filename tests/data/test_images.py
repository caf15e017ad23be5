import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from clad.data import images as module
from clad.data.convert import as_uint8, conform
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


def resident(path):
    """KiB of a mapped file that count as this process's memory."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if "-" in line.split()[0]:
            inside = line.rstrip().endswith(str(path))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux what is resident")
def test_what_was_read_of_a_mapped_file_is_no_memory_of_this_process(tmp_path, rng):
    pixels = rng.integers(0, 256, (200, 64, 64, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    images = ImageSet.of(as_uint8(mapped))
    for batch in images.batches(50):
        assert batch.flags.c_contiguous
    np.testing.assert_array_equal(images.read(), pixels.transpose(0, 3, 1, 2))
    assert resident(tmp_path / "a.npy") == 0
    mapped.sum()
    assert resident(tmp_path / "a.npy") > 2000


def test_pages_are_handed_back_while_many_images_are_read(tmp_path, rng, monkeypatch):
    np.save(tmp_path / "a.npy", rng.integers(0, 256, (50, 1, 8, 8), dtype=np.uint8))
    images = ImageSet.of(np.load(tmp_path / "a.npy", mmap_mode="r"))
    chosen, seen, release = rng.permutation(50), [], module._release
    monkeypatch.setattr(module, "PORTION", 20)
    monkeypatch.setattr(module, "_release", lambda array: seen.append(len(array)) or release(array))
    np.testing.assert_array_equal(images.read(chosen), np.load(tmp_path / "a.npy")[chosen])
    assert seen == [50] * 3, "after each portion, of the whole map"
    assert images.read(chosen[:0]).shape == (0, 1, 8, 8)


def test_changes_of_a_map_that_are_not_in_the_file_are_kept(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 1, 8, 8), np.uint8))
    copied = np.load(tmp_path / "a.npy", mmap_mode="c")
    copied[1] = 7
    images = ImageSet.of(copied)
    assert images.read()[1].min() == images.read()[1].min() == 7
