"""Images over the limit of pixels: unpacked to disk, the same pixels, and what cannot be."""

from __future__ import annotations

import io
import sys
import tempfile

import numpy as np
import pytest
from PIL import Image

from clad.data import decode, unpacked
from clad.data.rows import opened
from clad.errors import DataError

pytest.importorskip("pyvips")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (60, 45, 4), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (60, 45), dtype=np.uint16)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 2000)


def stream(image, kind="PNG", **options):
    made = io.BytesIO()
    image.save(made, kind, **options)
    made.seek(0)
    return made


def read(made):
    with opened(made) as rows:
        return rows.shape, np.concatenate([rows.read(0, 7), rows.read(7, rows.shape[1])], axis=1)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.fromarray(PIXELS[..., 0]), "PNG"),
        (Image.fromarray(PIXELS[..., :3]), "PNG"),
        (Image.fromarray(PIXELS), "PNG"),
        (Image.fromarray(PIXELS[..., [0, 3]], "LA"), "PNG"),
        (Image.fromarray(DEEP), "PNG"),
        (Image.fromarray(PIXELS[..., :3]), "WEBP"),
        (Image.fromarray(PIXELS[..., 0]).convert("P"), "PNG"),
    ],
    ids=["grey", "colour", "alpha", "grey alpha", "16 bits", "webp", "palette"],
)
def test_the_same_pixels_as_in_memory(image, kind, monkeypatch):
    made = stream(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    shape, found = read(made)
    monkeypatch.setattr(decode, "MAX_PIXELS", 10**6)
    made.seek(0)
    expected = decode.decode(made).pixels
    assert shape == found.shape
    if len(found) != len(expected):  # a palette is colour to libvips
        expected = np.repeat(expected, 3, axis=0)
    np.testing.assert_array_equal(found, expected)


def test_a_compressed_tiff_that_tifffile_leaves():
    made = stream(Image.fromarray(PIXELS[..., :3]), "TIFF", compression="tiff_lzw")
    np.testing.assert_array_equal(read(made)[1], PIXELS[..., :3].transpose(2, 0, 1))


def test_nothing_stays_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with opened(stream(Image.fromarray(PIXELS[..., 0]))):
        assert [path.suffix for path in tmp_path.iterdir()] == [".raw"]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_too_small(monkeypatch):
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(unpacked.shutil, "disk_usage", lambda _: usage)
    big = Image.fromarray(np.zeros((1200, 1000), np.uint8))
    with pytest.raises(DataError, match=r"takes 1 MiB unpacked, and .* has 1 MiB left; set TMPDIR"):
        read(stream(big))


def test_over_the_limit_of_all(monkeypatch):
    monkeypatch.setattr(unpacked, "MAX_PIXELS", 2500)
    with pytest.raises(DataError, match="45x60 is over the limit of 2500 pixels"):
        read(stream(Image.fromarray(PIXELS[..., 0])))


def test_cut_off():
    content = stream(Image.fromarray(PIXELS)).getvalue()
    with pytest.raises(DataError, match="truncated or damaged"):
        read(io.BytesIO(content[: len(content) // 2]))


def test_turned(monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    made = stream(Image.fromarray(PIXELS[..., :3]), "JPEG", exif=exif)
    with pytest.raises(DataError, match="EXIF orientation; save it upright"):
        read(made)


def test_cmyk():
    with pytest.raises(DataError, match="cmyk of uchar; save it grey or as RGB"):
        read(stream(Image.fromarray(PIXELS, "CMYK"), "JPEG"))


def test_without_pyvips(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(DataError, match=r"limit of 2000 pixels; pip install 'clad\[vips\]'"):
        read(stream(Image.fromarray(PIXELS[..., 0])))
