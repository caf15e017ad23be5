"""``clad data``: benchmark data sets, list, download, import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clad.cli.options import data_root_option, output_options, print_table, reporting

if TYPE_CHECKING:
    from clad.data.labelled import Benchmark


@click.group()
def data() -> None:
    """Benchmark data sets: list, download, import."""


@data.command("list")
@data_root_option
@output_options
def data_list(data_root: Path | None, quiet: bool, as_json: bool) -> None:
    """Which data sets there are, and which are prepared."""
    from dataclasses import asdict

    from clad.data.benchmarks import available
    from clad.data.benchmarks import data_root as resolve

    with reporting(quiet):
        rows = [asdict(row) for row in available(data_root)]
    if as_json:
        click.echo(json.dumps(rows))
        return
    click.echo(f"in {resolve(data_root)}:")
    table = [
        [
            row["name"],
            "prepared" if row["prepared"] else "not prepared",
            *(str(row[key] or "-") for key in ("n_train", "n_test", "classes")),
            "x".join(map(str, row["shape"])) if row["shape"] else "-",
        ]
        for row in rows
    ]
    print_table(["data set", "", "train", "test", "classes", "shape"], table)


@data.command("prepare")
@click.argument("name")
@data_root_option
@output_options
def data_prepare(name: str, data_root: Path | None, quiet: bool, as_json: bool) -> None:
    """Download data set NAME and decode it; interrupted downloads are resumed."""
    from clad.data.benchmarks import prepare

    with reporting(quiet):
        _say_prepared(prepare(name, data_root), quiet, as_json)


@data.command("import")
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
@data_root_option
@output_options
def data_import(name: str, path: Path, data_root: Path | None, quiet: bool, as_json: bool) -> None:
    """Decode data set NAME from PATH: its official layout or {train,test}/<class>/*, or a zip."""
    from clad.data.benchmarks import import_

    with reporting(quiet):
        _say_prepared(import_(name, path, data_root), quiet, as_json)


@data.command("leakage")
@click.argument("name")
@data_root_option
@output_options
def data_leakage(name: str, data_root: Path | None, quiet: bool, as_json: bool) -> None:
    """How far each anomalous class of NAME lies among the normal images, by their pixels.

    A share of the 10 nearest neighbours: 0% lies apart, 50% cannot be told by any neighbourhood.
    """
    from clad.benchmark.leakage import leakage
    from clad.data.benchmarks import load

    with reporting(quiet):
        rows = leakage(load(name, data_root))
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = [[row["scenario"], row["class"], f"{100 * row['leakage']:.1f}%"] for row in rows]
    print_table(["normal", "anomalous", "leakage"], table)


def _say_prepared(benchmark: Benchmark, quiet: bool, as_json: bool) -> None:
    facts = {
        "name": benchmark.name,
        "n_train": len(benchmark.train),
        "n_test": len(benchmark.test),
        "classes": len(benchmark.classes),
        "shape": benchmark.train.images.shape,
    }
    if as_json:
        click.echo(json.dumps(facts))
    elif not quiet:
        click.echo(
            "{name}: {n_train} training and {n_test} test images of {classes} classes".format(
                **facts
            )
        )
