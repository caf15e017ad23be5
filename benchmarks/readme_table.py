"""The README's result tables, from rows kept in the repository.

    python benchmarks/readme_table.py [runs/*/metrics.json ...]

Adds a row to results/runs.csv for each metrics.json given (a newer row takes the place of one with
the same data set, scenario, preset and seed), then writes the tables into README.md between their
markers: of the benchmark, results/benchmark/*.jsonl as `clad bench` wrote them, and of those runs.
With no file it only writes the tables again.
"""

import json
from pathlib import Path

import click
import numpy as np
from records import ROOT, read_rows, write_rows

from clad.benchmark.paper import printed
from clad.benchmark.results import read
from clad.data.scenarios import SCENARIOS

ROWS = ROOT / "results" / "runs.csv"
BENCHMARK = ROOT / "results" / "benchmark"
README = ROOT / "README.md"
CONTROLS = (
    *("pca-reconstruction", "pca-neighbours", "latent-neighbours", "reconstruction"),
    "random-features",
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
    """Mean and, of more than one, standard deviation."""
    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.1f}{spread}"


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


def benchmark_table() -> str:
    """Markdown: a line a scenario of the paper, the default preset beside what it must beat.

    Of rows of several settings the last one run counts; they are never averaged.
    """
    found: dict[tuple[str, str, str], dict[str, list[dict]]] = {}
    for path in sorted(BENCHMARK.glob("*.jsonl")):
        for row in read(path):
            if row["error"] is None:
                cell = found.setdefault((row["dataset"], row["scenario"], row["method"]), {})
                cell.setdefault(row["setting"], []).append(row)
    cells = {key: list(settings.values())[-1] for key, settings in found.items()}
    lines = [
        "| data set | normal | seeds | **AUROC** | false alarms (5% promised) | detected | minutes "
        "| best simple control | paper |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
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
            lines.append(
                f"| {dataset} | {scenario} | {len(rows)} | **{auroc}** | {alarms} | {detected} "
                f"| {minutes:.1f} | {control} | {theirs} |"
            )
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """Each table under the name of its markers."""
    return {"benchmark": benchmark_table(), "runs": runs_table(read_rows(ROWS))}


def markers(name: str) -> tuple[str, str]:
    """What stands before and after a table in the README."""
    return f"<!-- {name}: start -->", f"<!-- {name}: end -->"


@click.command()
@click.argument("metrics", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(metrics: tuple[Path, ...]) -> None:
    """Keep these runs' rows and write the tables."""
    rows = {tuple(row[k] for k in KEY): row for row in read_rows(ROWS)}
    for path in metrics:
        row = row_of(path)
        rows[tuple(row[k] for k in KEY)] = row
    ordered = [rows[key] for key in sorted(rows)]
    write_rows(ROWS, ordered)
    text = README.read_text(encoding="utf-8")
    for name, table in tables().items():
        start, end = markers(name)
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}\n{table}\n{end}{after}"
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
