"""A command in a child process that comes to grief at its n-th write or training step."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # a fork takes no thread pool along

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from clad.checkpoints import CheckpointFolder
from clad.cli import main
from clad.data.benchmarks import load
from clad.data.scenarios import scenario
from clad.data.splits import make_task

torch.set_num_threads(1)
SETTINGS = {
    "images": {"size": [12, 12]},
    "calibration": {"minimum": 60},
    "autoencoder": {"epochs": 3, "batch_size": 64},
    "dec": {"clusters": 3, "epochs": 2, "restarts": 2, "tolerance": 0},
    "classifier": {"epochs": 2, "width": 16, "batch_size": 64},
}
SET = [
    argument
    for section, keys in SETTINGS.items()
    for key, value in keys.items()
    for argument in ("--set", f"{section}.{key}={value}")
]
STEP = "step"


def power_cut() -> None:
    """Nothing after this happens."""
    os.kill(os.getpid(), signal.SIGKILL)


def disk_full() -> None:
    """What the system says then."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Attempt(NamedTuple):
    """How a command ended: exit status, or minus the signal; what it came by; what it printed."""

    status: int
    events: list[str]
    output: str


def attempt(
    arguments: list[str],
    out: Path,
    at: int | None = None,
    fault: Callable[[], None] = power_cut,
) -> Attempt:
    """Give a ``clad`` command whose writes into ``out`` are watched.

    Just before the event number ``at`` the fault happens.
    """
    log, printed = out.with_name(out.name + ".events"), out.with_name(out.name + ".printed")
    log.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _as_child(arguments, out, log, printed, at, fault)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    events = log.read_text().split() if log.exists() else []
    return Attempt(status, events, printed.read_text())


def _as_child(
    arguments: list[str],
    out: Path,
    log: Path,
    printed: Path,
    at: int | None,
    fault: Callable[[], None],
) -> None:
    events: list[str] = []

    def event(kind: str) -> None:
        events.append(kind)
        if len(events) - 1 == at:
            fault()

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open":
            path, _, flags = arguments
            if not isinstance(path, str) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif name in ("os.rename", "os.mkdir", "os.remove", "os.rmdir"):
            path = os.fspath(arguments[0])
        else:
            return
        if str(path).startswith(str(out)) and not str(path).endswith((".log", ".lock")):
            event(name)

    def fsync(handle: int) -> None:
        event("fsync")
        sync(handle)

    status = 1
    try:
        sink = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        sync, os.fsync = os.fsync, fsync
        CheckpointFolder.due = lambda self: True  # type: ignore[method-assign]
        register_optimizer_step_post_hook(lambda *_: event(STEP))
        import sys

        sys.addaudithook(audit)
        main(arguments, standalone_mode=False)
        status = 0
    except SystemExit as done:
        status = int(done.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os.fsync = sync
        at = None
        log.write_text(" ".join(events))
        os._exit(status)


def left_behind(out: Path) -> dict[str, str]:
    """What the command leaves, apart from clocks and logs: names and contents, or digests."""
    found = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        if path.suffix == ".log" or path.name.endswith(".lock"):
            continue
        if path.suffix == ".json":
            content = json.dumps(_timeless(json.loads(path.read_bytes())))
        elif path.suffix == ".jsonl":
            rows = map(json.loads, path.read_text().splitlines())
            content = json.dumps([_timeless(row) for row in rows])
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(out))] = content
    return found


def _timeless(value: object) -> object:
    """Without seconds, and without the hash of a manifest that holds them."""
    if isinstance(value, dict):
        manifest = "format" in value and "files" in value
        gone = {"seconds", *(["sha256"] if manifest else [])}
        return {k: _timeless(v) for k, v in value.items() if k not in gone}
    return value


def normals(folder: Path) -> Path:
    """The digits 0, 3 and 8 as a .npy file."""
    digits = load("digits")
    task = make_task(digits, scenario("digits", "CUR", digits.classes))
    np.save(folder / "normals.npy", task.train.read()[:, 0])
    return folder / "normals.npy"
