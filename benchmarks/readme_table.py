"""The result tables of the README and the docs, from rows kept in the repository.

    python benchmarks/readme_table.py [runs/*/metrics.json ...]

Adds a row to results/runs.csv for each metrics.json given (a newer row takes the place of one with
the same data set, scenario, preset and seed), then writes the tables between their markers: of the
benchmark, results/benchmark/*.jsonl and results/budget.jsonl as `clad bench` wrote them, of the
ablations, results/ablation/*.jsonl as `clad ablate` did, with a picture of each, and of those runs.
With no file it only writes the tables again.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
from records import ROOT, read_rows, write_rows

from clad.benchmark.paper import printed
from clad.benchmark.results import latest_points, read
from clad.benchmark.tables import table
from clad.data.scenarios import ONE_CLASS, SCENARIOS
from clad.report.ablation import BASE, VARIANT, changes, draw_ablation, mean_change, swept_values

ROWS = ROOT / "results" / "runs.csv"
BENCHMARK = ROOT / "results" / "benchmark"
BUDGET = ROOT / "results" / "budget.jsonl"
ABLATION = ROOT / "results" / "ablation"
DOCS = ROOT / "docs"
README, BENCHMARKS, ABLATIONS = ROOT / "README.md", DOCS / "benchmarks.md", DOCS / "ablations.md"
CONTROLS = (
    *("pca-reconstruction", "pca-neighbours", "latent-neighbours", "reconstruction"),
    "random-features",
)
METHODS = (
    "clad",
    *("ocsvm", "svdd", "deep-svdd", "oc-nn", "oc-cnn"),  # the paper's
    *("ae-fully-connected", "ae-convolutional", "ae-batch-norm", "ae-noise-classifier"),
    "oracle-labelled",
)
KEY = ("dataset", "scenario", "preset", "seed")
COLUMNS = (
    *KEY,
    *("auroc", "false_alarm_rate", "detection_rate", "alpha", "clusters", "nmi"),
    *("n_fit", "n_calibration", "n_test", "seconds", "device", "torch", "commit"),
)
# Their figure 3 at the released setting, read off the curve.
RELEASED = {("mnist", "CUR"): 92.4, ("mnist", "STR"): 94.5, ("mnist", "MIX"): 86.8}


def row_of(path: Path) -> dict[str, str]:
    """The columns that are kept of one metrics.json."""
    metrics = json.loads(path.read_text(encoding="utf-8"))
    flat = {
        **metrics,
        "seconds": metrics["seconds"]["total"],
        "torch": metrics["versions"]["torch"],
    }
    return {name: str(flat[name]) for name in COLUMNS}


def paper(dataset: str, scenario: str) -> str:
    """What the paper prints, and its curve at the released setting where there is one."""
    numbers = (printed().get((dataset, scenario, "clad")), RELEASED.get((dataset, scenario)))
    return " / ".join(str(number) for number in numbers if number is not None)


def percent(values: list[float]) -> str:
    """Mean and, of more than one, standard deviation; nothing of none."""
    if not values:
        return ""
    return f"{100 * np.mean(values):.1f}{spread([100 * value for value in values])}"


def spread(values: Sequence[float]) -> str:
    """Standard deviation, of more than one."""
    return f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""


def runs_table(rows: list[dict[str, str]]) -> str:
    """Markdown: a line a scenario and preset, mean and standard deviation over seeds in percent."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["dataset"], row["scenario"], row["preset"]), []).append(row)
    lines = [
        "| data set | normal | preset | seeds | AUROC | false alarms (5% promised) | detected "
        "| minutes | paper's table / its released setting |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (dataset, scenario, preset), group in sorted(groups.items()):
        auroc, alarms, detected = (
            percent([float(row[column]) for row in group])
            for column in ("auroc", "false_alarm_rate", "detection_rate")
        )
        minutes = np.mean([float(row["seconds"]) for row in group]) / 60
        lines.append(
            f"| {dataset} | {scenario} | {preset} | {len(group)} | {auroc} | {alarms} | {detected} "
            f"| {minutes:.1f} | {paper(dataset, scenario)} |"
        )
    return "\n".join(lines)


def newest() -> dict[tuple[str, str, str], list[dict]]:
    """Rows of the benchmark by data set, scenario and method, a row a seed.

    Of rows of several settings the last one run counts; they are never averaged.
    """
    found: dict[tuple[str, str, str], dict[str, list[dict]]] = {}
    for path in sorted(BENCHMARK.glob("*.jsonl")):
        for row in read(path):
            if row["error"] is None:
                cell = found.setdefault((row["dataset"], row["scenario"], row["method"]), {})
                cell.setdefault(row["setting"], []).append(row)
    return {key: list(settings.values())[-1] for key, settings in found.items()}


def benchmark_table(cells: dict[tuple[str, str, str], list[dict]]) -> str:
    """Markdown: a line a scenario of the paper, the default preset beside what it must beat."""
    lines = [
        "| data set | normal | seeds | **AUROC** | false alarms (5% promised) | detected | minutes "
        "| on | best simple control | paper |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for dataset, scenarios in SCENARIOS.items():
        for scenario in scenarios:
            rows = cells.get((dataset, scenario, "clad"))
            if rows is None:
                continue
            auroc, alarms, detected = (
                percent([row[name] for row in rows])
                for name in ("auroc", "false_alarm_rate", "detection_rate")
            )
            minutes = np.mean([row["seconds"]["total"] for row in rows]) / 60
            controls = {
                name: [row["auroc"] for row in cells[dataset, scenario, name]]
                for name in CONTROLS
                if (dataset, scenario, name) in cells
            }
            best = max(controls, key=lambda name: float(np.mean(controls[name])), default="")
            control = f"{percent(controls[best])} {best}" if best else ""
            theirs = printed().get((dataset, scenario, "clad"), "")
            machines = " / ".join(sorted({row["hardware"] for row in rows}))
            lines.append(
                f"| {dataset} | {scenario} | {len(rows)} | **{auroc}** | {alarms} | {detected} "
                f"| {minutes:.1f} | {machines} | {control} | {theirs} |"
            )
    return "\n".join(lines)


def found_table(cells: Mapping[tuple, list[dict]]) -> str:
    """Markdown: a line a scenario, what the default preset's clusters are to the hidden classes."""
    lines = [
        "| data set | normal | hidden classes | clusters, each seed | NMI in % |",
        "| --- | --- | --- | --- | --- |",
    ]
    for dataset, scenarios in SCENARIOS.items():
        for scenario, classes in scenarios.items():
            rows = cells.get((dataset, scenario, "clad"), [])
            if rows:
                clusters = ", ".join(str(row["clusters"]) for row in rows)
                nmi = percent([row["nmi"] for row in rows])
                lines.append(f"| {dataset} | {scenario} | {len(classes)} | {clusters} | {nmi} |")
    return "\n".join(lines)


def budget_table(rows: Sequence[Mapping[str, Any]], cells: Mapping[tuple, list[dict]]) -> str:
    """Markdown: a line a scenario fitted within a budget, the README's AUROC beside it."""
    lines = [
        "| data set | normal | AUROC | minutes | AUROC without a budget |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        name = row["dataset"], row["scenario"]
        whole = percent([each["auroc"] for each in cells.get((*name, "clad"), [])])
        minutes = f"{row['seconds']['total'] / 60:.1f}"
        lines.append(f"| {' | '.join([*name, percent([row['auroc']]), minutes, whole])} |")
    return "\n".join(lines)


def methods_table(
    cells: dict[tuple[str, str, str], list[dict]],
    names: Sequence[tuple[str, str]],
    *,
    mean: bool = False,
) -> str:
    """Markdown: a line a method, a column a scenario, the paper's number in brackets.

    ``mean``: a last column with the mean over the scenarios, where a method has them all.
    """
    theirs = printed()
    heads = ["", *(f"{d} {s.rpartition(':')[2]}" for d, s in names), *["mean"] * mean]
    lines = ["".join(f"| {head} " for head in heads), "| --- " * len(heads)]
    for method in METHODS:
        ours = [[row["auroc"] for row in cells.get((*name, method), [])] for name in names]
        papers = [theirs.get((*name, method)) for name in names]
        if mean and all(ours):
            ours.append([float(np.mean([np.mean(values) for values in ours]))])
            papers.append(round(float(np.mean(papers)), 1) if all(papers) else None)
        if any(ours):
            texts = [percent(values) for values in ours]
            pairs = zip(texts, papers, strict=True)
            shown = [f"{text} ({paper})" if text and paper else text for text, paper in pairs]
            shown += [""] * (len(heads) - 1 - len(shown))
            lines.append("".join(f"| {text} " for text in (method, *shown)))
    return "\n".join(f"{line}|" for line in lines)


def ablation_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a line a scenario, and a value of the first of two swept keys; a column a value.

    Of variants see ``variants_table``.
    """
    if VARIANT in rows[0]["sweep"]:
        return variants_table(rows)
    *others, last = rows[0]["sweep"]
    found: dict[tuple, list[float]] = {}
    for row in rows:
        cell = (row["scenario"], *(row["sweep"][key] for key in (*others, last)))
        found.setdefault(cell, []).append(row["auroc"])
    columns = swept_values(rows, last)
    heads = ["normal", *others, *(f"{last} = {columns[0]}", *map(str, columns[1:]))]
    lines = [heads, ["---"] * len(heads)]
    scenarios = dict.fromkeys(row["scenario"] for row in rows)
    for line in product(scenarios, *(swept_values(rows, key) for key in others)):
        cells = [percent(found.get((*line, value), [])) for value in columns]
        lines.append([*map(str, line), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def variants_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a line a variant, a column a scenario; AUROC of ``BASE``, what others change.

    A standard deviation is over the seeds, of what a variant changes over their differences.
    """
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    base = [
        percent([r["auroc"] for r in rows if (r["scenario"], r["sweep"][VARIANT]) == (one, BASE)])
        for one in scenarios
    ]
    lines = [["", *scenarios, "mean"], ["---"] * (len(scenarios) + 2), [BASE, *base, ""]]
    for name, by in changes(rows).items():
        cells = [
            f"{np.mean(by[one]):+.1f}{spread(by[one])}" if one in by else "" for one in scenarios
        ]
        lines.append([name, *cells, f"{mean_change(by):+.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ablations() -> dict[str, list[Mapping[str, Any]]]:
    """The finished rows of each ablation kept, by its name.

    What the score is without each of its parts costs no training of its own, so the rows of the
    benchmark say it, under ``without``, and those of a shortened training do not.
    """
    kept = {
        path.stem: latest_points(row for row in read(path) if row["error"] is None)
        for path in sorted(ABLATION.glob("*.jsonl"))
    }
    kept["variants"] = [{**row, "auroc_without_part": {}} for row in kept["variants"]]
    kept["without"] = [{**row, "sweep": {VARIANT: BASE}} for row in default_rows(newest())]
    return kept


def default_rows(cells: Mapping[tuple[str, str, str], list[dict]]) -> list[dict]:
    """The rows of the default preset on the paper's scenarios."""
    every = [(d, s) for d in SCENARIOS for s in SCENARIOS[d]]
    return [row for d, s in every for row in cells.get((d, s, "clad"), [])]


def tables() -> dict[str, tuple[Path, str]]:
    """Each table and the file it stands in, under the name of its markers."""
    cells = newest()
    scenarios = [(d, s) for d in ("mnist", "cifar10") for s in SCENARIOS[d]]
    digits = [("mnist", f"{ONE_CLASS}{digit}") for digit in range(10)]
    objects = [(d, s) for d, s, _ in cells if d == "cifar10" and s.startswith(ONE_CLASS)]
    # one setting a cell, but not one commit everywhere: no reason for a column each
    # and what the score is without a part is a table of its own
    same: dict[str, Any] = {"setting": "", "auroc_without_part": {}}
    ours = [row | same for row in default_rows(cells)]
    swept = {name: (ABLATIONS, ablation_table(rows)) for name, rows in ablations().items()}
    return {
        "benchmark": (README, benchmark_table(cells)),
        "runs": (README, runs_table(read_rows(ROWS))),
        "budget": (BENCHMARKS, budget_table(read(BUDGET), cells)),
        "found": (BENCHMARKS, found_table(cells)),
        "methods": (BENCHMARKS, methods_table(cells, scenarios)),
        "one-class": (BENCHMARKS, methods_table(cells, digits, mean=True)),
        "one-class-objects": (BENCHMARKS, methods_table(cells, sorted(set(objects)), mean=True)),
        "parts": (ABLATIONS, table(ours, by_part=True)),
        **swept,
    }


def markers(name: str) -> tuple[str, str]:
    """What stands before and after a table."""
    return f"<!-- {name}: start -->", f"<!-- {name}: end -->"


@click.command()
@click.argument("metrics", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(metrics: tuple[Path, ...]) -> None:
    """Keep these runs' rows, write the tables and draw the ablations."""
    rows = {tuple(row[k] for k in KEY): row for row in read_rows(ROWS)}
    for path in metrics:
        row = row_of(path)
        rows[tuple(row[k] for k in KEY)] = row
    ordered = [rows[key] for key in sorted(rows)]
    write_rows(ROWS, ordered)
    for name, (file, made) in tables().items():
        text = file.read_text(encoding="utf-8")
        start, end = markers(name)
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        file.write_text(f"{before}{start}\n{made}\n{end}{after}", encoding="utf-8")
    for name, found in ablations().items():
        datasets = ", ".join(dict.fromkeys(row["dataset"] for row in found))
        title = f"{datasets}, {found[0]['method']}"
        draw_ablation(DOCS / f"ablation_{name}.png", found, title)


if __name__ == "__main__":
    main()
