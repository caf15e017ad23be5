"""``clad run``: train and test on the scenarios of a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clad.cli.options import (
    budget_option,
    config_options,
    data_root_option,
    output_options,
    print_costs,
    print_table,
    reporting,
)

if TYPE_CHECKING:
    from clad.config import Config
    from clad.data.labelled import Benchmark
    from clad.data.scenarios import Scenario


@click.command()
@click.argument("dataset")
@click.option("--scenario", "scenario_name", help="A name, one-class:LABEL, or all.")
@click.option("--normal", metavar="A,B,C", help="Normal classes of your own choice.")
@click.option(
    "--preset",
    type=click.Choice(["default", "paper"]),
    default="default",
    show_default=True,
    help="default: our recipe; paper: the authors' settings.",
)
@config_options
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for what is written.")
@budget_option
@click.option("--fresh", is_flag=True, help="Start over where an earlier run has got to.")
@click.option(
    "--tensorboard",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write curves, pictures and metrics for TensorBoard (clad[tensorboard]).",
)
@click.option(
    "--mlflow",
    is_flag=True,
    help="Log the same to MLflow, where MLFLOW_TRACKING_URI says (clad[mlflow]).",
)
@data_root_option
@output_options
def run(
    dataset: str,
    scenario_name: str | None,
    normal: str | None,
    preset: str,
    config_file: Path | None,
    seed: int | None,
    assignments: tuple[str, ...],
    out: Path | None,
    budget: str | None,
    fresh: bool,
    tensorboard: Path | None,
    mlflow: bool,
    data_root: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train and test on a scenario of DATASET: some classes are normal, the rest anomalies."""
    from clad.artifact import make_folder
    from clad.benchmark import runs
    from clad.data.benchmarks import load
    from clad.report import trackers

    if normal is not None and scenario_name is not None:
        raise click.UsageError("give --scenario or --normal, not both")
    with reporting(quiet):
        if tensorboard is not None:
            trackers.require("tensorboard")
            make_folder(tensorboard)
        if mlflow:
            trackers.require("mlflow")
        if budget is not None:
            assignments += (f"budget={budget}",)
        benchmark = load(dataset, data_root)
        scenarios = _scenarios(benchmark, scenario_name, normal)
        jobs = []
        for scenario in scenarios:  # every mistake shows before the first hour of training
            config = _run_config(dataset, scenario.name, preset, config_file, seed, assignments)
            jobs.append((scenario, config))
        results = []
        for scenario, config in jobs:
            recipe = preset if config_file is None else config_file.stem
            folder = runs.folder_for(out, recipe, config, scenario, several=len(jobs) > 1)
            results.append(
                runs.run(
                    benchmark, scenario, config, folder, recipe, fresh=fresh, progress=not quiet
                )
            )
            if tensorboard is not None:
                trackers.to_tensorboard(folder, tensorboard)
            if mlflow:
                trackers.to_mlflow(folder)
    if as_json:
        click.echo(json.dumps(results if len(results) > 1 else results[0]))
    else:
        _print_results(results)


def _scenarios(benchmark: Benchmark, name: str | None, normal: str | None) -> list[Scenario]:
    from clad.data.scenarios import custom, scenario, scenario_names

    if normal is not None:
        labels = [label.strip() for label in normal.split(",")]
        return [custom(benchmark.name, labels, benchmark.classes)]
    named = scenario_names(benchmark.name)
    chosen = named if name == "all" else (name or named[0],)
    return [scenario(benchmark.name, each, benchmark.classes) for each in chosen]


def _run_config(
    dataset: str,
    scenario: str,
    preset: str,
    config_file: Path | None,
    seed: int | None,
    assignments: tuple[str, ...],
) -> Config:
    from clad import recipes

    path = config_file or recipes.preset(preset, dataset)
    return recipes.assemble(recipes.read_values(path, scenario), str(path), assignments, seed)


def _print_results(results: list[dict[str, Any]]) -> None:
    from clad.calibration import Cost

    rows = []
    for each in results:
        rows.append(
            [
                f"{each['dataset']} {each['scenario']}",
                *(f"{100 * each[k]:.1f}%" for k in ("auroc", "false_alarm_rate", "detection_rate")),
                *(f"{s:.1f}" for s in each["seconds"].values()),
            ]
        )
    head = ["scenario", "AUROC", "false alarms", "detected"]
    head += [f"{stage} s" for stage in results[0]["seconds"]]
    print_table(head, rows)
    if len(results) == 1:
        click.echo("\nwhat other thresholds would cost on the test images:")
        print_costs([Cost(**row) for row in results[0]["trade_off"]])
    for each in results:
        click.echo(f"threshold: {each['guarantee']}")
        click.echo(f"written to {each['out']}")
