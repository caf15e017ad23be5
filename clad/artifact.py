"""What CLAD keeps on disk: safetensors + JSON with hashes, written so that no fault can tear it.

A *bundle* is a folder of files named by their content and a ``manifest.json`` with the SHA-256 of
each. The manifest is renamed into place last: before that moment the old state is whole, after it
the new one. A trained model is a bundle, and so is each stage's checkpoint. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clad.errors import CladError, ModelError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
MANIFEST = "manifest.json"


def write_atomic(path: Path, content: bytes) -> None:
    """Write beside ``path``, flush to the disk, rename: readers see the old file or the new one.

    Raises CladError naming the path where the disk is full or the folder cannot be written;
    the old file is intact then and no temporary one is left.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
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
    write_atomic(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


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
    """Hold ``folder`` for one run at a time; the system drops the lock when a process dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout:
        raise CladError(
            f"{folder}: another run is using this folder; wait for it or give another one"
        ) from None


@dataclass(frozen=True)
class Bundle:
    """Named groups of tensors and a JSON document."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    document: Mapping[str, Any]


def write_bundle(folder: Path, bundle: Bundle) -> None:
    """Write or replace the bundle in ``folder``."""
    from safetensors.torch import save

    make_folder(folder)
    files = {}
    for name, tensors in bundle.tensors.items():
        plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        content = save(plain)
        digest = hashlib.sha256(content).hexdigest()
        file = f"{name}-{digest[:12]}.safetensors"
        write_atomic(folder / file, content)
        files[name] = {"file": file, "sha256": digest}
    manifest = {"format": FORMAT, "files": files, "document": dict(bundle.document)}
    manifest["sha256"] = _digest(manifest)
    write_json(folder / MANIFEST, manifest)
    current = {entry["file"] for entry in files.values()}
    for old in folder.glob("*.safetensors"):
        if old.name not in current:
            with suppress(OSError):
                old.unlink()


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every byte of it.

    Raises ModelError naming the file that is missing, damaged, newer than this version of the
    package or no model at all.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / MANIFEST
    if folder.is_file():
        raise ModelError(
            f"{folder}: a model is a folder with a {MANIFEST}, not a file; "
            "pickles (.pt, .pkl) are never opened"
        )
    if not path.is_file():
        raise ModelError(f"{folder}: no model here ({MANIFEST} is missing); see 'clad fit'")
    manifest = _read_manifest(path)
    tensors = {}
    for name, entry in manifest["files"].items():
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
            tensors[name] = load(content)
        except SafetensorError as error:
            raise ModelError(f"{file}: not a safetensors file ({error})") from None
    return Bundle(tensors, manifest["document"])


def load_weights(module: Any, tensors: Mapping[str, Tensor], file: str) -> None:
    """``module.load_state_dict`` with errors that name the tensor and both shapes.

    Raises ModelError for a tensor that is missing, unexpected or of another shape.
    """
    wanted = module.state_dict()
    for name in [*wanted, *tensors]:
        if name not in tensors:
            raise ModelError(f"{file}: tensor {name!r} is missing")
        if name not in wanted:
            raise ModelError(f"{file}: tensor {name!r} has no place in this model")
        ours, theirs = tuple(wanted[name].shape), tuple(tensors[name].shape)
        if ours != theirs:
            raise ModelError(f"{file}: tensor {name!r} has shape {theirs}, the model needs {ours}")
    module.load_state_dict(dict(tensors))


class CheckpointFolder:
    """Each stage's last state, so that an interrupted run goes on where it was.

    ``fingerprint`` says what is being trained (configuration and images); what another run left
    behind is not used. Checkpoints are at least ``every`` seconds apart.
    """

    def __init__(self, folder: Path, fingerprint: str, every: float = 30.0) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.every = every
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether ``every`` seconds have passed since the last checkpoint."""
        return time.monotonic() - self._last >= self.every

    def save(self, stage: str, tensors: dict[str, Tensor], progress: dict[str, object]) -> None:
        """Keep the state of ``stage``, replacing what was kept before."""
        document = {"fingerprint": self.fingerprint, "progress": progress}
        write_bundle(self.folder / stage, Bundle({"state": tensors}, document))
        self._last = time.monotonic()

    def load(self, stage: str) -> tuple[dict[str, Tensor], dict[str, object]] | None:
        """What was kept for ``stage`` of this very run, or None; a damaged one is not used."""
        try:
            bundle = read_bundle(self.folder / stage)
        except ModelError:
            return None
        if bundle.document.get("fingerprint") != self.fingerprint:
            return None
        return dict(bundle.tensors["state"]), bundle.document["progress"]

    def clear(self) -> None:
        """Remove the checkpoints: the run is complete."""
        import shutil

        shutil.rmtree(self.folder, ignore_errors=True)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
        version = manifest["format"]
        if isinstance(version, int) and version > FORMAT:  # the rest may look otherwise there
            raise ModelError(
                f"{path}: written in format {version}, this version of clad reads up to {FORMAT}; "
                "upgrade clad"
            )
        stated, entries = manifest.pop("sha256"), manifest["files"].values()
        sound = (
            isinstance(manifest["document"], dict)
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


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
