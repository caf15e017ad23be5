"""LargeImages: what is known of images that stay in their files, and which of them are bad."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from clad.data.groups import digests
from clad.data.images import ImageSet
from clad.data.large import large_parts, read_large
from clad.data.splits import fit_calibration_split
from clad.errors import DataError

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
A, B = (RNG.integers(0, 256, size, dtype=np.uint8) for size in ((70, 90), (64, 200)))


@pytest.fixture
def folder(tmp_path):
    here = tmp_path / "big"
    here.mkdir()
    tifffile.imwrite(here / "a.tif", A, rowsperstrip=16, compression="zlib")
    Image.fromarray(B).save(here / "b.png")
    return here


def whole(images, position):
    with images.open(position) as rows:
        return rows.read(0, rows.shape[1])


def test_what_is_known_of_a_folder(folder):
    images, bad = read_large(folder)
    assert bad == []
    assert images.names == ["a.tif", "b.png"]
    assert images.sizes.tolist() == [[70, 90], [64, 200]]
    assert images.modes == ["L", "L"]
    assert images.channels == 1
    np.testing.assert_allclose(images.brightness, [A.mean() / 255, B.mean() / 255])
    np.testing.assert_array_equal(whole(images, 1)[0], B)


@pytest.mark.parametrize("kind", ["zip", "txt", "paths", "one", "arrays", "npy", "tensor", "set"])
def test_every_way_in_gives_the_same_digests(folder, tmp_path, kind):
    expected = read_large(folder)[0].digests
    stack = np.stack([A, A])
    if kind == "zip":
        source = tmp_path / "big.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, path.name)
    elif kind == "txt":
        source = tmp_path / "list.txt"
        source.write_text("big/a.tif\nbig/b.png\n")
    elif kind == "paths":
        source = [str(folder / "a.tif"), folder / "b.png"]
    elif kind == "one":
        source, expected = folder / "b.png", expected[1:]
    elif kind == "arrays":
        source = [A, B]
    else:
        expected = expected[[0, 0]]
        if kind == "npy":
            source = tmp_path / "stack.npy"
            np.save(source, stack)
        else:
            source = (
                torch.from_numpy(stack)[:, None]
                if kind == "tensor"
                else ImageSet.of(stack[:, None])
            )
    np.testing.assert_array_equal(read_large(source)[0].digests, expected)


def test_a_stack_of_many_channels(tmp_path):
    stack = RNG.integers(0, 256, (3, 20, 30, 5), dtype=np.uint8)
    for array in (stack, stack.transpose(0, 3, 1, 2)):
        images, _ = read_large(np.ascontiguousarray(array))
        assert images.channels == 5
        np.testing.assert_array_equal(whole(images, 1), stack[1].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((2, 50, 60, 70), np.uint8), "has no axis of at most 32 channels"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\) is not"),
        (7, "large images cannot be read from a int"),
    ],
)
def test_what_holds_no_images(source, message):
    with pytest.raises(DataError, match=message):
        read_large(source)


def test_grey_beside_colour_is_colour(folder):
    Image.fromarray(np.stack([A] * 3, axis=2)).save(folder / "c.png")
    images, _ = read_large(folder)
    assert images.channels == 3
    np.testing.assert_array_equal(whole(images, 0), np.stack([A] * 3))


def test_bad_images_are_all_named(folder):
    (folder / "empty.png").write_bytes(b"")
    Image.fromarray(A[:40]).save(folder / "small.png")
    five = RNG.integers(0, 256, (70, 70, 5), dtype=np.uint8)
    tifffile.imwrite(folder / "five.tif", five, photometric="minisblack", planarconfig="contig")
    content = bytearray((folder / "a.tif").read_bytes())
    with tifffile.TiffFile(folder / "a.tif") as file:
        offset = file.pages[0].dataoffsets[2]
    content[offset : offset + 30] = bytes(30)
    (folder / "corrupt.tif").write_bytes(content)
    reasons = {
        "corrupt.tif": "strip or tile 2 is damaged",
        "empty.png": "empty file",
        "five.tif": "5 channels, where 1 are expected",
        "small.png": "40x90 is smaller than a tile of 64 pixels",
    }
    with pytest.raises(DataError, match="4 of 6 images cannot be used: ") as caught:
        read_large(folder, channels=1, smallest=64)
    for name, reason in reasons.items():
        assert f"{name} ({reason}" in str(caught.value)
    images, bad = read_large(folder, channels=1, smallest=64, on_bad="skip")
    assert images.names == ["a.tif", "b.png"]
    assert [item.path for item in bad] == sorted(reasons)
    for item in bad:
        assert reasons[item.path] in item.reason


def test_a_strict_reader_converts_nothing(folder):
    Image.fromarray(np.stack([A] * 3, axis=2)).save(folder / "c.png")
    with pytest.raises(DataError, match=r"c\.png \(3 channels, where 1 are expected"):
        read_large(folder, channels=1, convert=False)
    images, _ = read_large(folder, channels=1)
    assert len(images) == 3


def test_parts_are_one_image_each(folder):
    (folder / "empty.png").write_bytes(b"")
    options = {"channels": 1, "convert": True, "smallest": 16, "first_frame": False}
    parts = list(large_parts(folder, **options, on_bad="skip"))
    assert [len(images) for images, _ in parts] == [1, 1, 0]
    assert [len(bad) for _, bad in parts] == [0, 0, 1]
    with pytest.raises(DataError, match=r"1 of 3 images cannot be used: empty\.png"):
        list(large_parts(folder, **options, on_bad="error"))


def test_an_image_that_changes_on_disk_is_named_when_read(folder):
    images, _ = read_large(folder)
    (folder / "b.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"b\.png: empty file"), images.open(1):
        pass


def test_a_set_that_was_read_is_not_read_again(folder):
    images, _ = read_large(folder)
    assert read_large(images, channels=1, smallest=64)[0] is images
    with pytest.raises(DataError, match=r"a\.tif \(70x90 is smaller than a tile of 80"):
        read_large(images, smallest=80)


def test_repeats_stay_on_one_side():
    images, _ = read_large([A, A.copy(), A.copy(), B])
    assert len(np.unique(digests(images), axis=0)) == 2
    for seed in range(5):
        fit, held_out = fit_calibration_split(images, 0.5, 1, seed)
        sides = {len(fit), len(held_out)}
        assert sides == {1, 3}


def test_pictures_are_means_over_squares():
    images, _ = read_large([A, B])
    np.testing.assert_array_equal(images.picture(0, 100), A[None])
    shrunk = images.picture(1, 100)[0]
    assert shrunk.shape == (32, 100)
    expected = B.reshape(32, 2, 100, 2).mean(axis=(1, 3))
    np.testing.assert_array_equal(shrunk, np.rint(expected))
    assert images.picture(0, 25)[0].shape == (18, 23)  # by 4, the last squares cut off
    assert images.thumbnails(16).shape == (2, 1, 16, 16)
