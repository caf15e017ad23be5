"""Model folders made to do harm, 50, and models with one byte changed."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clad import CLAD, artifact
from clad.artifact import MANIFEST, write_json
from clad.errors import CladError

Document = dict[str, Any]


class Trap:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def as_pt(trap: Trap) -> bytes:
    """A pickle in a zip, as torch.save lays it out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(trap))
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def as_npy(trap: Trap) -> bytes:
    """An array of objects."""
    stream = io.BytesIO()
    np.save(stream, np.array([trap], object), allow_pickle=True)
    return stream.getvalue()


PICKLES: dict[str, Callable[[Trap], bytes]] = {
    ".pkl": pickle.dumps,
    ".pt": as_pt,
    ".pth": as_pt,
    ".npy": as_npy,
}


def rewrite(folder: Path, change: Callable[[Document], Any]) -> None:
    """Change the manifest as somebody who knows how to hash it."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_bytes())
    change(manifest)
    manifest.pop("sha256")
    manifest["sha256"] = artifact._digest(manifest)
    write_json(path, manifest)


def replace(folder: Path, group: str, content: bytes) -> None:
    """Put other bytes in the place of a group's file, with the hash that fits."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    (folder / manifest["files"][group]["file"]).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    rewrite(folder, lambda m: m["files"][group].update(sha256=digest))


def rearrange(folder: Path, group: str, change: Callable[[Document], Any]) -> None:
    """Change a group's arrays, with the hash that fits."""
    from safetensors.numpy import load, save

    manifest = json.loads((folder / MANIFEST).read_bytes())
    arrays = load((folder / manifest["files"][group]["file"]).read_bytes())
    change(arrays)
    replace(folder, group, save({k: np.asarray(v, order="C") for k, v in arrays.items()}))


def tensors(header: object, data: bytes = bytes(64), length: int | None = None) -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def hostile(genuine: Path, into: Path, sprung: Path) -> Iterator[Path]:
    """50 models, one after the other; where anything in one is executed, ``sprung`` appears."""
    trap = Trap(sprung)
    for suffix, dump in PICKLES.items():
        file = into / f"model{suffix}"
        file.write_bytes(dump(trap))
        yield file
    for name, attack in _attacks(trap, into).items():
        folder = shutil.copytree(genuine, into / name)
        attack(folder)
        yield folder


def _attacks(trap: Trap, into: Path) -> dict[str, Callable[[Path], None]]:
    def file(name: object) -> Callable[[Path], None]:
        return lambda folder: rewrite(folder, lambda m: m["files"]["classifier"].update(file=name))

    def bytes_of(content: bytes, group: str = "classifier") -> Callable[[Path], None]:
        return lambda folder: replace(folder, group, content)

    def document(*path: str, value: object) -> Callable[[Path], None]:
        def change(manifest: Document) -> None:
            inner = manifest["document"]
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value

        return lambda folder: rewrite(folder, change)

    def arrays(group: str, change: Callable[[Document], Any]) -> Callable[[Path], None]:
        return lambda folder: rearrange(folder, group, change)

    def manifest(content: bytes) -> Callable[[Path], None]:
        return lambda folder: (folder / MANIFEST).write_bytes(content)  # type: ignore[return-value]

    def linked(folder: Path) -> None:
        entry = json.loads((folder / MANIFEST).read_bytes())["files"]["classifier"]["file"]
        (folder / entry).rename(into / "moved.safetensors")
        (folder / entry).symlink_to(into / "moved.safetensors")

    one = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    outside = into / "outside.safetensors"
    outside.write_bytes(tensors({}))
    return {
        **{f"pickle-{s[1:]}-as-weights": bytes_of(d(trap)) for s, d in PICKLES.items()},
        **{f"pickle-{s[1:]}-as-manifest": manifest(d(trap)) for s, d in PICKLES.items()},
        # paths
        "file-above": file("../outside.safetensors"),
        "file-absolute": file(str(outside)),
        "file-far": file("/etc/passwd"),
        "file-roundabout": file("sub/../../outside.safetensors"),
        "file-folder": file("."),
        "file-nul": file("a\0b"),
        "file-long": file("a" * 5000),
        "file-number": file(3),
        "file-link": linked,
        # weights
        "header-long": bytes_of(tensors({}, length=2**63)),
        "header-cut": bytes_of(tensors({}, b"", length=500)),
        "header-deep": bytes_of(tensors(b'{"a":' * 20_000)),
        "header-list": bytes_of(tensors([one])),
        "offset-beyond": bytes_of(tensors({"w": {**one, "data_offsets": [0, 2**40]}})),
        "offset-backward": bytes_of(tensors({"w": {**one, "data_offsets": [16, 0]}})),
        "shape-huge": bytes_of(tensors({"w": {**one, "shape": [2**40, 2**40]}})),
        "dtype-unknown": bytes_of(tensors({"w": {**one, "dtype": "OBJECT"}})),
        "weights-of-another": arrays("classifier", lambda a: a.pop(sorted(a)[0])),
        "weights-too-many": arrays("classifier", lambda a: a.update(extra=np.ones(1))),
        "weights-empty": arrays("autoencoder", lambda a: a.clear()),
        "centers-flat": arrays("autoencoder", lambda a: a.update(centers=np.ones(3, np.float32))),
        "fused-narrow": arrays(
            "fused", lambda a: a.update(features=np.ones((4, 9, 3), np.float32))
        ),
        # what the manifest says
        "document-list": lambda folder: rewrite(folder, lambda m: m.update(document=[])),
        "manifest-deep": manifest(b"[" * 200_000),
        "manifest-digits": manifest(b'{"format": ' + b"9" * 100_000 + b"}"),
        "latents-a-billion": document("config", "autoencoder", "latent_dim", value=10**9),
        "latents-beyond-counting": document("config", "autoencoder", "latent_dim", value=10**18),
        "width-a-million": document("config", "classifier", "width", value=10**6),
        "shape-a-billion": document("shape", value=[1, 10**9, 10**9]),
        "shape-text": document("shape", value="big"),
        "clusters-a-billion": document("clusters", value=10**9),
        "rotations-negative": document("rotations", value=-4),
        "mirrored-text": document("mirrored", value="yes"),
        "recoloured-text": document("recoloured", value="yes"),
        "config-python": document("config", "seed", value="!!python/object/apply:os.system [id]"),
        "config-unknown": document("config", "import", value="os"),
        # the calibration
        "scores-nan": arrays("calibration", lambda a: a["scores"].fill(np.nan)),
        "scores-square": arrays("calibration", lambda a: a.update(scores=a["scores"][:, None])),
        "names-few": document("calibration", "names", value=["one"]),
        "digests-none": arrays("seen", lambda a: a.clear()),
    }


def changed_bytes(genuine: Path, times: int, seed: int = 0) -> Iterator[Path]:
    """The model ``times`` times, each with one byte of one file another; it is mended after."""
    rng = np.random.default_rng(seed)
    files = sorted(p for p in genuine.iterdir() if p.suffix in (".json", ".safetensors"))
    for _ in range(times):
        path = files[rng.integers(len(files))]
        whole = path.read_bytes()
        at = int(rng.integers(len(whole)))
        other = whole[at] ^ int(rng.integers(1, 256))
        path.write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
        try:
            yield path
        finally:
            path.write_bytes(whole)


def wrongly_loaded(candidates: Iterator[Path]) -> list[str]:
    """Those that load, or are refused otherwise than by one line that names them."""
    wrong = []
    for path in candidates:
        try:
            CLAD.load(path if path.suffix in PICKLES or path.is_dir() else path.parent)
            wrong.append(f"{path}: loaded")
        except CladError as error:
            if path.name not in str(error) or "\n" in str(error):
                wrong.append(f"{path}: {error}")
        except Exception as error:
            wrong.append(f"{path}: {type(error).__name__}: {error}")
    return wrong
