"""The prepared cache: a data set decoded once, as memory-mapped uint8 arrays with a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clad.data.groups import duplicate_groups, merge_groups
from clad.data.images import ImageSet
from clad.data.labelled import Benchmark, Labelled
from clad.errors import DataError

FORMAT = 1
MANIFEST = "manifest.json"
PARTS = ("train", "test")
_ARRAYS = ("images", "labels", "groups")

_verified: set[tuple[str, int, int]] = set()  # (path, mtime, size) hashed by this process already


class Part(NamedTuple):
    """One part of a data set as a layout gives it.

    ``images``: uint8 (N, C, H, W); ``labels``: int64 (N,), positions in the class names;
    ``groups``: int64 (N,) or None, images known to belong together.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None


class Decoded(NamedTuple):
    """A whole data set as a layout gives it."""

    classes: tuple[str, ...]
    train: Part
    test: Part


def as_benchmark(name: str, data: Decoded) -> Benchmark:
    """Wrap decoded arrays as they are, with their groups made whole."""
    train, test = (
        Labelled(ImageSet.of(part.images, groups=_whole(part)), part.labels, data.classes)
        for part in (data.train, data.test)
    )
    return Benchmark(name, data.classes, train, test)


def _whole(part: Part) -> NDArray[np.int64]:
    """int64 (N,): the part's groups, exact duplicates joining those of what they repeat."""
    duplicates = duplicate_groups(ImageSet.of(part.images))
    return duplicates if part.groups is None else merge_groups(part.groups, duplicates)


def write(folder: Path, data: Decoded, source: str) -> None:
    """Put a data set at ``folder`` (its name is the last part), replacing what is there.

    All or nothing: a temporary folder beside it is filled, flushed and renamed, the manifest last.
    Raises DataError where another process is writing the same, or the disk refuses.
    """
    from filelock import FileLock, Timeout

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock", timeout=0):
            for stale in folder.parent.glob(f".{folder.name}-*"):  # what a killed run left
                shutil.rmtree(stale, ignore_errors=True)
            work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                _fill(work, folder.name, data, source)
                old = work.with_name(f"{work.name}-old")
                if folder.exists():
                    folder.rename(old)
                try:
                    work.rename(folder)
                except OSError:
                    if old.exists():
                        old.rename(folder)
                    raise
                shutil.rmtree(old, ignore_errors=True)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except Timeout:
        raise DataError(f"{folder}: another process is preparing it; wait for it") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _fill(work: Path, name: str, data: Decoded, source: str) -> None:
    work.chmod(0o755)  # mkdtemp is private, a shared cache is not
    files = {}
    for part_name, part in zip(PARTS, (data.train, data.test), strict=True):
        arrays: tuple[NDArray[Any], ...] = (part.images, part.labels, _whole(part))
        for what, array in zip(_ARRAYS, arrays, strict=True):
            path = work / f"{part_name}_{what}.npy"
            with path.open("wb") as stream:
                np.save(stream, array, allow_pickle=False)
                stream.flush()
                os.fsync(stream.fileno())
            files[path.name] = _sha256(path)
    manifest = {
        "format": FORMAT,
        "name": name,
        "classes": list(data.classes),
        "shape": list(data.train.images.shape[1:]),
        "counts": {"train": len(data.train.labels), "test": len(data.test.labels)},
        "source": source,
        "sha256": files,
    }
    with (work / MANIFEST).open("w", encoding="utf-8") as text:
        json.dump(manifest, text, indent=1)
        text.flush()
        os.fsync(text.fileno())


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest, or None where nothing is prepared. Raises DataError for a foreign one."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{path} is damaged; remove {folder} and prepare it again") from error
    if version != FORMAT:
        raise DataError(
            f"{path} has format {version}, this version reads {FORMAT}; "
            f"remove {folder} and prepare it again"
        )
    return dict(manifest)


def read(folder: Path, manifest: dict[str, Any]) -> Benchmark:
    """The data set, memory-mapped, every file's hash checked (once a process).

    Raises DataError naming the file that is missing or does not match its hash.
    """
    classes = tuple(manifest["classes"])
    parts = []
    for part_name in PARTS:
        images, labels, groups = (
            _load(folder / f"{part_name}_{what}.npy", manifest["sha256"], mapped=what == "images")
            for what in _ARRAYS
        )
        parts.append(Labelled(ImageSet.of(images, groups=groups), labels, classes))
    return Benchmark(manifest["name"], classes, *parts)


def _load(path: Path, hashes: dict[str, str], *, mapped: bool) -> NDArray[Any]:
    try:
        state = path.stat()
        key = (str(path.resolve()), state.st_mtime_ns, state.st_size)
        if key not in _verified:
            if _sha256(path) != hashes.get(path.name):
                raise DataError(
                    f"{path} does not match its hash; remove {path.parent} and prepare it again"
                )
            _verified.add(key)
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be read ({error}); remove {path.parent} and prepare it again"
        ) from error
    return array


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()
