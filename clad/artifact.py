"""What CLAD keeps on disk: safetensors + JSON with hashes, written so that no fault can tear it.

A *bundle* is a folder of files named by their content and a ``manifest.json`` with the SHA-256 of
each. The manifest is renamed into place last: before that moment the old state is whole, after it
the new one. A trained model is a bundle, and so is each stage's checkpoint. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clad.errors import CladError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 9
READABLE = (2, 3, 4, 5, 6, 7, 8, 9)
MANIFEST = "manifest.json"
TEMPORARY = ".tmp"
OURS = re.compile(r"[a-z-]+-[0-9a-f]{12}\.safetensors")  # a user's own files stay


def write_atomic(path: Path, content: bytes) -> None:
    """Write beside ``path``, flush to the disk, rename: readers see the old file or the new one.

    Raises CladError naming the path where the disk is full or the folder cannot be written;
    the old file is intact then and no temporary one is left.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise CladError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:  # after an interruption too; renamed, it is not there any more
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_atomic(path, _json(value))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def make_folder(path: Path) -> Path:
    """Create ``path`` and see that it can be written to, before any training.

    Raises CladError naming it otherwise.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise CladError(
            f"{path}: not a folder that can be written to ({error.strerror or error}); "
            "choose another"
        ) from None
    return path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for one run at a time; the system drops the lock when a process dies.

    What a killed process was writing to in it is removed: nobody else does now.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            _sweep(folder)
            yield
    except Timeout:
        raise CladError(
            f"{folder}: another run is using this folder; wait for it or give another one"
        ) from None


@dataclass(frozen=True)
class Bundle:
    """Named groups of arrays and a JSON document."""

    arrays: Mapping[str, Mapping[str, NDArray[Any]]]
    document: Mapping[str, Any]

    def array(
        self, group: str, name: str, dtype: str, shape: tuple[int | None, ...], source: str | Path
    ) -> NDArray[Any]:
        """One array of the dtype and shape it should have (None: of any length).

        Raises ModelError naming ``source``, the array and both shapes otherwise.
        """
        try:
            found = self.arrays[group][name]
        except KeyError:
            raise ModelError(f"{source}: {group}: tensor {name!r} is missing") from None
        fits = len(shape) == found.ndim and all(
            wanted in (None, n) for wanted, n in zip(shape, found.shape, strict=True)
        )
        if not fits or found.dtype != dtype:
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise ModelError(
                f"{source}: {group}: tensor {name!r} is {found.dtype} of shape {found.shape}, "
                f"the model needs {dtype} of shape ({wanted})"
            )
        return found


def write_bundle(folder: Path, bundle: Bundle, *, update: bool = False) -> None:
    """Write or replace the bundle in ``folder``; ``update``: its other groups of arrays stay.

    Raises ModelError where there is nothing to update.
    """
    import numpy as np
    from safetensors.numpy import save

    make_folder(folder)
    files = dict(_read_manifest(folder / MANIFEST)["files"]) if update else {}
    try:
        for name, arrays in bundle.arrays.items():
            content = save({k: np.asarray(v, order="C") for k, v in arrays.items()})
            digest = hashlib.sha256(content).hexdigest()
            file = f"{name}-{digest[:12]}.safetensors"
            write_atomic(folder / file, content)
            files[name] = {"file": file, "sha256": digest}
        manifest = {"format": FORMAT, "files": files, "document": dict(bundle.document)}
        manifest["sha256"] = _digest(manifest)
        write_json(folder / MANIFEST, manifest)
    finally:
        _remove_unnamed(folder)


def read_bundle(folder: Path, only: Collection[str] | None = None) -> Bundle:
    """Read a bundle, or ``only`` some of its groups, and check every byte of it.

    Raises ModelError naming the file that is missing, damaged, newer than this version of the
    package or no model at all.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / MANIFEST
    if folder.is_file():
        raise ModelError(
            f"{folder}: a model is a folder with a {MANIFEST}, not a file; "
            "pickles (.pt, .pkl) are never opened"
        )
    if not path.is_file():
        inner = folder / "model"  # a run's folder holds its model one level down
        hint = f"give {inner}" if (inner / MANIFEST).is_file() else "see 'clad fit'"
        raise ModelError(f"{folder}: no model here ({MANIFEST} is missing); {hint}")
    manifest = _read_manifest(path)
    entries = manifest["files"]
    for name in only or ():
        if name not in entries:
            raise ModelError(f"{folder}: not a trained model (it holds no {name!r})")
    arrays = {}
    for name, entry in entries.items():
        if only is not None and name not in only:
            continue
        file = folder / entry["file"]
        try:
            if file.parent != folder or file.is_symlink():
                raise ModelError(f"{path}: names a file outside its folder: {entry['file']!r}")
            content = file.read_bytes()
        except OSError as error:
            raise ModelError(f"{file}: cannot be read ({error.strerror})") from None
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise ModelError(f"{file}: damaged (its SHA-256 is not the manifest's); copy it again")
        try:
            arrays[name] = load(content)
        except SafetensorError as error:
            raise ModelError(f"{file}: not a safetensors file ({error})") from None
    return Bundle(arrays, manifest["document"])


def load_weights(module: Any, arrays: Mapping[str, NDArray[Any]], file: str) -> None:
    """Give a module its weights, with errors that name the tensor and both shapes.

    The module may be on the device "meta", so that no memory is taken for weights that are not
    there. Raises ModelError for a tensor that is missing, unexpected or of another shape.
    """
    import torch

    wanted = module.state_dict()
    for name in [*wanted, *arrays]:
        if name not in arrays:
            raise ModelError(f"{file}: tensor {name!r} is missing")
        if name not in wanted:
            raise ModelError(f"{file}: tensor {name!r} has no place in this model")
        ours, theirs = tuple(wanted[name].shape), arrays[name].shape
        if ours != theirs:
            raise ModelError(f"{file}: tensor {name!r} has shape {theirs}, the model needs {ours}")
    weights = {
        name: torch.from_numpy(a.copy()).to(wanted[name].dtype) for name, a in arrays.items()
    }
    module.load_state_dict(weights, assign=True)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        manifest = json.loads(content)
        version = manifest["format"]
        if type(version) is int and version not in READABLE:  # the rest may look otherwise there
            todo = "upgrade clad" if version > FORMAT else "fit the model again"
            raise ModelError(
                f"{path}: written in format {version}, this version of clad reads "
                f"{READABLE[0]} to {FORMAT}; {todo}"
            )
        as_written = content == _json(manifest)  # JSON can say the same in other bytes
        stated, entries = manifest.pop("sha256"), manifest["files"].values()
        sound = (
            as_written
            and isinstance(manifest["document"], dict)
            and all(set(entry) == {"file", "sha256"} for entry in entries)
            and all(
                isinstance(entry["file"], str) and entry["file"].isprintable() for entry in entries
            )
            and stated == _digest(manifest)
        )
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(f"{path}: not a manifest of a CLAD model, or a damaged one") from None
    if not sound:
        raise ModelError(f"{path}: damaged (its own SHA-256 does not fit); copy the model again")
    return manifest


def _digest(manifest: Mapping[str, Any]) -> str:
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _sweep(folder: Path) -> None:
    """Remove the temporary files of writers that were killed."""
    for stale in folder.glob(f".*{TEMPORARY}"):
        with suppress(OSError):
            stale.unlink()


def _remove_unnamed(folder: Path) -> None:
    """Remove a bundle's files that its manifest does not name: replaced ones, and unfinished."""
    _sweep(folder)
    path = folder / MANIFEST
    try:
        named = {e["file"] for e in _read_manifest(path)["files"].values()} if path.exists() else ()
    except ModelError:  # another version's, which may name them in another way
        return
    for file in folder.glob("*.safetensors"):
        if OURS.fullmatch(file.name) and file.name not in named:
            with suppress(OSError):
                file.unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
