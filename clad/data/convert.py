"""Any array of images -> uint8 (N, C, H, W): one documented conversion for every way in.

- dtype: uint8 as it is; bool to 0 / 255; uint16 by its range, round(v / 257); floats must lie in
  [0, 1], round(255 v); other integers must lie in 0..255.
- transparency: composited over black, round(v a / 255).
- grey to colour: the one channel three times. Colour to grey: ITU-R 601-2 luma,
  (19595 R + 38470 G + 7471 B + 32768) >> 16, which is Pillow's ``convert("L")`` to the bit.
- size: Pillow's bilinear filter, which averages when it shrinks; channels first, then size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clad.data.images import ImageSet, Origins
from clad.errors import DataError
from clad.runtime import track

MIN_SIDE = 4
DEFAULT_SIDE = 64
_CHUNK = 512
_PART = 2**18  # values
_CHANNELS = (1, 3, 4)


def as_uint8(
    array: NDArray[Any], layout: str | None = None, *, what: str = "array"
) -> NDArray[Any]:
    """(N, H, W), (N, H, W, C) or (N, C, H, W), C in {1, 3, 4} -> uint8 (N, 1 or 3, H, W).

    ``layout="NCHW"`` settles a 4-d array whose axes 1 and 3 could both be channels. A uint8
    (N, 1 or 3, H, W) array comes back uncopied, memory-mapped or not, and so does a memory-mapped
    (N, H, W, 1 or 3). Raises DataError for a shape, dtype or range that is not an image's, and for
    NaN or infinity, with its index.
    """
    if array.dtype.kind not in "buif":
        raise DataError(f"{what}: dtype {array.dtype} is not an image's; give numbers")
    axes = _channel_axis(array, layout, what)
    view = array[:, None] if axes is None else np.moveaxis(array, axes, 1)
    n, c, h, w = view.shape
    if n == 0:
        raise DataError(f"{what}: no images in shape {array.shape}; give at least one")
    if min(h, w) < MIN_SIDE:
        raise DataError(
            f"{what}: images of {h}x{w} in shape {array.shape} are under the minimum of "
            f"{MIN_SIDE}x{MIN_SIDE}; give (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    if array.dtype == np.uint8 and c != 4:
        uncopied = axes in (None, 1) or isinstance(array, np.memmap)
        return np.asanyarray(view) if uncopied else np.ascontiguousarray(view)
    _check_range(array, what)
    out = np.empty((n, 3 if c == 4 else c, h, w), np.uint8)
    for start in range(0, n, _CHUNK):
        chunk = _levels(view[start : start + _CHUNK])
        out[start : start + _CHUNK] = over_black(chunk) if c == 4 else chunk
    return out


def as_levels(array: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """Pixels of any shape -> uint8 of the same; raises DataError as ``as_uint8`` does."""
    if array.dtype.kind not in "buif":
        raise DataError(f"{what}: dtype {array.dtype} is not an image's; give numbers")
    if array.dtype == np.uint8:
        return array
    _check_range(array, what)
    return _levels(array)


def _channel_axis(array: NDArray[Any], layout: str | None, what: str) -> int | None:
    """Which axis holds the channels; None for (N, H, W)."""
    if array.ndim == 3:
        return None
    if array.ndim != 4:
        raise DataError(
            f"{what}: shape {array.shape} is not (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    first, last = array.shape[1] in _CHANNELS, array.shape[3] in _CHANNELS
    if layout == "NCHW" and not first:
        raise DataError(f"{what}: shape {array.shape} has {array.shape[1]} channels, not 1, 3 or 4")
    if layout == "NCHW" or (first and not last):
        return 1
    if last and not first:
        return 3
    if first:
        raise DataError(
            f"{what}: shape {array.shape} is ambiguous, axis 1 and axis 3 could both be channels; "
            "give a torch tensor, which is read as (N, C, H, W)"
        )
    raise DataError(f"{what}: shape {array.shape} has no axis of 1, 3 or 4 channels")


def _check_range(array: NDArray[Any], what: str) -> None:
    kind = array.dtype.kind
    if array.dtype.newbyteorder("=") in (np.uint8, np.uint16) or kind == "b":
        return
    for start in range(0, len(array), _CHUNK):
        finite = np.isfinite(array[start : start + _CHUNK])
        if not finite.all():
            i, *rest = np.argwhere(~finite)[0].tolist()
            where = (start + i, *rest)
            raise DataError(f"{what}: {array[where]} at index {where}; images must be finite")
    low, high = array.min(), array.max()
    top = 1 if kind == "f" else 255
    if low < 0 or high > top:
        raise DataError(
            f"{what}: {array.dtype} values from {low} to {high} lie outside 0 to {top}; "
            "rescale floats to [0, 1] or give uint8"
        )


def _levels(chunk: NDArray[Any]) -> NDArray[np.uint8]:
    """Values already checked -> 0..255, a part at a time: of wide ones no second copy is made."""
    parts = np.nditer(
        [chunk, None],
        ["external_loop", "buffered", "zerosize_ok"],
        [["readonly"], ["writeonly", "allocate"]],
        op_dtypes=[chunk.dtype.newbyteorder("="), np.dtype(np.uint8)],
        buffersize=_PART,
    )
    with parts:
        for values, levels in parts:
            levels[...] = _rounded(values)
        return parts.operands[1]


def _rounded(values: NDArray[Any]) -> NDArray[np.uint8]:
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:  # 257 is odd, so no value falls between two levels
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.dtype.kind == "f":
        return np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    return values.astype(np.uint8)


def over_black(batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (N, C + 1, H, W), the last channel alpha -> uint8 (N, C, H, W)."""
    colour, alpha = batch[:, :-1].astype(np.uint32), batch[:, -1:].astype(np.uint32)
    return ((colour * alpha + 127) // 255).astype(np.uint8)


def to_channels(batch: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """uint8 (N, 1 or 3, H, W) -> uint8 (N, channels, H, W), channels 1 or 3."""
    if channels not in (1, 3):
        raise DataError(f"channels={channels} must be 1 or 3")
    if batch.shape[1] == channels:
        return batch
    if channels == 3:
        return np.repeat(batch, 3, axis=1)
    red, green, blue = np.moveaxis(batch.astype(np.uint32), 1, 0)
    luma = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    return luma.astype(np.uint8)[:, None]


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 (C, H, W) -> uint8 (C, *size); the image itself where the size is right already."""
    if image.shape[1:] == size:
        return image
    height, width = size
    planes = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    small = np.asarray(Image.fromarray(planes).resize((width, height), Image.Resampling.BILINEAR))
    return small[None] if small.ndim == 2 else small.transpose(2, 0, 1)


def fit_to(image: NDArray[np.uint8], size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """One uint8 (C, H, W) image -> uint8 (channels, *size)."""
    return resize(to_channels(image[None], channels)[0], size)


def common_size(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The (H, W) to work at: the images' own where all agree and are small, else 64 x 64."""
    found = set(sizes)
    if len(found) == 1 and max(next(iter(found))) <= DEFAULT_SIDE:
        return found.pop()
    return DEFAULT_SIDE, DEFAULT_SIDE


def conform(images: ImageSet, size: tuple[int, int], channels: int) -> ImageSet:
    """The same images as uint8 (N, channels, *size); or ``images`` itself where so already."""
    if images.shape == (channels, *size):
        return images
    if min(size) < MIN_SIDE:
        raise DataError(f"size={size} is under the minimum of {MIN_SIDE}x{MIN_SIDE}")
    out = np.empty((len(images), channels, *size), np.uint8)
    for start in track(range(0, len(images), _CHUNK), "resize", unit="image", unit_scale=_CHUNK):
        batch = to_channels(images.read(slice(start, start + _CHUNK)), channels)
        for i, image in enumerate(batch, start):
            out[i] = resize(image, size)
    return ImageSet.of(out, images.names, images.groups, Origins(images.sizes, images.modes))


def check_variation(images: ImageSet) -> None:
    """Raise DataError where nothing can be learnt: every image flat, or all of them identical."""
    first = images.read(slice(0, 1))
    flat = same = True
    for batch in images.batches(_CHUNK):
        pixels = batch.reshape(len(batch), -1)
        flat = flat and bool((pixels == pixels[:, :1]).all())
        same = same and bool((batch == first).all())
        if not (flat or same):
            return
    how = "every image is one flat colour" if flat else "all images are identical"
    raise DataError(f"no variation: {how} ({len(images)} images); give images that differ")
