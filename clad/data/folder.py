"""A user's own images: a folder, a zip, a list of paths or a text file of them -> ImageSet."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clad.data.convert import MIN_SIDE, common_size, fit_to
from clad.data.decode import EXTENSIONS, decode, read_header, strict_pillow
from clad.data.images import ImageSet, Origins
from clad.data.threads import in_threads
from clad.data.tree import Tree
from clad.errors import DataError
from clad.runtime import track

log = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]


class BadFile(NamedTuple):
    """A file that could not be used, and why."""

    path: str
    reason: str


class Entry(NamedTuple):
    """One image yet to be read: its name, and how to get at its bytes."""

    name: str
    open: Callable[[], BinaryIO]


def read_images(
    source: PathLike | Sequence[PathLike],
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    on_bad: str = "error",
    first_frame: bool = False,
) -> tuple[ImageSet, list[BadFile]]:
    """Read every image of ``source`` into memory as uint8 (N, C, H, W), names in order.

    ``source``: a folder (searched recursively, sorted), a zip, one image, a text file of paths (a
    line each, relative to that file) or a sequence of paths. ``size``: (H, W); None keeps the
    images' own size where they all share one of at most 64 pixels, else (64, 64). ``channels``: 1
    or 3; None is 1 where all are grey, else 3. ``on_bad="error"`` raises one DataError that lists
    every bad file; ``"skip"`` leaves them out and returns them. Raises DataError where the source
    is missing or no image is left.
    """
    with _entries(source) as entries:
        return _read(entries, size, channels, on_bad, first_frame)


def read_parts(
    source: PathLike | Sequence[PathLike],
    *,
    size: tuple[int, int],
    channels: int,
    on_bad: str = "error",
    first_frame: bool = False,
    part: int = 4096,
) -> Iterator[tuple[ImageSet, list[BadFile]]]:
    """As ``read_images``, at most ``part`` images at a time: memory holds no more of them.

    A part may be empty, all its files being bad. With ``on_bad="error"`` bad files are listed in a
    DataError when the last part has been read.
    """
    with _entries(source) as entries:
        faults: list[BadFile] = []
        for start in track(range(0, len(entries), part), "parts", unit="image", unit_scale=part):
            images, bad = _decode(entries[start : start + part], size, channels, first_frame)
            faults += bad
            yield images, bad
        judge(faults, len(entries), on_bad)


@contextmanager
def _entries(source: PathLike | Sequence[PathLike]) -> Iterator[list[Entry]]:
    """Every image of a source, which stays open meanwhile."""
    if not isinstance(source, (str, os.PathLike)):
        if not source:
            raise DataError("the list of paths is empty; give at least one image")
        yield [path_entry(p) for p in source]
        return
    path = Path(source)
    if path.is_dir() or path.suffix.lower() == ".zip":
        with Tree(path) as tree:
            yield [Entry(name, partial(tree.open, name)) for name in image_names(tree)]
    else:
        yield path_entries(path)


def image_names(tree: Tree) -> list[str]:
    """The tree's files with an image's extension, sorted. Raises DataError where there is none."""
    names = [name for name in tree.names if PurePosixPath(name).suffix.lower() in EXTENSIONS]
    others = len(tree.names) - len(names)
    if not names:
        known = " ".join(sorted(EXTENSIONS))
        raise DataError(
            f"{tree.path}: no images ({others} files with other extensions); known are {known}"
        )
    if others:
        log.info("%s: ignored %d files with other extensions", tree.path, others)
    return names


def read_tree(
    tree: Tree,
    names: Sequence[str],
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    on_bad: str = "error",
    first_frame: bool = False,
) -> tuple[ImageSet, list[BadFile]]:
    """As ``read_images``, for these files of an open tree."""
    entries = [Entry(name, partial(tree.open, name)) for name in names]
    return _read(entries, size, channels, on_bad, first_frame)


def path_entry(path: PathLike) -> Entry:
    """The file at a path."""
    return Entry(os.fspath(path), _opener(Path(path)))


def _opener(path: Path) -> Callable[[], BinaryIO]:
    return lambda: path.open("rb")


def path_entries(path: Path) -> list[Entry]:
    """One image, or a text file that lists some."""
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a folder, a zip, an image or a list of paths")
    if path.suffix.lower() in EXTENSIONS:
        return [Entry(str(path), _opener(path))]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is neither a folder, a zip, a .npy, an image nor a text file of paths"
        ) from error
    listed = [line.strip() for line in lines if line.strip()]
    if not listed:
        raise DataError(f"{path} lists no images; write one path a line")
    return [Entry(line, _opener(path.parent / line)) for line in listed]


def _read(
    entries: list[Entry],
    size: tuple[int, int] | None,
    channels: int | None,
    on_bad: str,
    first_frame: bool,
) -> tuple[ImageSet, list[BadFile]]:
    images, faults = _decode(entries, size, channels, first_frame)
    judge(faults, len(entries), on_bad)
    return images, faults


def judge(faults: list[BadFile], total: int, on_bad: str) -> None:
    """Raise DataError where bad files are errors, or there was nothing else."""
    if on_bad not in ("error", "skip"):
        raise DataError(f"on_bad={on_bad!r} must be 'error' or 'skip'")
    good = total - len(faults)
    if faults and (on_bad == "error" or not good):
        listed = "; ".join(f"{path} ({reason})" for path, reason in faults)
        raise DataError(
            f"{len(faults)} of {total} images cannot be used: {listed}; mend or remove them"
            + (", or skip them with --on-bad skip" if good else "")
        )


def _decode(
    entries: list[Entry],
    size: tuple[int, int] | None,
    channels: int | None,
    first_frame: bool,
) -> tuple[ImageSet, list[BadFile]]:
    """The images that can be read, perhaps none, and the files that cannot."""
    if size is not None and min(size) < MIN_SIDE:
        raise DataError(f"size={size} is under the minimum of {MIN_SIDE}x{MIN_SIDE}")
    total = len(entries)
    bad: dict[int, BadFile] = {}
    good = list(range(total))

    def survivors(work: Callable[[BinaryIO, int], None], label: str) -> list[int]:
        """Do ``work`` on every good file; those that fail move to ``bad``."""

        def attempt(i: int) -> None:
            try:
                with entries[i].open() as stream:
                    work(stream, i)
            except DataError as error:
                bad[i] = BadFile(entries[i].name, str(error))
            except OSError as error:
                bad[i] = BadFile(entries[i].name, error.strerror or str(error))

        for _ in in_threads(attempt, good, label):
            pass
        return [i for i in good if i not in bad]

    with strict_pillow():
        if size is None or channels is None:  # a first pass over the headers alone
            sizes: dict[int, tuple[int, int]] = {}
            colour: dict[int, bool] = {}

            def look(stream: BinaryIO, i: int) -> None:
                sizes[i], grey = read_header(stream, first_frame=first_frame)
                colour[i] = not grey

            good = survivors(look, "look")
            size = size or (common_size(sizes.values()) if sizes else (MIN_SIDE, MIN_SIDE))
            channels = channels or (3 if any(colour.values()) else 1)

        shape = (channels, *size)
        array: NDArray[np.uint8] = np.zeros((total, *shape), np.uint8)
        origins = Origins(np.zeros((total, 2), np.int64), [""] * total)

        def fill(stream: BinaryIO, i: int) -> None:
            # Fitted at once, so that memory holds the result and a few originals, never all.
            decoded, origins.modes[i] = decode(stream, first_frame=first_frame)
            origins.sizes[i] = decoded.shape[1:]
            array[i] = fit_to(decoded, shape[1:], shape[0])

        good = survivors(fill, "read")

    faults = [bad[i] for i in sorted(bad)]
    images = ImageSet.of(array, [entry.name for entry in entries], origins=origins)
    return images.take(np.array(good, np.int64)) if faults else images, faults
