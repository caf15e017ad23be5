"""One large image, read some rows at a time, so that memory never holds all of it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from clad.data.convert import MIN_SIDE, as_levels, over_black
from clad.data.decode import TooLargeError, decode
from clad.data.unpacked import Stored, unpacked
from clad.errors import DataError

MAX_SIDE = 65_536  # of an image that is read in parts
MAX_SEGMENT = 512 * 2**20  # bytes of a strip or tile that has to be decoded whole
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF

_MIN_IS_WHITE = 0
_AS_STORED = (_MIN_IS_WHITE, 1, 2)  # photometric: levels or RGB; Pillow turns others into RGB
_WITHOUT_CODECS = (1, 8, 32773, 32946)  # none, deflate, PackBits: tifffile's own
_ALPHA = (1, 2)  # extra samples: associated, unassociated
_SEPARATE = 2  # planar configuration
_ORIENTATION = 274


class Rows(ABC):
    """An image of ``shape`` (C, H, W) whose rows are read when they are asked for.

    ``mode``: what the file holds, in Pillow's words where it has some ("L", "RGB", "I;16").
    """

    shape: tuple[int, int, int]
    mode: str

    @abstractmethod
    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Rows ``start`` to ``stop`` as uint8 (C, stop - start, W).

        Raises DataError with the reason alone, not the file.
        """


class ArrayRows(Rows):
    """Rows of an array (C, H, W), in memory or mapped, of any dtype that an image may have."""

    def __init__(self, array: NDArray[Any], mode: str | None = None) -> None:
        self.array = array
        channels, height, width = array.shape
        self.shape = channels, height, width
        self.mode = mode or _mode(channels, array.dtype)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """See :meth:`Rows.read`."""
        return as_levels(np.ascontiguousarray(self.array[:, start:stop]), "pixels")


class FileRows(Rows):
    """Rows of a file that holds an image's samples (H, W, S) as they are, and nothing else.

    ``alpha``: the last sample is, and is laid over black.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        height, width, samples = stored.shape
        self.shape = samples - stored.alpha, height, width
        self.mode = _mode(samples, stored.dtype)

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """See :meth:`Rows.read`."""
        # not mapped: pages that were read would count as this process's memory
        file, dtype, (_, *rest), alpha = self._stored
        row = math.prod(rest) * dtype.itemsize
        with file.open("rb") as stream:
            stream.seek(start * row)
            samples = np.frombuffer(stream.read((stop - start) * row), dtype)
        levels = as_levels(samples.reshape(-1, *rest), "pixels").transpose(2, 0, 1)
        return over_black(levels[None])[0] if alpha else np.ascontiguousarray(levels)


class TiffRows(Rows):
    """Rows of a TIFF, by tifffile: strips and tiles are decoded as they are reached.

    Channels lie in samples, or in pages of an axis C (ImageJ, OME). Alpha is laid over black.
    """

    def __init__(self, stream: BinaryIO, file: Any, first_frame: bool) -> None:
        series = file.series[0]
        frames = sum(not page.is_reduced for page in file.pages)
        self._pages = list(series.pages) if series.axes == "CYX" else [series.pages[0]]
        if frames > len(self._pages) and not first_frame:
            raise DataError(f"{frames} frames; ask for the first frame, or split it")
        first = self._pages[0]
        self._stream, self._dtype = stream, np.dtype(first.dtype)
        self._alpha = len(first.extrasamples) == 1 and first.extrasamples[0] in _ALPHA
        channels = (first.samplesperpixel - self._alpha) * len(self._pages)
        self.shape = channels, first.imagelength, first.imagewidth
        self.mode = _mode(channels, self._dtype)
        self._decoded: dict[tuple[int, int], NDArray[Any]] = {}
        size = math.prod(first.chunks) * self._dtype.itemsize
        if size > MAX_SEGMENT and not _raw(first):
            raise DataError(
                f"its strips of {first.rowsperstrip} rows take {size >> 20} MiB each; "
                "save it with smaller strips or tiles"
            )

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """See :meth:`Rows.read`."""
        found = []
        needed: dict[tuple[int, int], NDArray[Any]] = {}
        for number, page in enumerate(self._pages):
            levels = as_levels(self._samples(number, page, start, stop, needed), "pixels")
            if page.photometric == _MIN_IS_WHITE:
                levels = 255 - levels
            found.append(over_black(levels[None])[0] if self._alpha else levels)
        self._decoded = needed  # the next rows may begin in the same ones
        return np.concatenate(found) if len(found) > 1 else found[0]

    def _samples(
        self,
        number: int,
        page: Any,
        start: int,
        stop: int,
        needed: dict[tuple[int, int], NDArray[Any]],
    ) -> NDArray[Any]:
        """(S, stop - start, W) as stored; ``needed`` gets the strips or tiles decoded for it."""
        out = np.empty((page.samplesperpixel, stop - start, page.imagewidth), self._dtype)
        planes = page.samplesperpixel if page.planarconfig == _SEPARATE else 1
        tall = page.tilelength if page.is_tiled else page.rowsperstrip
        wide = page.tilewidth if page.is_tiled else page.imagewidth
        down, across = math.ceil(page.imagelength / tall), math.ceil(page.imagewidth / wide)
        for plane in range(planes):
            into = out[plane : plane + 1] if planes > 1 else out
            for row in range(start // tall, (stop - 1) // tall + 1):
                top = row * tall
                first, last = max(start, top), min(stop, top + tall, page.imagelength)
                for column in range(across):
                    index = (plane * down + row) * across + column
                    if _raw(page):
                        piece = self._raw_rows(page, index, first - top, last - top)
                    else:
                        segment = self._decoded.get((number, index))
                        if segment is None:
                            segment = self._decode(page, index)
                        needed[number, index] = segment
                        piece = segment[first - top : last - top]
                    left = column * wide
                    place = into[:, first - start : last - start, left : left + wide]
                    place[:] = np.moveaxis(piece, 2, 0)[:, :, : place.shape[2]]
        return out

    def _raw_rows(self, page: Any, strip: int, first: int, last: int) -> NDArray[Any]:
        """Rows of an uncompressed strip, no others read: (last - first, W, S)."""
        samples = 1 if page.planarconfig == _SEPARATE else page.samplesperpixel
        row = page.imagewidth * samples * self._dtype.itemsize
        data = self._bytes(page.dataoffsets[strip] + first * row, (last - first) * row, strip)
        stored = np.frombuffer(data, self._dtype.newbyteorder(page.parent.byteorder))
        return stored.reshape(last - first, page.imagewidth, samples)

    def _decode(self, page: Any, index: int) -> NDArray[Any]:
        """A strip or tile (h, w, S), cut to the image."""
        data = self._bytes(page.dataoffsets[index], page.databytecounts[index], index)
        try:
            segment, _, (_, height, width, _) = page.decode(data, index)
        except Exception as error:  # decoders raise zlib.error, ValueError, RuntimeError, ...
            raise DataError(f"strip or tile {index} is damaged: {error}") from error
        if segment is None:
            raise DataError(f"strip or tile {index} is empty")
        found: NDArray[Any] = segment[0, :height, :width]
        return found

    def _bytes(self, offset: int, count: int, index: int) -> bytes:
        self._stream.seek(offset)
        data = self._stream.read(count)
        if len(data) < count:
            raise DataError(f"strip or tile {index} is cut off: {len(data)} of {count} bytes")
        return data


@contextmanager
def opened(stream: BinaryIO, *, first_frame: bool = False) -> Iterator[Rows]:
    """The image in a stream. TIFFs are read in parts where tifffile is installed (``clad[tiff]``);
    what Pillow reads is decoded whole, within its limit of pixels, and above it unpacked to a file
    on disk where pyvips is installed (``clad[vips]``).

    Raises DataError with the reason alone, not the file.
    """
    with ExitStack() as stack:
        rows = _rows(stream, first_frame, stack)
        _, height, width = rows.shape
        if not MIN_SIDE <= min(height, width) <= max(height, width) <= MAX_SIDE:
            raise DataError(f"{height}x{width} is outside {MIN_SIDE} to {MAX_SIDE} pixels a side")
        yield rows


def _rows(stream: BinaryIO, first_frame: bool, stack: ExitStack) -> Rows:
    """By the first reader that can; what is to be closed afterwards goes on the ``stack``."""
    start = stream.read(4)
    stream.seek(0)
    file = _tifffile(stream) if start in TIFF_STARTS else None
    if file is not None and _in_parts(file.pages[0]):
        return TiffRows(stream, file, first_frame)
    stream.seek(0)
    try:
        decoded = decode(stream, first_frame=first_frame)
    except TooLargeError as error:
        stream.seek(0)
        try:
            stored = stack.enter_context(unpacked(stream))
        except ImportError:
            raise DataError(
                f"{error}; pip install 'clad[vips]' to read it, or save it as TIFF with strips"
            ) from None
        return FileRows(stored)
    return ArrayRows(decoded.pixels, decoded.mode)


def _tifffile(stream: BinaryIO) -> Any:
    """The stream as tifffile sees it, or None where that is not installed."""
    try:
        from tifffile import TiffFile
    except ImportError:
        return None
    try:
        file = TiffFile(stream)
        file.pages[0], file.series[0]  # read when first asked for
    except Exception as error:  # it raises struct.error, ValueError, IndexError, TypeError, ...
        raise DataError(f"truncated or damaged: {error}") from error
    return file


def _in_parts(page: Any) -> bool:
    """Whether tifffile's samples are the pixels as they should be seen, upright."""
    turned = page.tags.valueof(_ORIENTATION, 1) != 1
    return page.photometric in _AS_STORED and page.compression in _WITHOUT_CODECS and not turned


def _raw(page: Any) -> bool:
    """Whether rows of a strip lie in the file as they are."""
    whole = page.bitspersample == page.dtype.itemsize * 8
    return page.compression == 1 and page.predictor == 1 and whole and not page.is_tiled


def _mode(channels: int, dtype: np.dtype[Any]) -> str:
    known = {(1, "u1"): "L", (3, "u1"): "RGB", (1, "u2"): "I;16", (1, "f4"): "F"}
    kind = dtype.str[1:]
    return known.get((channels, kind), f"{channels}x{kind}")
