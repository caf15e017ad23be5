"""The README's result table, from rows kept in the repository.

    python benchmarks/readme_table.py [runs/*/metrics.json ...]

Adds a row to results/runs.csv for each metrics.json given (a newer row takes the place of one with
the same data set, scenario, preset and seed), then writes the table into README.md between its
markers. With no file it only writes the table again.
"""

import json
from pathlib import Path

import click
import numpy as np
from records import ROOT, read_rows, write_rows

from clad.benchmark.paper import PAPER

ROWS = ROOT / "results" / "runs.csv"
README = ROOT / "README.md"
START, END = "<!-- results: start -->", "<!-- results: end -->"
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
    numbers = (PAPER.get((dataset, scenario)), RELEASED.get((dataset, scenario)))
    return " / ".join(str(number) for number in numbers if number is not None)


def table(rows: list[dict[str, str]]) -> str:
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

        def cell(column: str, group: list[dict[str, str]] = group) -> str:
            values = 100 * np.array([float(row[column]) for row in group])
            spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
            return f"{values.mean():.1f}{spread}"

        minutes = np.mean([float(row["seconds"]) for row in group]) / 60
        lines.append(
            f"| {dataset} | {scenario} | {preset} | {len(group)} | {cell('auroc')} "
            f"| {cell('false_alarm_rate')} | {cell('detection_rate')} | {minutes:.1f} "
            f"| {paper(dataset, scenario)} |"
        )
    return "\n".join(lines)


@click.command()
@click.argument("metrics", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(metrics: tuple[Path, ...]) -> None:
    """Keep these runs' rows and write the table."""
    rows = {tuple(row[k] for k in KEY): row for row in read_rows(ROWS)}
    for path in metrics:
        row = row_of(path)
        rows[tuple(row[k] for k in KEY)] = row
    ordered = [rows[key] for key in sorted(rows)]
    write_rows(ROWS, ordered)
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{START}\n{table(ordered)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
