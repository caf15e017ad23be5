"""Fill the disk at every write of a command: what was there before must stay readable.

A script of its own, since it forks: ``python tests/faults/writes.py fit`` prints what it found as
JSON and fails where an old state was lost, litter was left, or the error was none of the package's.
"""

from __future__ import annotations

import json
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.events import SET, STEP, attempt, disk_full, left_behind, normals  # first: threads

import click  # isort: skip
import numpy as np  # isort: skip

from clad import CLAD
from clad.benchmark.results import read
from clad.data.benchmarks import load
from clad.scorefile import read_scores

HARMLESS = (STEP, "os.remove", "os.rmdir")  # a full disk does not stop these
REFUSED = 2


class Site(NamedTuple):
    """A command over the old state that another left, and how to read either's."""

    old: list[str]
    new: list[str]
    read: Callable[[Path], object]


def _read_run(out: Path) -> None:
    json.loads((out / "metrics.json").read_bytes())
    CLAD.load(out / "model")
    read_scores(out / "scores.csv")


def sites(folder: Path, out: Path) -> dict[str, Site]:
    """Every command that writes. ``folder`` holds what they read."""
    fit = ["fit", f"{folder}/normals.npy", "-o", f"{out}", *SET]
    run = ["run", "digits", "--out", f"{out}", *SET]
    bench = ["bench", "digits", "--methods", "pca-neighbours", "--out", f"{out}"]
    score = [f"{folder}/normals.npy", "-o", f"{out}/scores.csv"]
    data = ["data", "import", "mnist", "--data-root", f"{out}"]
    return {
        "fit": Site(fit, [*fit, "--seed", "1"], CLAD.load),
        "threshold": Site(fit, ["threshold", f"{out}", "--alpha", "0.1"], CLAD.load),
        "score": Site(
            ["score", f"{folder}/model", *score],
            ["score", f"{folder}/other", *score],
            lambda out: read_scores(out / "scores.csv"),
        ),
        "run": Site(run, [*run, "--seed", "1"], _read_run),
        "bench": Site(
            [*bench, "--seeds", "1"],
            [*bench, "--seeds", "2"],
            lambda out: read(out / "results.jsonl"),
        ),
        "import": Site(
            [*data, f"{folder}/idx0"], [*data, f"{folder}/idx1"], lambda out: load("mnist", out)
        ),
    }


def _write_idx(folder: Path, seed: int) -> None:
    """A data set of noise in MNIST's official layout."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for part, n in (("train", 40), ("t10k", 20)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        head = struct.pack(">IIII", 0x803, n, 28, 28)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = bytes(i % 10 for i in range(n))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, n) + labels)


def _prepare(folder: Path, command: str) -> None:
    """What the commands read."""
    data = normals(folder)
    for seed, name in enumerate(("model", "other")):
        _write_idx(folder / f"idx{seed}", seed)
        if command == "score":
            line = ["fit", str(data), "-o", str(folder / name), "--seed", str(seed), *SET]
            assert attempt(line, folder / name).status == 0


def wrong_with(site: Site, out: Path, old: Path, at: int, after: dict[str, str]) -> str:
    """What went wrong where the disk filled up before an event; empty where nothing did."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(old, out)
    full = attempt(site.new, out, at, disk_full)
    if full.status == 0:  # something else was found, such as a folder that is there already
        return "" if left_behind(out) == after else "status 0 and another result"
    if full.status != REFUSED or "Error: " not in full.output or "Traceback" in full.output:
        return f"status {full.status}: {full.output[-300:]}"
    try:
        site.read(out)
    except Exception as error:
        return f"not readable: {error}"
    if litter := [p.name for p in out.rglob("*.tmp")]:
        return f"left {litter}"
    again = attempt(site.new, out)
    if again.status != 0 or left_behind(out) != after:
        return f"again: status {again.status}, or another result"
    return ""


@click.command()
@click.argument("command", type=click.Choice(list(sites(Path(), Path()))))
@click.option("--points", type=click.IntRange(min=1), help="At most so many, evenly spread.")
def writes(command: str, points: int | None) -> None:
    """Fill the disk at every write of COMMAND."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder, command)
        out, old = folder / "out", folder / "old"
        site = sites(folder, out)[command]
        out.mkdir()
        first = attempt(site.old, out)
        assert first.status == 0, first.output
        shutil.copytree(out, old)
        whole = attempt(site.new, out)
        assert whole.status == 0, whole.output
        after = left_behind(out)
        at = [i for i, kind in enumerate(whole.events) if kind not in HARMLESS]
        if points is not None and points < len(at):
            at = [at[i] for i in np.linspace(0, len(at) - 1, points).astype(int)]
        found = {i: wrong_with(site, out, old, i, after) for i in at}
    failures = [[i, whole.events[i], text] for i, text in found.items() if text]
    result = {"command": command, "points": len(at), "readable": len(at) - len(failures)}
    click.echo(json.dumps({**result, "failures": failures}))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    writes()
