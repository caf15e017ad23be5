"""``clad bench``, ``clad ablate`` and ``clad table``: many cells, and what came of them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clad.cli.options import data_root_option, reporting

if TYPE_CHECKING:
    from clad.benchmark.cells import Cell
    from clad.benchmark.plan import Source

F = TypeVar("F", bound=Callable[..., Any])


def running_options(command: F) -> F:
    """What cells are tested with, where they are run and what is printed."""
    for option in (
        click.option("--quiet", is_flag=True, help="Only errors; no progress."),
        data_root_option,
        click.option(
            "--held-out",
            type=click.FloatRange(0, 0.5, min_open=True),
            metavar="FRACTION",
            help="Test on that share of the training images, not on the test images: to choose by.",
        ),
        click.option("--scheduler", metavar="tcp://...", help="Run the cells on a Dask cluster."),
        click.option(
            "--jobs",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="Processes on this machine.",
        ),
    ):
        command = option(command)
    return command


def _held(fraction: float | None) -> tuple[str, ...]:
    return () if fraction is None else ("--held-out", f"{fraction:g}")


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
    "-o", "--out", type=click.Path(path_type=Path), default=Path("bench"), show_default=True,
    help="Folder of results.jsonl.",
)  # fmt: skip
@running_options
def bench(
    dataset: str,
    scenarios: str,
    methods: str,
    seeds: int,
    assignments: tuple[str, ...],
    out: Path,
    jobs: int,
    scheduler: str | None,
    held_out: float | None,
    data_root: Path | None,
    quiet: bool,
) -> None:
    """Run every scenario, method and seed of DATASET that results.jsonl does not hold yet.

    DATASET is a name in clad data list, or a YAML file with the keys train, test and labels.
    """
    from clad.benchmark.plan import Source, cells
    from clad.benchmark.tables import table

    with reporting(quiet):
        source = Source(dataset, data_root, held_out)
        wanted = cells(source, _listed(scenarios), _listed(methods), seeds, assignments)
        changes = (word for change in assignments for word in ("--set", change))
        choice = ("--scenarios", scenarios, "--methods", methods, "--seeds", str(seeds))
        marks = [
            {"command": shlex.join(("clad", "bench", dataset, *choice, *_held(held_out), *changes))}
        ]
        rows = _run(wanted, marks * len(wanted), source, out, jobs, scheduler, quiet)
    finished = [row for row in rows if row["error"] is None]
    if finished:
        click.echo(table(finished))
    _report(rows, out)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seeds", type=click.IntRange(min=1), help="In the place of the file's.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Folder of results.jsonl and the plot.",
)  # fmt: skip
@running_options
def ablate(
    file: Path,
    seeds: int | None,
    out: Path | None,
    jobs: int,
    scheduler: str | None,
    held_out: float | None,
    data_root: Path | None,
    quiet: bool,
) -> None:
    """Sweep the keys that FILE names (see configs/ablation) and plot what they do.

    The same command goes on after an interruption.
    """
    from clad.benchmark.plan import Source, ablation_cells, read_ablation
    from clad.report.ablation import draw_ablation

    with reporting(quiet):
        ablation = read_ablation(file)
        source = Source(ablation.dataset, data_root, held_out)
        points = ablation_cells(ablation, source, seeds)
        out = out or Path("ablations") / file.stem
        wanted = [cell for _, cell in points]
        choice = () if seeds is None else ("--seeds", str(seeds))
        command = shlex.join(("clad", "ablate", str(file), *choice, *_held(held_out)))
        marks = [{"sweep": point, "command": command} for point, _ in points]
        rows = _run(wanted, marks, source, out, jobs, scheduler, quiet)
        finished = [row for row in rows if row["error"] is None]
        if finished:
            title = f"{finished[0]['dataset']}, {ablation.method}"
            draw_ablation(out / f"{file.stem}.png", finished, title)
            click.echo(f"plot written to {out / file.stem}.png")
    _report(rows, out)


def _run(
    wanted: Sequence[Cell],
    marks: Sequence[dict[str, Any]],
    source: Source,
    out: Path,
    jobs: int,
    scheduler: str | None,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Run the cells that results.jsonl lacks; the rows of all, each with its mark, in order."""
    from clad.artifact import locked, make_folder
    from clad.benchmark import results
    from clad.benchmark.workers import run_all
    from clad.provenance import log_file
    from clad.runtime import track

    path = make_folder(out) / "results.jsonl"
    mark = {cell.key: one for cell, one in zip(wanted, marks, strict=True)}
    with locked(out), log_file(out / "bench.log"):
        results.mend(path)
        rows = results.read(path) if path.exists() else []
        done = {results.key(row) for row in rows if row["error"] is None}
        missing = [cell for cell in wanted if cell.key not in done]
        found = run_all(missing, source, jobs=jobs, scheduler=scheduler, progress=not quiet)
        first = len(wanted) - len(missing)
        for row in track(found, "cells", initial=first, total=len(wanted), unit="cell"):
            results.append(path, {**row, **mark[results.key(row)]})
    kept = {results.key(row): row for row in results.read(path)}
    return [kept[cell.key] for cell in wanted]


def _report(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """How many cells there are, and which failed: then with exit status 1."""
    failed = [row for row in rows if row["error"] is not None]
    for row in failed:
        click.echo("failed: {dataset} {scenario} {method} seed {seed}: {error}".format(**row))
    click.echo(f"{len(rows)} cells in {out / 'results.jsonl'}; see clad table")
    if failed:
        raise SystemExit(1)


@click.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["md", "csv", "latex", "html"]), default="md",
    show_default=True,
)  # fmt: skip
@click.option("--metric", default="auroc", show_default=True, help="auroc, fpr95, f1, ...")
@click.option("--by-class", is_flag=True, help="A line for each anomalous class.")
@click.option("--by-part", is_flag=True, help="A column for each part of a fused score.")
def table(results: tuple[Path, ...], form: str, metric: str, by_class: bool, by_part: bool) -> None:
    """Print a table of RESULTS, files or folders that clad bench wrote."""
    from clad.benchmark import tables
    from clad.benchmark.results import read

    with reporting(quiet=False):
        rows = [
            row
            for path in results
            for row in read(path / "results.jsonl" if path.is_dir() else path)
        ]
        click.echo(tables.table(rows, metric, form, by_class=by_class, by_part=by_part))
