"""Faults and hostile files by the hundred: how many were borne as they should be.

    python benchmarks/robustness.py [kills] [writes] [images] [models] [archives]

Without a name all of them, which takes the better part of an hour on two cores. Writes
results/robustness.csv; exit status 1 where anything was not borne.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from records import ROOT, read_rows, write_rows

from clad import CLAD
from clad.provenance import commit, versions

TESTS = ROOT / "tests"
sys.path.insert(0, str(TESTS))
from faults import archives, images, models  # noqa: E402
from faults.events import SETTINGS, normals  # noqa: E402

FILE = ROOT / "results" / "robustness.csv"
KILLS = {"fit": 120, "run": 60, "bench": 20}
WRITES = ("fit", "run", "bench", "score", "threshold", "import")
CHANGES = 1000


def harness(name, *arguments):
    """What one of the forking scripts found."""
    command = [sys.executable, str(TESTS / "faults" / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def kills(_folder):
    """Killed at every write boundary and at random steps, resumed, bit-identical."""
    for command, points in KILLS.items():
        found = harness("kill", command, "--points", points)
        yield f"killed and resumed to the same bits: {command}", found["points"], found["failures"]


def writes(_folder):
    """A full disk at every write: the old state readable, a clean error, no litter."""
    for command in WRITES:
        found = harness("writes", command)
        yield f"disk full, nothing lost: {command}", found["points"], found["failures"]


def image_files(folder):
    """Malformed images refused by name, odd ones read to the pixel."""
    bad, good = images.malformed(), images.odd()
    (folder / "bad").mkdir()
    wrong = images.wrongly_accepted(folder / "bad", bad)
    yield "malformed images refused by name", len(bad), wrong
    yield "odd images read to the pixel", len(good), images.wrongly_read(folder, good)


def model_folders(folder):
    """Hostile models refused and never executed, every changed byte found."""
    CLAD(SETTINGS).fit(normals(folder)).save(folder / "genuine")
    sprung = folder / "sprung"
    made = list(models.hostile(folder / "genuine", folder, sprung))
    wrong = models.wrongly_loaded(iter(made)) + ["executed"] * sprung.exists()
    yield "hostile models refused, nothing executed", len(made), wrong
    changed = models.changed_bytes(folder / "genuine", CHANGES)
    yield "models with one changed byte refused", CHANGES, models.wrongly_loaded(changed)


def archive_files(folder):
    """Hostile archives refused, nothing left behind."""
    yield "hostile archives refused", len(archives.ATTACKS), archives.wrongly_unpacked(folder)


PARTS = {
    "kills": kills,
    "writes": writes,
    "images": image_files,
    "models": model_folders,
    "archives": archive_files,
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
def main(parts):
    """Bear them all."""
    rows = {row["what"]: row for row in read_rows(FILE)}
    failed = False
    for part in parts or PARTS:
        with tempfile.TemporaryDirectory() as name:
            for what, total, failures in PARTS[part](Path(name)):
                borne = total - len(failures)
                click.echo(f"{what}: {borne} of {total}")
                for failure in failures[:5]:
                    click.echo(f"  {str(failure)[:300]}")
                failed |= bool(failures)
                rows[what] = {
                    **{"what": what, "borne": borne, "of": total},
                    **{"python": versions()["python"], "torch": versions()["torch"]},
                    "commit": commit(),
                }
                write_rows(FILE, list(rows.values()))
    sys.exit(failed)


if __name__ == "__main__":
    main()
