"""What checkpoints cost: their share of the time of a fit, in one run.

    python benchmarks/checkpoint_cost.py [--dataset mnist] [--scenario CUR]

The default recipe is trained with checkpoints as `clad run` keeps them, and the seconds spent in
them are set against all seconds of training. Appends to results/checkpoint_cost.csv; exit status 1
where they take 3% or more.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import click
from records import ROOT, read_rows, write_rows

from clad import CLAD, recipes
from clad.checkpoints import CheckpointFolder
from clad.data.benchmarks import load
from clad.data.scenarios import scenario
from clad.data.splits import make_task
from clad.provenance import commit, fingerprint, versions

FILE = ROOT / "results" / "checkpoint_cost.csv"
MOST = 0.03


class Timed(CheckpointFolder):
    """Checkpoints that count themselves and the seconds they take."""

    seconds = 0.0
    saves = 0

    def save(self, *args, **kwargs):
        """See CheckpointFolder."""
        start = time.perf_counter()
        super().save(*args, **kwargs)
        Timed.seconds += time.perf_counter() - start
        Timed.saves += 1


@click.command()
@click.option("--dataset", default="digits", show_default=True)
@click.option("--scenario", "name", default="CUR", show_default=True)
def main(dataset, name):
    """Train once and count."""
    benchmark = load(dataset)
    task = make_task(benchmark, scenario(dataset, name, benchmark.classes))
    settings = recipes.load(recipes.preset("default", dataset))
    with tempfile.TemporaryDirectory() as folder:
        kept = Timed(Path(folder), fingerprint(settings, task.train))
        start = time.perf_counter()
        CLAD(settings, progress=True).fit(task.train, checkpoints=kept)
        seconds = time.perf_counter() - start
    share = Timed.seconds / seconds
    row = {
        **{"dataset": dataset, "scenario": name, "seconds": f"{seconds:.1f}"},
        **{"saves": Timed.saves, "in_checkpoints": f"{Timed.seconds:.2f}"},
        **{"share": f"{share:.4f}", "load": f"{os.getloadavg()[0]:.1f}"},
        **{"torch": versions()["torch"], "commit": commit()},
    }
    write_rows(FILE, [*read_rows(FILE), row])
    click.echo(", ".join(f"{key} {value}" for key, value in row.items()))
    sys.exit(share >= MOST)


if __name__ == "__main__":
    main()
