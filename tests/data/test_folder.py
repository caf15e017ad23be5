import logging
import zipfile

import numpy as np
import pytest
from PIL import Image

from clad.data.folder import read_images, read_parts
from clad.errors import DataError


@pytest.fixture
def folder(tmp_path, rng):
    """Three good 8x8 images, one in a subfolder, beside files that are none."""
    root = tmp_path / "images"
    (root / "sub").mkdir(parents=True)
    for name in ("b.png", "a.PNG", "sub/c.bmp"):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(root / name)
    (root / "notes.txt").write_text("not an image")
    (root / ".hidden.png").write_text("left out")
    return root


def test_a_folder_is_read_recursively_in_order(folder, caplog):
    with caplog.at_level(logging.INFO, "clad"):
        images, bad = read_images(folder)
    assert images.names == ["a.PNG", "b.png", "sub/c.bmp"]
    assert images.shape == (1, 8, 8)
    assert bad == []
    assert "ignored 1 files" in caplog.text
    np.testing.assert_array_equal(images.read()[2, 0], np.asarray(Image.open(folder / "sub/c.bmp")))


def test_zip_list_and_text_file_give_the_same_pixels(folder, tmp_path):
    expected = read_images(folder)[0].read()
    names = ["a.PNG", "b.png", "sub/c.bmp"]
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name in [*names, "notes.txt"]:
            archive.write(folder / name, name)
        archive.writestr("__MACOSX/._a.png", b"a resource fork")
    listing = folder / "list.txt"
    listing.write_text("\n".join(names) + "\n\n")
    for source in (tmp_path / "images.zip", [folder / n for n in names], str(listing)):
        images, _ = read_images(source)
        np.testing.assert_array_equal(images.read(), expected)
    assert read_images(folder / "b.png")[0].names == [str(folder / "b.png")]


def spoil(folder):
    whole = (folder / "b.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[:60])
    (folder / "empty.png").write_bytes(b"")
    (folder / "words.png").write_text("words")
    Image.new("L", (1, 1)).save(folder / "tiny.png")


def test_parts_are_the_whole(folder):
    whole, _ = read_images(folder, size=(8, 8), channels=1)
    parts = [part for part, _ in read_parts(folder, size=(8, 8), channels=1, part=2)]
    assert [len(part) for part in parts] == [2, 1]
    np.testing.assert_array_equal(np.concatenate([part.read() for part in parts]), whole.read())
    assert [name for part in parts for name in part.names] == whole.names


def test_bad_files_of_every_part_are_listed_together(folder):
    spoil(folder)
    parts = read_parts(folder, size=(8, 8), channels=1, part=2)
    with pytest.raises(DataError, match=r"^4 of 7 images cannot be used: cut.* words") as caught:
        list(parts)
    assert "--on-bad skip" in str(caught.value)
    skipped = list(read_parts(folder, size=(8, 8), channels=1, part=2, on_bad="skip"))
    assert sum(len(part) for part, _ in skipped) == 3
    assert [bad.path for _, part in skipped for bad in part] == [
        *("cut.png", "empty.png", "tiny.png", "words.png"),
    ]
    for name in ("a.PNG", "b.png", "sub/c.bmp"):
        (folder / name).unlink()
    with pytest.raises(DataError, match=r"^4 of 4 images"):
        list(read_parts(folder, size=(8, 8), channels=1, part=2, on_bad="skip"))


def test_every_bad_file_is_listed_in_one_line(folder):
    spoil(folder)
    with pytest.raises(DataError, match=r"^4 of 7 images cannot be used: ") as caught:
        read_images(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert "cut.png (truncated or damaged" in text
    assert "empty.png (empty file)" in text
    assert "words.png (not an image in a known format)" in text
    assert "tiny.png (1x1 is under the minimum of 4x4 pixels)" in text
    assert "--on-bad skip" in text


@pytest.mark.parametrize("options", [{}, {"size": (8, 8), "channels": 1}])
def test_bad_files_are_skipped_where_asked(folder, options):
    clean = read_images(folder)[0]
    spoil(folder)
    images, bad = read_images(folder, on_bad="skip", **options)
    assert [b.path for b in bad] == ["cut.png", "empty.png", "tiny.png", "words.png"]
    assert images.names == clean.names
    np.testing.assert_array_equal(images.read(), clean.read())


def test_nothing_left_is_an_error_even_when_skipping(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 1 images cannot be used: a.png \(empty file\)"):
        read_images(tmp_path, on_bad="skip")


def test_mixed_sizes_and_grey_beside_colour(tmp_path):
    Image.new("L", (8, 8), 9).save(tmp_path / "a.png")
    Image.new("RGB", (10, 100), (1, 2, 3)).save(tmp_path / "b.png")
    images, _ = read_images(tmp_path)
    assert images.shape == (3, 64, 64)
    assert images.read()[:, :, 5, 5].tolist() == [[9, 9, 9], [1, 2, 3]]
    assert read_images(tmp_path, size=(16, 12), channels=1)[0].shape == (1, 16, 12)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda p: p / "absent", "absent does not exist"),
        (lambda p: p / "absent.zip", "absent.zip does not exist"),
        (lambda p: p, r"no images \(0 files with other extensions\); known are .bmp"),
        (lambda p: [], "list of paths is empty"),
        (lambda p: [p / "absent.png"], r"absent.png \(No such file or directory\)"),
    ],
)
def test_sources_that_hold_nothing(tmp_path, make, match):
    with pytest.raises(DataError, match=match):
        read_images(make(tmp_path))


def test_files_that_are_no_list_of_paths(tmp_path):
    (tmp_path / "a.dat").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="neither a folder, a zip"):
        read_images(tmp_path / "a.dat")
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(DataError, match="lists no images"):
        read_images(tmp_path / "a.txt")
    (tmp_path / "a.zip").write_text("not a zip")
    with pytest.raises(DataError, match="not a readable zip"):
        read_images(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("options", "match"),
    [({"on_bad": "ignore"}, "on_bad='ignore'"), ({"size": (2, 2)}, "under the minimum")],
)
def test_options_out_of_range(folder, options, match):
    with pytest.raises(DataError, match=match):
        read_images(folder, **options)


def test_a_damaged_member_of_a_zip_is_a_bad_file(folder, tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a.PNG", "b.png"):
            archive.write(folder / name, name)
    data = bytearray(path.read_bytes())
    data[len("a.PNG") + 30 + 40] ^= 1  # a bit of the first file's bytes, behind its local header
    path.write_bytes(data)
    images, bad = read_images(path, on_bad="skip")
    assert images.names == ["b.png"]
    assert [b.path for b in bad] == ["a.PNG"]
    assert "damaged inside the zip: Bad CRC-32" in bad[0].reason


def test_what_the_files_were_is_kept(tmp_path):
    Image.new("L", (8, 12), 9).save(tmp_path / "a.png")
    Image.new("RGB", (10, 100), (1, 2, 3)).save(tmp_path / "b.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    Image.new("L", (20, 30), 9).save(tmp_path / "c.jpg", exif=exif)
    (tmp_path / "bad.png").write_bytes(b"x")
    images, _ = read_images(tmp_path, on_bad="skip")
    assert images.names == ["a.png", "b.png", "c.jpg"]
    assert images.sizes.tolist() == [[12, 8], [100, 10], [20, 30]]
    assert images.modes == ["L", "RGB", "L"]
