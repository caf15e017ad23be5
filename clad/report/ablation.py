"""The picture of an ablation: AUROC over the swept key, a line a scenario; two keys are a map each.

A line is drawn as in the paper's figure 3. Of variants it is what each takes or brings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clad.report.canvas import CLUSTERS, INK, NEUTRAL, picture

Row = Mapping[str, Any]
CHANCE = 50.0  # % AUROC
VARIANT = "variant"  # what stands in the place of a swept key
BASE = "default"  # the variant that others are compared with
MARKERS = ("o", "s", "^", "D", "v", "P")


def draw_ablation(path: Path, rows: Sequence[Row], title: str) -> None:
    """``rows``: finished cells with ``sweep``, ``scenario`` and ``auroc``."""
    with picture(path, 7.5, 4.5) as figure:
        fill(figure, rows, title)


def fill(figure: Any, rows: Sequence[Row], title: str) -> None:
    """The same on a figure; maps and variants change its size."""
    keys = list(rows[0]["sweep"])
    if keys == [VARIANT]:
        _variants(figure, rows, title)
    elif len(keys) == 1:
        _lines(figure, rows, keys[0], title)
    else:
        _maps(figure, rows, keys[0], keys[1], title)


def swept_values(rows: Sequence[Row], key: str) -> list[Any]:
    """The values of a swept key: numbers ascending, then the others as they come.

    Cells of several processes are rows in the order in which they were done.
    """
    values = list(dict.fromkeys(row["sweep"][key] for row in rows))
    return sorted(filter(_is_number, values)) + [v for v in values if not _is_number(v)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _scenarios(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["scenario"] for row in rows))


def _aurocs(rows: Sequence[Row], scenario: str, **point: Any) -> list[float]:
    return [
        100 * row["auroc"]
        for row in rows
        if row["scenario"] == scenario and all(row["sweep"][k] == v for k, v in point.items())
    ]


def _lines(figure: Any, rows: Sequence[Row], key: str, title: str) -> None:
    values = swept_values(rows, key)
    numeric = all(map(_is_number, values))
    places = np.array(values, float) if numeric else np.arange(len(values))
    ax = figure.subplots()
    for number, scenario in enumerate(_scenarios(rows)):
        cells = [_aurocs(rows, scenario, **{key: value}) for value in values]
        mean = np.array([np.mean(c) if c else np.nan for c in cells])
        spread = np.array([np.std(c, ddof=1) if len(c) > 1 else 0.0 for c in cells])
        colour = CLUSTERS[number % len(CLUSTERS)]
        ax.plot(places, mean, "o-" if numeric else "o", color=colour, label=scenario)
        ax.fill_between(places, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
    ax.set_xticks(places, [str(value) for value in values])
    low, high = ax.get_ylim()
    if low < CHANCE < high:
        ax.axhline(CHANCE, color=NEUTRAL, linestyle=":", linewidth=1)
    ax.set(title=title, xlabel=key, ylabel="AUROC, %")
    ax.legend(title="normal")


def without(row: Row) -> Mapping[str, float]:
    """The AUROC without each of the score's parts; rows of before have none."""
    found: Mapping[str, float] = row.get("auroc_without_part", {})
    return found


def changes(rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """By variant and scenario, how much more % AUROC than ``BASE``, a number for each common seed.

    That without each of its score's parts is a variant too. A scenario that a variant or ``BASE``
    was not run on is left out.
    """
    cells: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        aurocs = {row["sweep"][VARIANT]: row["auroc"]}
        if BASE in aurocs:
            aurocs |= {f"score without {part}": value for part, value in without(row).items()}
        for variant, auroc in aurocs.items():
            cells.setdefault((variant, row["scenario"]), {})[row["seed"]] = 100 * auroc
    others = dict.fromkeys(variant for variant, _ in cells if variant != BASE)
    found: dict[str, dict[str, list[float]]] = {variant: {} for variant in others}
    for (variant, scenario), cell in cells.items():
        base = cells.get((BASE, scenario), {})
        common = sorted(cell.keys() & base.keys())
        if variant != BASE and common:
            found[variant][scenario] = [cell[s] - base[s] for s in common]
    return {variant: by for variant, by in found.items() if by}


def mean_change(by: Mapping[str, Sequence[float]]) -> float:
    """Of a variant's changes by scenario: each scenario counts once, however many seeds it has."""
    return float(np.mean([np.mean(values) for values in by.values()]))


def _variants(figure: Any, rows: Sequence[Row], title: str) -> None:
    found = changes(rows)
    means = [mean_change(by) for by in found.values()]
    figure.set_size_inches(9, 1.5 + 0.4 * max(len(found), 8))
    ax = figure.subplots()
    ax.axvline(0, color=NEUTRAL, linewidth=1)
    for number, scenario in enumerate(_scenarios(rows)):
        places = [place for place, by in enumerate(found.values()) if scenario in by]
        values = [np.mean(by[scenario]) for by in found.values() if scenario in by]
        look = {"color": CLUSTERS[number % len(CLUSTERS)], "alpha": 0.8, "label": scenario}
        ax.plot(values, places, MARKERS[number % len(MARKERS)], **look)
    ax.plot(means, range(len(found)), "|", color=INK, ms=18, mew=2, label="mean")
    names = [f"{name}  ({mean:+.1f})" for name, mean in zip(found, means, strict=True)]
    ax.set_yticks(range(len(found)), names)
    ax.invert_yaxis()
    ax.set(title=title, xlabel=f"AUROC less that of {BASE!r}, points")
    figure.legend(loc="outside right upper", title="normal")


def _maps(figure: Any, rows: Sequence[Row], across: str, down: str, title: str) -> None:
    scenarios, columns, lines = (
        _scenarios(rows),
        swept_values(rows, across),
        swept_values(rows, down),
    )
    means = {
        scenario: np.array(
            [
                [
                    np.mean(_aurocs(rows, scenario, **{across: a, down: d}) or [np.nan])
                    for a in columns
                ]
                for d in lines
            ]
        )
        for scenario in scenarios
    }
    low, high = (extreme([*means.values()]) for extreme in (np.nanmin, np.nanmax))
    figure.set_size_inches(1.5 + 3.2 * len(scenarios), 1.6 + 0.5 * len(lines))
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    axes = np.atleast_1d(figure.subplots(1, len(scenarios), sharey=True))
    for ax, (scenario, values) in zip(axes, means.items(), strict=True):
        ax.imshow(values, cmap="cividis", aspect="auto", vmin=low, vmax=high)
        for (i, j), value in np.ndenumerate(values):
            colour = "white" if value < (low + high) / 2 else "black"
            ax.text(j, i, f"{value:.1f}", ha="center", va="center", color=colour, fontsize=8)
        ax.set(title=scenario, xlabel=across)
        ax.set_xticks(range(len(columns)), [str(c) for c in columns])
        ax.set_yticks(range(len(lines)), [str(d) for d in lines])
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel(down)
