"""What the harness costs: the time of `clad bench` that no cell is running, and a long table.

    python benchmarks/harness.py [--dataset mnist] [--scenario CUR] [--seeds 1]

`clad bench` runs in a process of its own; its seconds from start to end, imports and the printed
table included, are set against the seconds that its cells say they took. `clad table` is given
10,000 rows made of these. Appends to results/harness.csv; exit status 1 where the harness takes 2%
or more of the cells' time, or the table 2 s or more.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from records import ROOT, read_rows, write_rows

from clad.benchmark import results
from clad.provenance import commit, hardware

FILE = ROOT / "results" / "harness.csv"
ROWS, MOST, LONGEST = 10_000, 0.02, 2.0


def run(*arguments: str) -> float:
    """Seconds of a clad command."""
    start = time.perf_counter()
    command = [Path(sys.executable).with_name("clad"), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def lengthened(rows: list[dict], n: int) -> list[dict]:
    """``n`` rows made of these: as many scenarios, of five methods with ten seeds each."""
    found = []
    for i in range(n):
        row = dict(rows[i % len(rows)])
        row |= {"scenario": f"S{i // 50}", "method": f"m{i % 50 // 10}", "seed": i % 10}
        found.append(row)
    return found


@click.command()
@click.option("--dataset", default="digits", show_default=True)
@click.option("--scenario", default="CUR", show_default=True)
@click.option("--seeds", default=3, show_default=True)
def main(dataset, scenario, seeds):
    """Run the cells, then the table."""
    with tempfile.TemporaryDirectory() as folder:
        cells = ["--scenarios", scenario, "--seeds", str(seeds), "--out", folder]
        seconds = run("bench", dataset, *cells)
        rows = results.read(Path(folder) / "results.jsonl")
        in_cells = sum(row["seconds"]["total"] for row in rows)
        many = Path(folder) / "many.jsonl"
        many.write_text("".join(json.dumps(row) + "\n" for row in lengthened(rows, ROWS)))
        of_table = run("table", str(many))
    share = seconds / in_cells - 1
    row = {
        **{"dataset": dataset, "scenario": scenario, "cells": len(rows)},
        **{"seconds": f"{seconds:.1f}", "in_cells": f"{in_cells:.1f}", "overhead": f"{share:.4f}"},
        **{"table_of_10000": f"{of_table:.2f}", "load": f"{os.getloadavg()[0]:.1f}"},
        **{"hardware": hardware("cpu"), "commit": commit()},
    }
    write_rows(FILE, [*read_rows(FILE), row])
    click.echo(", ".join(f"{key} {value}" for key, value in row.items()))
    sys.exit(share >= MOST or of_table >= LONGEST)


if __name__ == "__main__":
    main()
