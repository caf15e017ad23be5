"""What a number or a model came from: configuration, images, versions, commit."""

from __future__ import annotations

import hashlib
import logging
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clad.config import Config
from clad.data.groups import digests
from clad.data.images import ImageSet
from clad.data.large import LargeImages

PACKAGES = (
    *("clad", "torch", "torchvision", "numpy", "faiss-cpu", "scikit-learn", "scikit-network"),
    "openTSNE",
)
log = logging.getLogger("clad")


def fingerprint(config: Config, *sets: ImageSet | LargeImages, name: str = "") -> str:
    """What decides a result: configuration, images, the package's version, the task's ``name``."""
    digest = hashlib.sha256(config.model_dump_json().encode())
    digest.update(name.encode())
    digest.update(versions()["clad"].encode())
    for images in sets:
        digest.update(repr(len(images)).encode() + digests(images).tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # faiss-gpu in the place of faiss-cpu
            found[package] = "absent"
    return found


def hardware(device: str) -> str:
    """The processor or GPU computed on, and the threads: "AMD EPYC, 2 threads"."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    with suppress(OSError):  # Linux names the model here and nowhere else
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}"


def commit() -> str | None:
    """The commit of the checkout this package runs from, ``-dirty`` where it was changed.

    Measured rows under ``results`` change no measurement.
    """
    checkout = Path(__file__).resolve().parents[1]
    try:
        top, head = _git(checkout, "rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() != checkout:  # installed in an environment inside another checkout
            return None
        changed = _git(
            checkout, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results"
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return head + ("-dirty" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Everything down to debug, tracebacks too, into a file beside the results."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    except Exception:
        log.debug("traceback", exc_info=True)
        raise
    finally:
        log.removeHandler(handler)
        handler.close()
