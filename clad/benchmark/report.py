"""The page of a benchmark or an ablation: its tables, what failed, and plots of what was swept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clad.benchmark import tables
from clad.benchmark.results import latest_points
from clad.errors import DataError
from clad.report import ablation, vectors
from clad.report.canvas import drawing
from clad.report.page import write_page

SECTIONS = ("summary", "plots", "tables", "classes")
METRICS = {
    "auroc": "AUROC, %",
    "false_alarm_rate": "False alarms, %",
    "detection_rate": "Detected, %",
    "fpr95": "False alarms where 95% are detected, %",
}


def write_bench_report(path: Path, source: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the page of these rows of results. Raises DataError where no cell has finished."""
    finished = [row for row in rows if row["error"] is None]
    if not finished:
        raise DataError(f"{source}: no finished cells among the results")
    plots = _plots(finished)
    shown = [(title, *tables.grid(finished, metric)) for metric, title in METRICS.items()]
    if any(row.get("auroc_by_part") for row in finished):
        parts = tables.grid(finished, by_part=True)
        shown.append(("AUROC of the score and of each of its parts alone, %", *parts))
    by_class = tables.grid(finished, by_class=True)
    write_page(
        path,
        "bench.html",
        title=f"Benchmark: {source}",
        sections=[(name, name) for name in SECTIONS if name != "plots" or plots],
        finished=len(finished),
        failed=[row for row in rows if row["error"] is not None],
        plots=plots,
        tables=shown,
        by_class=by_class,
        facts=_facts(finished),
    )


def _plots(rows: Sequence[dict[str, Any]]) -> list[str]:
    """An SVG for each data set, method and set of keys that an ablation swept."""
    swept: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in latest_points(row for row in rows if row.get("sweep")):
        key = (row["dataset"], row["method"], *row["sweep"])
        swept.setdefault(key, []).append(row)
    plots = []
    for (dataset, method, *_), found in swept.items():
        title = f"{dataset}, {method}"
        with drawing(7.5, 4.5, **vectors.SVG) as figure:
            ablation.fill(figure, found, title)
            plots.append(vectors.embedded(figure, title))
    return plots


def _facts(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Hours, and every command, machine, commit and version, with the number of its cells."""
    seconds = sum(row["seconds"]["total"] for row in rows)
    facts = [("hours of computing", f"{seconds / 3600:.2f}")]
    for key in ("command", "hardware", "commit"):
        facts.append((key, _counted(row.get(key, "not kept") for row in rows)))
    for package in rows[0].get("versions", {}):
        facts.append((package, _counted(row.get("versions", {}).get(package) for row in rows)))
    return facts


def _counted(values: Any) -> str:
    found = Counter(str(value) for value in values)
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(f"{value} ({n} cells)" for value, n in found.most_common())
