"""Tables of results: a line a scenario, a column a method, mean and deviation over seeds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from clad.benchmark.paper import printed
from clad.data.scenarios import ONE_CLASS, SCENARIOS
from clad.errors import DataError
from clad.report.ablation import swept_values, without

Line = tuple[str, str]  # data set and scenario
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
    by_part: bool = False,
) -> str:
    """Means in percent, ± the standard deviation over seeds, (seeds) where they are not all alike.

    An AUROC on a small test set is followed by its 95% bootstrap interval, mean over seeds. Beside
    AUROCs stand those that the paper prints for the same methods, and under the one-class lines of
    a data set their mean.
    ``by_class``: a line for each anomalous class, its AUROC against all normal images. ``by_part``:
    beside each method whose score is joined of parts, a column for each part alone, and for
    the score without it where the rows have that.
    The best mean of a line is marked ** and the second * (in CSV none is); false-alarm rates have
    no best. Rows of one method under several settings are columns of their own. Cells that failed
    are left out.

    Raises DataError where there is nothing to show.
    """
    head, body = grid(rows, metric, by_class=by_class, by_part=by_part, marked=form != "csv")
    return _render(head, body, form)


def grid(
    rows: Sequence[dict[str, Any]],
    metric: str = "auroc",
    *,
    by_class: bool = False,
    by_part: bool = False,
    marked: bool = True,
) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of ``table``, as texts."""
    if metric not in METRICS:
        raise DataError(f"unknown column {metric!r}; known are {', '.join(METRICS)}")
    if (by_class or by_part) and metric != "auroc":
        raise DataError(
            f"by {'class' if by_class else 'part'} there is the AUROC alone, not {metric}"
        )
    if by_class and by_part:
        raise DataError("a table is by class or by part, not both")
    finished = [row for row in rows if row["error"] is None]
    if not finished:
        raise DataError("no finished cells among the results")
    groups = _groups(_parts_apart(finished) if by_part else finished)
    lines = sorted({(key[0], key[1]) for key in groups}, key=_order)
    columns, names = _columns(groups)

    def cells_of(line: Line) -> list[list[dict[str, Any]]]:
        return [groups.get((*line, *column), []) for column in columns]

    def texts(cells: list[list[float]]) -> list[str]:
        marks = _marks(cells, metric) if marked else [""] * len(cells)
        return [_text(values, mark) for values, mark in zip(cells, marks, strict=True)]

    if by_class:
        body = [
            [*line, kind, *texts([_values(cell, metric, kind) for cell in cells_of(line)])]
            for line in lines
            for kind in _classes(cells_of(line))
        ]
        return ["data set", "normal", "anomalous", *names], body

    methods = dict.fromkeys(method.removesuffix(":paper") for method, _ in columns)
    theirs = [m for m in methods if metric == "auroc" and any((*a, m) in printed() for a in lines)]

    def printed_of(some: Sequence[Line]) -> list[str]:
        """The paper's numbers, means over these lines; none where it lacks one of them."""
        means = [np.mean([printed().get((*line, m), np.nan) for line in some]) for m in theirs]
        return ["" if np.isnan(mean) else f"{mean:.1f}" for mean in means]

    def line_of(line: Line) -> list[str]:
        cells = cells_of(line)
        shown = texts([_values(cell, metric) for cell in cells])
        if metric == "auroc":
            shown = [f"{t}{_interval(cell)}" for t, cell in zip(shown, cells, strict=True)]
        return [*line, *shown, *printed_of([line])]

    def mean_of(some: Sequence[Line]) -> list[str]:
        ours = zip(*map(cells_of, some), strict=True)
        means = texts([_mean_over_classes(cells, metric) for cells in ours])
        return [some[0][0], f"one-class, mean of {len(some)}", *means, *printed_of(some)]

    body = []
    for _, found in groupby(lines, lambda line: line[0]):
        of_dataset = list(found)
        body += [line_of(line) for line in of_dataset]
        one_class = [line for line in of_dataset if line[1].startswith(ONE_CLASS)]
        if len(one_class) > 1:
            body.append(mean_of(one_class))
    return ["data set", "normal", *names, *(f"paper's {m} (one seed)" for m in theirs)], body


def _columns(
    groups: Mapping[tuple[str, ...], Sequence[dict[str, Any]]],
) -> tuple[list[tuple[str, ...]], list[str]]:
    """Method and setting of each column, and its name.

    Ours first, as they were run; those of an ablation by what was swept, which their names say. The
    setting is named where nothing else tells two columns apart.
    """
    sweeps = {key[2:]: rows[0].get("sweep") or {} for key, rows in groups.items()}
    swept = [rows[0] for rows in groups.values() if rows[0].get("sweep")]
    keys = dict.fromkeys(key for row in swept for key in row["sweep"])
    values = {k: swept_values([r for r in swept if k in r["sweep"]], k) for k in keys}
    methods = list(dict.fromkeys(method for method, _ in sweeps))

    def place(column: tuple[str, ...]) -> tuple[Any, ...]:
        method = column[0]
        point = [values[key].index(value) for key, value in sweeps[column].items()]
        return not method.startswith("clad"), methods.index(method), point

    columns = sorted(sweeps, key=place)
    names = [
        ", ".join([column[0], *(f"{key} = {value}" for key, value in sweeps[column].items())])
        for column in columns
    ]
    once = [name for name, n in Counter(names).items() if n == 1]
    return columns, [
        name if name in once else f"{name} ({setting})"
        for name, (_, setting) in zip(names, columns, strict=True)
    ]


def _mean_over_classes(cells: Sequence[list[dict[str, Any]]], metric: str) -> list[float]:
    """A mean a seed, of the seeds that every cell has."""
    by_seed = [
        {row["seed"]: value for row, value in zip(c, _values(c, metric), strict=True)}
        for c in cells
    ]
    common = set.intersection(*(set(values) for values in by_seed))
    return [float(np.mean([values[seed] for values in by_seed])) for seed in sorted(common)]


def _classes(cells: list[list[dict[str, Any]]]) -> list[str]:
    """Every anomalous class of a line, in order."""
    return sorted({kind for rows in cells for row in rows for kind in row["auroc_by_class"]})


def _parts_apart(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that have parts, each followed by its parts as if they were methods.

    And by what the others say together, where a row knows it.
    """
    apart = [
        {**row, "method": method, "auroc": auroc, "auroc_interval": None}
        for row in rows
        if row.get("auroc_by_part")
        for method, auroc in (
            (row["method"], row["auroc"]),
            *((f"{row['method']}: {part}", auroc) for part, auroc in row["auroc_by_part"].items()),
            *((f"{row['method']} without {part}", auroc) for part, auroc in without(row).items()),
        )
    ]
    if not apart:
        raise DataError("no cell among the results has a score that is joined of parts")
    return apart


def _interval(rows: list[dict[str, Any]]) -> str:
    """The bootstrap interval where the test set is small enough to have one."""
    found = [row["auroc_interval"] for row in rows if row.get("auroc_interval")]
    if not found:
        return ""
    low, high = 100 * np.mean(found, axis=0)
    return f" [{low:.1f}, {high:.1f}]"


def _groups(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Rows of one cell and its seeds, by data set, scenario, method and setting.

    The setting is left out of a method that has one on each data set: its recipe, which differs
    from data set to data set, and its rows are one column. An ablation's points are methods here.
    """

    def point(row: dict[str, Any]) -> str:
        return json.dumps(row["sweep"], sort_keys=True) if row.get("sweep") else ""

    settings: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        where = (row["method"], point(row), row["dataset"])
        settings.setdefault(where, set()).add(row["setting"])
    several = {(method, at) for (method, at, _), found in settings.items() if len(found) > 1}
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        method, at = row["method"], point(row)
        column = row["setting"] if (method, at) in several else at
        groups.setdefault((row["dataset"], row["scenario"], method, column), []).append(row)
    return groups


def _order(line: Line) -> tuple[int, int, str]:
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
