"""One image file -> uint8 (C, H, W): formats on a list, limits checked before decoding."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from clad.data.convert import MIN_SIDE, as_uint8, over_black
from clad.errors import DataError

EXTENSIONS = frozenset(  # what a folder is searched for
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".gif"}
)
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF")  # what Pillow may open, by content
MAX_PIXELS = 64_000_000  # 192 MB as RGB; under Pillow's own limit, and checked on the header alone

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
_ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 swap width and height


class TooLargeError(DataError):
    """An image of more pixels than are decoded in memory."""


class Header(NamedTuple):
    """What a file says of itself before it is decoded; ``size`` is (H, W) upright."""

    size: tuple[int, int]
    grey: bool


class DecodedImage(NamedTuple):
    """An upright uint8 (1 or 3, H, W), and Pillow's mode of the file that held it."""

    pixels: NDArray[np.uint8]
    mode: str


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Pillow's decompression-bomb warning is an error, its remarks on odd metadata are dropped.

    Filters are the process's, not a thread's: enter this once, around the pool.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_header(stream: BinaryIO, *, first_frame: bool = False) -> Header:
    """Size and kind, without decoding. Raises DataError with the reason alone, not the file."""
    with _reasons(), _opened(stream, first_frame) as image:
        width, height = image.size
        if isinstance(image, TiffImageFile):  # as stored: newer Pillow's size is upright already
            width, height = image.tag_v2[256], image.tag_v2[257]
        # A PNG without the tag would be decoded just to look for it behind the pixels.
        tagged = image.format != "PNG" or "exif" in image.info
        if tagged and image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
            width, height = height, width
        return Header((height, width), image.mode in _GREY_MODES)


def decode(stream: BinaryIO, *, first_frame: bool = False) -> DecodedImage:
    """One image. Raises DataError with the reason alone, not the file."""
    with _reasons(), _opened(stream, first_frame) as image:
        return DecodedImage(pixels(image), image.mode)


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    """A Pillow image of any mode, turned upright -> uint8 (1 or 3, H, W)."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return as_uint8(np.asarray(image).astype(np.uint16)[None], what="image")[0]
    if image.mode == "I":  # 32 bits in memory, 16 in the file: PGM, and PNG in older Pillow
        wide = np.asarray(image)
        if wide.min() < 0 or wide.max() > 65535:
            raise DataError(f"values from {wide.min()} to {wide.max()} exceed 16 bits")
        return as_uint8(wide.astype(np.uint16)[None], what="image")[0]
    if image.mode == "F":
        return as_uint8(np.asarray(image)[None], what="image")[0]
    grey = image.mode in _GREY_MODES
    if image.has_transparency_data:
        return over_black(_planes(image.convert("LA" if grey else "RGBA"))[None])[0]
    return _planes(image.convert("L" if grey else "RGB"))


def _planes(image: Image.Image) -> NDArray[np.uint8]:
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


@contextmanager
def _opened(stream: BinaryIO, first_frame: bool) -> Iterator[Image.Image]:
    """The file opened but not decoded, every limit checked."""
    if not stream.read(1):
        raise DataError("empty file")
    stream.seek(0)
    with Image.open(stream, formats=FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise TooLargeError(f"{width}x{height} is over the limit of {MAX_PIXELS} pixels")
        if min(width, height) < MIN_SIDE:
            raise DataError(
                f"{height}x{width} is under the minimum of {MIN_SIDE}x{MIN_SIDE} pixels"
            )
        # A phone's photograph (MPO) holds a preview or depth map behind the picture; no animation.
        frames: Any = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if frames > 1 and not first_frame:
            raise DataError(f"{frames} frames; ask for the first frame, or split it")
        yield image


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever a decoder raises on a bad file into a DataError that states the reason."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise DataError("not an image in a known format") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        reason = f"decompression bomb: over the limit of {MAX_PIXELS} pixels"
        raise TooLargeError(reason) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, EOFError, ...
        raise DataError(f"truncated or damaged: {error}") from error
