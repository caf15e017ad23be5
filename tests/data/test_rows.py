"""Large images by rows: every kind of TIFF gives the pixels that its array holds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from clad.data import rows as module
from clad.data.rows import ArrayRows, opened
from clad.errors import DataError

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (70, 53), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (70, 53, 3), dtype=np.uint8)
FIVE = RNG.integers(0, 256, (70, 53, 5), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (70, 53), dtype=np.uint16)


def tiff(array, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    stream.seek(0)
    return stream


def levels(array):
    """What the package's one conversion makes of it, (C, H, W)."""
    planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return (
        ((planes.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if array.dtype == "u2"
        else planes
    )


def read(stream, *spans, **options):
    with opened(stream, **options) as rows:
        spans = spans or ((0, rows.shape[1]),)
        return rows, [rows.read(*span) for span in spans]


KINDS = {
    "one strip": {},
    "strips": {"rowsperstrip": 16},
    "deflated strips": {"rowsperstrip": 16, "compression": "zlib"},
    "predicted": {"rowsperstrip": 16, "compression": "zlib", "predictor": 2},
    "tiles": {"tile": (32, 16)},
    "deflated tiles": {"tile": (32, 16), "compression": "zlib"},
    "big-endian": {"byteorder": ">", "rowsperstrip": 16},
    "bigtiff": {"bigtiff": True, "rowsperstrip": 16},
}
ARRAYS = {
    "grey": (GREY, {}),
    "colour": (COLOUR, {"photometric": "rgb"}),
    "colour planes": (COLOUR, {"photometric": "rgb", "planarconfig": "separate"}),
    "16 bits": (DEEP, {}),
    "five channels": (FIVE, {"photometric": "minisblack", "planarconfig": "contig"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("array", ARRAYS)
def test_pixels_whole_and_in_parts(kind, array):
    pixels, options = ARRAYS[array]
    expected = levels(pixels)
    if options.get("planarconfig") == "separate":
        pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    stream = tiff(pixels, **options, **KINDS[kind])
    spans = [(0, 70), (0, 1), (3, 40), (31, 33), (69, 70)]
    rows, found = read(stream, *spans)
    assert rows.shape == expected.shape
    for (start, stop), part in zip(spans, found, strict=True):
        np.testing.assert_array_equal(part, expected[:, start:stop])


def test_only_the_strips_asked_for_are_decoded(monkeypatch):
    counted = []
    real = module.TiffRows._decode

    def count(self, page, index):
        counted.append(index)
        return real(self, page, index)

    monkeypatch.setattr(module.TiffRows, "_decode", count)
    read(tiff(GREY, rowsperstrip=10, compression="zlib"), (12, 18), (15, 25), (25, 30))
    assert counted == [1, 2], "each once"


def test_modes():
    for array, mode in ((GREY, "L"), (COLOUR, "RGB"), (DEEP, "I;16"), (FIVE, "5xu1")):
        options = {} if array.ndim == 2 else {"planarconfig": "contig"}
        photometric = "rgb" if array is COLOUR else "minisblack"
        assert read(tiff(array, photometric=photometric, **options))[0].mode == mode


def test_white_as_zero_is_turned_around():
    _, (found,) = read(tiff(GREY, photometric="miniswhite"))
    np.testing.assert_array_equal(found, 255 - GREY[None])


def test_transparency_is_laid_over_black():
    rgba = RNG.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    rows, (found,) = read(tiff(rgba, photometric="rgb", extrasamples=["unassalpha"]))
    assert rows.shape == (3, 20, 30)
    expected = (rgba[..., :3].astype(int) * rgba[..., 3:] + 127) // 255
    np.testing.assert_array_equal(found, expected.transpose(2, 0, 1))


def test_channels_as_pages():
    stack = RNG.integers(0, 256, (4, 20, 30), dtype=np.uint8)
    stream = tiff(stack, imagej=True, metadata={"axes": "CYX"})
    rows, (found,) = read(stream)
    assert rows.shape == (4, 20, 30)
    np.testing.assert_array_equal(found, stack)


def test_frames_are_an_error_or_the_first():
    stack = RNG.integers(0, 256, (4, 20, 30), dtype=np.uint8)
    with pytest.raises(DataError, match="4 frames; ask for the first frame"):
        read(tiff(stack, photometric="minisblack"))
    _, (found,) = read(tiff(stack, photometric="minisblack"), first_frame=True)
    np.testing.assert_array_equal(found, stack[:1])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_what_pillow_reads(form):
    stream = io.BytesIO()
    image = Image.fromarray(COLOUR)
    options = {"compression": "tiff_lzw"} if form == "TIFF" else {}  # a codec tifffile lacks
    image.save(stream, form, **options)
    stream.seek(0)
    rows, (found,) = read(stream)
    stream.seek(0)
    assert rows.mode == "RGB"
    np.testing.assert_array_equal(found, np.asarray(Image.open(stream)).transpose(2, 0, 1))


def test_a_turned_tiff_comes_upright():
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(GREY))).save(stream, "TIFF", exif=exif)
    stream.seek(0)
    np.testing.assert_array_equal(read(stream)[1][0][0], GREY)


def test_without_tifffile_pillow_reads(monkeypatch):
    monkeypatch.setattr(module, "_tifffile", lambda stream: None)
    np.testing.assert_array_equal(read(tiff(GREY, rowsperstrip=16))[1][0][0], GREY)


def spoilt(stream, at, length=20):
    content = bytearray(stream.getvalue())
    content[at : at + length] = bytes(length)
    return io.BytesIO(bytes(content))


def test_a_corrupt_strip_is_named_when_reached():
    stream = tiff(GREY, rowsperstrip=10, compression="zlib")
    offset = tifffile.TiffFile(stream).pages[0].dataoffsets[4]
    broken = spoilt(stream, offset)
    read(broken, (0, 40))
    broken.seek(0)
    with pytest.raises(DataError, match="strip or tile 4 is damaged"):
        read(broken, (0, 70))


def test_a_cut_off_strip_is_named():
    stream = tiff(GREY, rowsperstrip=10)
    cut = io.BytesIO(stream.getvalue()[:-300])
    with pytest.raises(DataError, match=r"cut off|damaged"):
        read(cut)


def test_headers_that_lie():
    for content in (b"II*\0", b"II*\0" + bytes(30), b"MM\0*\xff\xff\xff\xff"):
        with pytest.raises(DataError):
            read(io.BytesIO(content))


def test_strips_too_large_to_decode(monkeypatch):
    monkeypatch.setattr(module, "MAX_SEGMENT", 1000)
    with pytest.raises(DataError, match="its strips of 70 rows take 0 MiB each; save it with"):
        read(tiff(GREY, rowsperstrip=70, compression="zlib"))
    read(tiff(GREY, rowsperstrip=70))  # uncompressed rows are read one by one


def test_too_small():
    with pytest.raises(DataError, match="3x53 is outside 4 to 65536 pixels a side"):
        read(tiff(GREY[:3]))


def test_arrays_of_any_dtype():
    floats = RNG.random((2, 20, 30))
    np.testing.assert_array_equal(ArrayRows(floats).read(5, 9), np.rint(floats[:, 5:9] * 255))
    with pytest.raises(DataError, match="float64 values from 0"):
        ArrayRows(floats * 300).read(0, 20)
