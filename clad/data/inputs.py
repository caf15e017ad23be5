"""Whatever a caller hands in -> ImageSet: the same pixels whichever way the images come."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clad.data.convert import as_uint8, common_size, conform, fit_to
from clad.data.decode import pixels
from clad.data.folder import BadFile, read_images, read_parts
from clad.data.images import ImageSet
from clad.data.labelled import Benchmark, Labelled
from clad.data.splits import Answers, Task
from clad.errors import DataError
from clad.runtime import track

_PICKLES = frozenset({".pkl", ".pickle", ".pt", ".pth", ".joblib", ".npz", ".ckpt", ".bin"})


def as_image_set(
    source: Any,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    on_bad: str = "error",
    first_frame: bool = False,
) -> tuple[ImageSet, list[BadFile]]:
    """Images of any provenance as an ImageSet of (channels, *size), and the files left out.

    ``source``: an ImageSet; an ndarray or torch tensor as ``convert.as_uint8`` takes it (a 4-d
    tensor is NCHW); a map-style torch Dataset or a sequence whose items are tensors, arrays or
    Pillow images, or tuples that start with one (the label is dropped unread); a folder, zip,
    ``.npy``, image or text file of paths; a sequence of paths. ``size`` and ``channels`` of None
    mean: an ImageSet stays as it is; else as in ``folder.read_images``. Raises DataError for
    labelled objects, for pickles, and for anything that holds no images.
    """
    if holds_files(source):
        return read_images(
            source, size=size, channels=channels, on_bad=on_bad, first_frame=first_frame
        )
    if isinstance(source, ImageSet):
        return _conformed(source, size or source.shape[1:], channels), []
    if isinstance(source, (Labelled, Benchmark, Task, Answers)):
        raise DataError(
            f"a {type(source).__name__} carries labels; give its images alone, "
            "such as task.train or labelled.images"
        )
    if isinstance(source, (str, os.PathLike)):  # a .npy
        return _of_array(load_npy(Path(source)), None, size, channels, str(source)), []
    if isinstance(source, np.ndarray):
        return _of_array(source, None, size, channels), []
    if is_torch(source, "Tensor"):
        layout = "NCHW" if source.ndim == 4 else None
        return _of_array(tensor_array(source), layout, size, channels, "tensor"), []
    if is_torch(source, "utils.data.Dataset") or holds_images(source):
        return _of_items(source, size, channels), []
    raise DataError(f"images cannot be read from a {type(source).__name__}")


def in_parts(
    source: Any,
    *,
    size: tuple[int, int],
    channels: int,
    on_bad: str = "error",
    first_frame: bool = False,
) -> Iterator[tuple[ImageSet, list[BadFile]]]:
    """As ``as_image_set``, some thousand images at a time, however many files there are."""
    if holds_files(source):
        yield from read_parts(
            source, size=size, channels=channels, on_bad=on_bad, first_frame=first_frame
        )
    else:
        yield as_image_set(source, size=size, channels=channels)


def holds_files(source: Any) -> bool:
    """Whether images are to be read one by one from files. Raises DataError for a pickle."""
    if not isinstance(source, (str, os.PathLike)):
        return _holds_paths(source)
    path = Path(source)
    if path.suffix.lower() in _PICKLES:
        raise DataError(f"{path} may hold a pickle, which can run code; save images or .npy")
    return path.suffix.lower() != ".npy" or path.is_dir()


def _conformed(images: ImageSet, size: tuple[int, int], channels: int | None) -> ImageSet:
    return conform(images, size, channels or images.shape[0])


def _of_array(
    array: NDArray[Any],
    layout: str | None,
    size: tuple[int, int] | None,
    channels: int | None,
    what: str = "array",
) -> ImageSet:
    images = ImageSet.of(as_uint8(array, layout, what=what))
    return _conformed(images, size or common_size([images.shape[1:]]), channels)


def load_npy(path: Path) -> NDArray[Any]:
    """A plain array, memory-mapped. Raises DataError for anything else."""
    try:
        loaded: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give a .npy of images") from None
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} is not a plain .npy array ({error}); pickled objects are refused"
        ) from error
    return loaded


def _of_items(items: Any, size: tuple[int, int] | None, channels: int | None) -> ImageSet:
    """Item by item; held in their own size only where the size is still to be found."""
    if not hasattr(items, "__len__"):
        raise DataError(f"{type(items).__name__} has no length; give a map-style Dataset")
    if not len(items):
        raise DataError(f"the {type(items).__name__} is empty; give at least one image")
    raw = (item_pixels(items[i], i) for i in track(range(len(items)), "read", unit="image"))
    if size is None or channels is None:
        held = list(raw)
        size = size or common_size((image.shape[1], image.shape[2]) for image in held)
        channels = channels or max(len(image) for image in held)
        raw = iter(held)  # type: ignore[assignment]
    return ImageSet.of(_stack(raw, len(items), size, channels))


def _stack(
    raw: Iterable[NDArray[np.uint8]], n: int, size: tuple[int, int], channels: int
) -> NDArray[np.uint8]:
    out = np.empty((n, channels, *size), np.uint8)
    for i, image in enumerate(raw):
        out[i] = fit_to(image, size, channels)
    return out


def item_pixels(item: Any, i: int) -> NDArray[np.uint8]:
    """One item of a Dataset or sequence -> uint8 (1 or 3, H, W)."""
    image = item[0] if isinstance(item, (tuple, list)) and item else item
    what = f"item {i}"
    if isinstance(image, Image.Image):
        return as_uint8(pixels(image)[None], "NCHW", what=what)[0]
    if is_torch(image, "Tensor"):
        layout = "NCHW" if image.ndim == 3 else None
        return as_uint8(tensor_array(image)[None], layout, what=what)[0]
    if isinstance(image, np.ndarray):
        return as_uint8(image[None], what=what)[0]
    raise DataError(f"{what} is a {type(image).__name__}, not a tensor, array or Pillow image")


def tensor_array(tensor: Any) -> NDArray[Any]:
    """A torch tensor as an array."""
    tensor = tensor.detach().cpu()
    # numpy has no bfloat16
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array


def is_torch(value: object, dotted: str) -> bool:
    """Whether ``value`` is a torch.<dotted>; where torch was never imported nothing can be one."""
    found: Any = sys.modules.get("torch")
    for name in dotted.split("."):
        found = getattr(found, name, None)
    return found is not None and isinstance(value, found)


def _first(source: object) -> object:
    sequence = isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray))
    return source[0] if sequence and len(source) else None  # type: ignore[index,arg-type]


def _holds_paths(source: object) -> bool:
    empty = isinstance(source, (list, tuple)) and not source
    return empty or isinstance(_first(source), (str, os.PathLike))


def holds_images(source: object) -> bool:
    """Whether it is a sequence of arrays, tensors, Pillow images, or tuples that start with one."""
    first = _first(source)
    return isinstance(first, (np.ndarray, Image.Image, tuple)) or is_torch(first, "Tensor")
