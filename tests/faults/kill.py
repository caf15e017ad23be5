"""Kill a command at its writes and training steps, give it again, compare with one left alone.

A script of its own, since it forks: ``python tests/faults/kill.py fit --points 100`` prints what it
found as JSON and fails where a resumed command left anything else, to the bit.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.events import SET, STEP, attempt, left_behind, normals, power_cut  # first: threads

import click  # isort: skip

KILLED = -9


def command_line(command: str, data: Path, out: Path) -> list[str]:
    """Short training on the digits."""
    lines = {
        "fit": ["fit", str(data), "-o", str(out)],
        "run": ["run", "digits", "--out", str(out)],
        "bench": [
            *("bench", "digits", "--methods", "clad,pca-neighbours", "--seeds", "2"),
            *("--out", str(out)),
        ],
    }
    return [*lines[command], "--quiet", *SET]


def choose(events: list[str], points: int, seed: int) -> list[int]:
    """Positions of writes and, a quarter or what the writes leave, of training steps; drawn."""
    rng = random.Random(seed)
    writes = [i for i, kind in enumerate(events) if kind != STEP]
    steps = [i for i, kind in enumerate(events) if kind == STEP]
    chosen = rng.sample(writes, min(len(writes), points - min(len(steps), points // 4)))
    return sorted([*chosen, *rng.sample(steps, min(len(steps), points - len(chosen)))])


@click.command()
@click.argument("command", type=click.Choice(["fit", "run", "bench"]))
@click.option("--points", type=click.IntRange(min=1), default=100, show_default=True)
@click.option("--seed", default=0, show_default=True)
def kill(command: str, points: int, seed: int) -> None:
    """Kill COMMAND at as many writes as there are, up to POINTS, and at steps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = normals(folder)
        whole = attempt(command_line(command, data, folder / "alone"), folder / "alone")
        assert whole.status == 0, whole.output
        wanted = left_behind(folder / "alone")
        out, failures = folder / "killed", []
        chosen = choose(whole.events, points, seed)
        for at in chosen:
            line = command_line(command, data, out)
            killed, again = attempt(line, out, at, power_cut), attempt(line, out)
            found = left_behind(out)
            if (killed.status, again.status) != (KILLED, 0) or found != wanted:
                wrong = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
                failures.append([at, whole.events[at], killed.status, again.status, wrong])
            shutil.rmtree(out, ignore_errors=True)
    kinds = Counter(whole.events[at] for at in chosen)
    result = {"command": command, "points": len(chosen), "identical": len(chosen) - len(failures)}
    click.echo(json.dumps({**result, "kinds": kinds, "failures": failures}))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    kill()
