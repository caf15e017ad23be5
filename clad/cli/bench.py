"""``clad bench`` and ``clad table``: scenarios x methods x seeds, and what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clad.cli.options import data_root_option, reporting


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


@click.command()
@click.argument("dataset")
@click.option("--scenarios", default="all", show_default=True, metavar="A,B", help="Or one-class.")
@click.option("--methods", default="clad", show_default=True, metavar="A,B", help="Or all.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="STAGE.KEY=VALUE",
    help="Change one key of the configuration; may be given again.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("bench"), show_default=True,
    help="Folder of results.jsonl.",
)  # fmt: skip
@data_root_option
@click.option("--quiet", is_flag=True, help="Only errors; no progress.")
def bench(
    dataset: str,
    scenarios: str,
    methods: str,
    seeds: int,
    assignments: tuple[str, ...],
    out: Path,
    data_root: Path | None,
    quiet: bool,
) -> None:
    """Run every scenario, method and seed of DATASET that results.jsonl does not hold yet.

    DATASET is a name in clad data list, or a YAML file with the keys train, test and labels.
    """
    from clad.artifact import locked, make_folder
    from clad.benchmark import results
    from clad.benchmark.cells import run_cell
    from clad.benchmark.tables import table
    from clad.provenance import log_file
    from clad.runtime import track

    with reporting(quiet):
        benchmark, cells = _cells(dataset, data_root, scenarios, methods, seeds, assignments)
        path = make_folder(out) / "results.jsonl"
        with locked(out), log_file(out / "bench.log"):
            results.mend(path)
            rows = results.read(path) if path.exists() else []
            done = {tuple(r[k] for k in results.KEY) for r in rows if r["error"] is None}
            missing = [cell for cell in cells if cell.key not in done]
            for cell in track(
                missing, "cells", initial=len(cells) - len(missing), total=len(cells)
            ):
                results.append(path, run_cell(cell, benchmark, progress=not quiet))
        wanted = {cell.key for cell in cells}
        rows = [r for r in results.read(path) if tuple(r[k] for k in results.KEY) in wanted]
    failed = [row for row in rows if row["error"] is not None]
    if len(failed) < len(rows):
        click.echo(table(rows))
    for row in failed:
        click.echo("failed: {dataset} {scenario} {method} seed {seed}: {error}".format(**row))
    click.echo(f"{len(rows)} cells in {path}; see clad table")
    if failed:
        raise SystemExit(1)


def _cells(
    dataset: str,
    data_root: Path | None,
    scenarios: str,
    methods: str,
    seeds: int,
    assignments: tuple[str, ...],
) -> tuple[Any, list[Any]]:
    """The data set and every cell asked for; a mistake shows before the first is run."""
    from clad import config
    from clad.benchmark.cells import CLAD, METHODS, Cell
    from clad.cli.options import build_config
    from clad.data.benchmarks import load
    from clad.data.own import read_own
    from clad.data.scenarios import ONE_CLASS, known, scenario, scenario_names

    own = dataset.endswith((".yaml", ".yml"))
    if own:
        benchmark, only = read_own(Path(dataset))
        for name in set(_listed(scenarios)) - {"all"}:
            known(name, [only.name], f"scenario of {dataset}")
        chosen = [only]
    else:
        benchmark = load(dataset, data_root)
        names = _listed(scenarios)
        if names == ["all"]:
            names = list(scenario_names(benchmark.name))
        elif names == ["one-class"]:
            names = [f"{ONE_CLASS}{label}" for label in benchmark.classes]
        chosen = [scenario(benchmark.name, name, benchmark.classes) for name in names]
    choices = [m for m in METHODS if not (own and m == "clad:paper")]
    wanted = choices if methods == "all" else _listed(methods)
    for method in wanted:
        known(method, choices, "method")
    cells = []
    for one in chosen:
        for method in wanted:
            source, values = "the defaults", {}
            if not own:
                path = config.preset(CLAD.get(method, "default"), benchmark.name)
                source, values = str(path), config.read_values(path, one.name)
            for seed in range(seeds):
                cells.append(Cell(one, method, build_config(values, source, seed, assignments)))
    return benchmark, cells


@click.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["md", "csv", "latex", "html"]), default="md",
    show_default=True,
)  # fmt: skip
@click.option("--metric", default="auroc", show_default=True, help="auroc, fpr95, f1, ...")
@click.option("--by-class", is_flag=True, help="A line for each anomalous class.")
def table(results: tuple[Path, ...], form: str, metric: str, by_class: bool) -> None:
    """Print a table of RESULTS, files or folders that clad bench wrote."""
    from clad.benchmark import tables
    from clad.benchmark.results import read

    with reporting(quiet=False):
        rows = [
            row
            for path in results
            for row in read(path / "results.jsonl" if path.is_dir() else path)
        ]
        click.echo(tables.table(rows, metric, form, by_class=by_class))
