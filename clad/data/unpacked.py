"""An image over the limit of what is decoded in memory, unpacked by libvips to a file on disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from clad.errors import DataError

MAX_PIXELS = 20_000**2
LOADERS = ("png", "jpeg", "webp", "tiff")  # what libvips may open, by content
DTYPES = {"uchar": np.uint8, "ushort": np.uint16}
COLOURS = ("b-w", "grey16", "srgb", "rgb16")


class Stored(NamedTuple):
    """A file of samples, uint8 or uint16 of ``shape`` (H, W, S); ``alpha``: whether the last is."""

    file: Path
    dtype: np.dtype[Any]
    shape: tuple[int, int, int]
    alpha: bool


@contextmanager
def unpacked(stream: BinaryIO) -> Iterator[Stored]:
    """The pixels as stored, in a file on disk that is gone when the context ends.

    Raises DataError with the reason alone, not the file; ImportError without pyvips.
    """
    import pyvips

    source = pyvips.SourceCustom()  # the file may be as large as the image, and stays out of memory
    source.on_read(stream.read)
    source.on_seek(stream.seek)
    try:
        image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on="truncated")
        alpha = _check(image)
        dtype = np.dtype(DTYPES[image.format])
        shape = image.height, image.width, image.bands
        size = int(np.prod(shape)) * dtype.itemsize
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if size > free:
            raise DataError(
                f"it takes {size >> 20} MiB unpacked, and {folder} has {free >> 20} MiB left; set "
                "TMPDIR to a folder on a larger disk, or save it as TIFF with strips or tiles"
            )
        with tempfile.NamedTemporaryFile(prefix="clad-", suffix=".raw") as file:
            image.rawsave(file.name)
            yield Stored(Path(file.name), dtype, shape, alpha)
    except pyvips.Error as error:
        reason = " ".join(str(error).split())
        raise DataError(f"truncated or damaged: {reason}") from error


def _check(image: Any) -> bool:
    """Raise DataError for what cannot be taken as it is stored; else whether it has alpha."""
    loader = image.get("vips-loader")
    if not loader.startswith(LOADERS):
        raise DataError(f"not an image in a known format ({loader})")
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{image.width}x{image.height} is over the limit of {MAX_PIXELS} pixels")
    if image.get_typeof("orientation") and image.get("orientation") != 1:
        raise DataError("turned by its EXIF orientation; save it upright")
    if image.interpretation not in COLOURS or image.format not in DTYPES:
        raise DataError(f"{image.interpretation} of {image.format}; save it grey or as RGB")
    return bool(image.hasalpha())
