"""Tables of results: a line a scenario, a column a method, mean and deviation over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clad.benchmark.paper import PAPER
from clad.data.scenarios import SCENARIOS
from clad.errors import DataError

FORMATS = {"md": "github", "csv": "csv", "latex": "latex", "html": "html"}
METRICS = (
    *("auroc", "aupr_anomaly", "aupr_normal", "fpr95", "f1"),
    *("false_alarm_rate", "detection_rate", "below_chance"),
)
LOWER_IS_BETTER = ("fpr95", "false_alarm_rate", "below_chance")


def table(
    rows: Sequence[dict[str, Any]],
    metric: str = "auroc",
    form: str = "md",
    *,
    by_class: bool = False,
) -> str:
    """Means in percent, ± the standard deviation over seeds, (seeds) where they are not all alike.

    An AUROC on a small test set is followed by its 95% bootstrap interval, mean over seeds.
    ``by_class``: a line for each anomalous class, its AUROC against all normal images.
    The best mean of a line is marked ** and the second * (in CSV none is); false-alarm rates have
    no best. Rows of one method under several settings are columns of their own. Cells that failed
    are left out.

    Raises DataError where there is nothing to show.
    """
    head, body = grid(rows, metric, by_class=by_class, marked=form != "csv")
    return _render(head, body, form)


def grid(
    rows: Sequence[dict[str, Any]],
    metric: str = "auroc",
    *,
    by_class: bool = False,
    marked: bool = True,
) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of ``table``, as texts."""
    if metric not in METRICS:
        raise DataError(f"unknown column {metric!r}; known are {', '.join(METRICS)}")
    if by_class and metric != "auroc":
        raise DataError(f"by class there is the AUROC alone, not {metric}")
    groups = _groups([row for row in rows if row["error"] is None])
    if not groups:
        raise DataError("no finished cells among the results")
    lines = sorted({key[:2] for key in groups}, key=_order)
    columns = list(dict.fromkeys(key[2:] for key in groups))  # as they were run, ours first
    columns.sort(key=lambda column: not column[0].startswith("clad"))
    names = [
        method if [m for m, _ in columns].count(method) == 1 else f"{method} ({setting})"
        for method, setting in columns
    ]
    body = []
    for line in lines:
        found = [groups.get((*line, *column), []) for column in columns]
        for kind in _classes(found) if by_class else [None]:
            cells = [_values(cell, metric, kind) for cell in found]
            marks = _marks(cells, metric) if marked else [""] * len(cells)
            texts = [_text(values, mark) for values, mark in zip(cells, marks, strict=True)]
            if kind is not None:
                body.append([*line, kind, *texts])
                continue
            if metric == "auroc":
                texts = [f"{t}{_interval(cell)}" for t, cell in zip(texts, found, strict=True)]
                texts.append(f"{PAPER[line]:.1f}" if line in PAPER else "")
            body.append([*line, *texts])
    last = ["paper (one seed)"] if metric == "auroc" and not by_class else []
    head = ["data set", "normal", *(["anomalous"] if by_class else []), *names, *last]
    return head, body


def _classes(cells: list[list[dict[str, Any]]]) -> list[str]:
    """Every anomalous class of a line, in order."""
    return sorted({kind for rows in cells for row in rows for kind in row["auroc_by_class"]})


def _interval(rows: list[dict[str, Any]]) -> str:
    """The bootstrap interval where the test set is small enough to have one."""
    found = [row["auroc_interval"] for row in rows if row.get("auroc_interval")]
    if not found:
        return ""
    low, high = 100 * np.mean(found, axis=0)
    return f" [{low:.1f}, {high:.1f}]"


def _groups(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = (row["dataset"], row["scenario"], row["method"], row["setting"])
        groups.setdefault(key, []).append(row)
    return groups


def _order(line: tuple[str, ...]) -> tuple[int, int, str]:
    """Data sets and scenarios in the paper's order."""
    dataset, scenario = line
    known, named = list(SCENARIOS), list(SCENARIOS.get(dataset, ()))
    return (
        known.index(dataset) if dataset in known else len(known),
        named.index(scenario) if scenario in named else len(named),
        f"{dataset} {scenario}",
    )


def _values(rows: list[dict[str, Any]], metric: str, kind: str | None = None) -> list[float]:
    if kind is not None:
        return [100 * r["auroc_by_class"][kind] for r in rows if kind in r["auroc_by_class"]]
    if metric == "below_chance":
        return [100 * _below_chance(row) for row in rows]
    return [100 * row[metric] for row in rows]


def _below_chance(row: dict[str, Any]) -> float:
    """Share of the anomalous classes with an AUROC under 0.5."""
    return float(np.mean([value < 0.5 for value in row["auroc_by_class"].values()]))


def _marks(cells: list[list[float]], metric: str) -> list[str]:
    """** for the best mean, * for the second; none where one cannot say what is better."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    means = sorted({sign * round(float(np.mean(c)), 1) for c in cells if c}, reverse=True)
    if metric == "false_alarm_rate" or len(means) < 2:
        return [""] * len(cells)
    marks = dict(zip(means, ("**", "*"), strict=False))
    return [marks.get(sign * round(float(np.mean(c)), 1), "") if c else "" for c in cells]


def _text(values: list[float], mark: str) -> str:
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.1f} ({len(values)})" if len(values) > 1 else " (1)"
    return f"{mark}{np.mean(values):.1f}{mark}{spread}"


def _render(head: list[str], body: list[list[str]], form: str) -> str:
    if form == "csv":
        import csv
        import io

        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([head, *body])
        return text.getvalue().rstrip("\n")
    from tabulate import tabulate

    return str(tabulate(body, head, FORMATS[form], disable_numparse=True))
