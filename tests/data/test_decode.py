import io

import numpy as np
import pytest
from PIL import Image

from clad.data import decode as module
from clad.data.decode import read_header, strict_pillow
from clad.errors import DataError


def decode(stream, **options):
    return module.decode(stream, **options).pixels


def saved(image: Image.Image, kind: str = "PNG", **options) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return stream


@pytest.fixture
def rgb(rng):
    return rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_grey_and_colour(rgb):
    np.testing.assert_array_equal(decode(saved(Image.fromarray(rgb))), rgb.transpose(2, 0, 1))
    assert read_header(saved(Image.fromarray(rgb))) == ((6, 9), False)
    grey = rgb[..., 0]
    np.testing.assert_array_equal(decode(saved(Image.fromarray(grey)))[0], grey)
    assert read_header(saved(Image.fromarray(grey))) == ((6, 9), True)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_by_their_range_not_clipped(kind):
    wide = np.array([0, 257, 300, 32768, 65278, 65535] * 4, np.uint16).reshape(4, 6)
    expected = [0, 1, 1, 128, 254, 255]
    assert decode(saved(Image.fromarray(wide), kind))[0, 0].tolist() == expected


def test_palette_and_two_tone():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert decode(saved(image))[:, 0, 0].tolist() == [10, 20, 30]
    assert decode(saved(Image.new("1", (4, 4), 1)))[:, 0, 0].tolist() == [255]


def test_transparency_over_black():
    rgba = Image.new("RGBA", (4, 4), (200, 100, 51, 128))
    assert decode(saved(rgba))[:, 0, 0].tolist() == [100, 50, 26]
    assert decode(saved(Image.new("LA", (4, 4), (200, 128))))[:, 0, 0].tolist() == [100]
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert decode(saved(image, transparency=1))[:, 0, 0].tolist() == [0, 0, 0]


def test_cmyk():
    image = Image.new("CMYK", (4, 4), (0, 255, 0, 0))
    assert decode(saved(image, "TIFF"))[:, 0, 0].tolist() == [255, 0, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(rgb, orientation, kind):
    upright = Image.fromarray(rgb)
    # What a camera held so would store: the inverse of the turn that the tag asks for.
    T = Image.Transpose
    undo = {
        2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE,
        6: T.ROTATE_90, 7: T.TRANSVERSE, 8: T.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = saved(stored, kind, exif=exif)
    np.testing.assert_array_equal(decode(stream), rgb.transpose(2, 0, 1))
    stream.seek(0)
    assert read_header(stream).size == (6, 9)


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_more_than_one_frame(kind):
    frames = [Image.new("L", (4, 4), level) for level in (10, 200)]
    stream = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="2 frames"):
        decode(stream)
    stream.seek(0)
    assert decode(stream, first_frame=True)[0, 0, 0] == 10


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_truncated(rgb, kind):
    data = saved(Image.fromarray(rgb), kind).getvalue()
    with pytest.raises(DataError, match="truncated or damaged"):
        decode(io.BytesIO(data[: len(data) * 2 // 3]))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty file"),
        (b"these are words", "not an image in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a known format"),
    ],
)
def test_not_an_image(data, match):
    with pytest.raises(DataError, match=match):
        decode(io.BytesIO(data))


def test_a_bomb_is_refused_on_its_header(monkeypatch):
    stream = saved(Image.new("1", (9000, 9000)))  # 81 million pixels in a few kB
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with strict_pillow(), pytest.raises(DataError, match="9000x9000 is over the limit"):
        decode(stream)


def test_pillows_own_bomb_warning_is_an_error(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for side in (4, 8):  # a warning, then Pillow's own error
        with strict_pillow(), pytest.raises(DataError, match="decompression bomb"):
            decode(saved(Image.new("L", (side, side))))


def test_too_small():
    with pytest.raises(DataError, match="1x1 is under the minimum of 4x4"):
        decode(saved(Image.new("L", (1, 1))))


def test_memory_errors_are_not_blamed_on_the_file(monkeypatch):
    def exhausted(image):
        raise MemoryError

    monkeypatch.setattr(module, "pixels", exhausted)
    with pytest.raises(MemoryError):
        decode(saved(Image.new("L", (4, 4))))


def test_wider_than_16_bits_and_floats():
    wide = np.full((4, 4), 65535, np.int32)
    assert decode(saved(Image.fromarray(wide), "TIFF")).max() == 255
    with pytest.raises(DataError, match="values from 65536 to 65536 exceed 16 bits"):
        decode(saved(Image.fromarray(wide + 1), "TIFF"))
    assert decode(saved(Image.fromarray(np.full((4, 4), 0.2, np.float32)), "TIFF")).max() == 51
    with pytest.raises(DataError, match=r"values from 3\.0 to 3\.0 lie outside 0 to 1"):
        decode(saved(Image.fromarray(np.full((4, 4), 3, np.float32)), "TIFF"))


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (Image.new("L", (4, 4)), "L"),
        (Image.new("RGBA", (4, 4)), "RGBA"),
        (Image.new("P", (4, 4)), "P"),
        (Image.fromarray(np.zeros((4, 4), np.uint16)), "I;16"),
    ],
)
def test_the_files_own_mode_is_kept(image, mode):
    assert module.decode(saved(image)).mode == mode
