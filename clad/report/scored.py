"""The page of scored images: what a Subject becomes in ``report.html`` and its script."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad.exhibits import Exhibits
from clad.report import plots, vectors
from clad.report.canvas import decimals
from clad.report.page import write_page
from clad.report.subject import Subject
from clad.report.verdict import verdict
from clad.runtime import derive_seed, log
from clad.thumbnails import COLUMNS

MAPPED = 3000  # dots on the map, at most
EMBEDDED = 1000  # of them by t-SNE; the others are placed among these
WIDTH, HEIGHTS, MARGIN = 900.0, (240.0, 560.0), 20.0  # of the map's SVG
FACTS = ("n_fit", "n_calibration", "n_test", "clusters", "nmi", "device", "commit")
Table = tuple[str, list[tuple[str, Any]]]  # a caption, keys and values


def write_report(path: Path, subject: Subject) -> None:
    """Write the page; sections that nothing is known for are left out."""
    placed = _map(subject)
    plotted = {"scores": vectors.histogram(subject)}
    truth = subject.anomalous
    if truth is not None and truth.any() and not truth.all():
        plotted["roc"] = vectors.roc(subject.scores, truth)
        plotted["pr"] = vectors.precision_recall(subject.scores, truth)
    curves = vectors.curves(subject.curves)
    kinds = {"image": subject.shown, "heat": subject.heatmaps, "fit": subject.gallery}
    sprites = {kind: shown for kind, shown in kinds.items() if shown is not None}
    for what, found in (
        ("thumbnails", subject.shown),
        ("gallery", subject.gallery),
        ("training curves", curves),
    ):
        if found is None:
            log.warning("%s: no %s known; the page is without them", subject.title, what)
    line = subject.scores > subject.rule.threshold_
    write_page(
        path,
        "report.html",
        script="report.js",
        title=subject.title,
        sections=_sections(subject, plotted, placed, curves),
        verdict=verdict(subject),
        plots=plotted,
        method=subject.config.threshold.method,
        decided_apart=bool((line != subject.flagged).any()),
        columns=_columns(subject),
        kinds=list(sprites),
        clusters=np.unique(subject.clusters).tolist(),
        labels=sorted(set(subject.labels)) if subject.labels else None,
        labelled=truth is not None,
        placed=placed,
        total=len(subject),
        curves=curves,
        tables=_tables(subject),
        sheets={kind: _sheets(shown) for kind, shown in sprites.items()},
        data={
            **_rows(subject),
            "calibration": [] if subject.calibrating else subject.calibration.scores.tolist(),
            "fitted_on": subject.fitted_on,
            "fitted": subject.calibration.train_counts.tolist(),
            "threshold": subject.rule.threshold_,
            "decimals": decimals(np.r_[subject.scores, subject.calibration.scores]),
            "axes": {name: {"x": plot.x, "y": plot.y} for name, plot in plotted.items()},
            "sprites": {kind: _sprite(shown, subject.names) for kind, shown in sprites.items()},
            "map": placed,
        },
    )


def _rows(subject: Subject) -> dict[str, Any]:
    """A value an image, in the order of the subject."""
    truth = subject.anomalous
    return {
        "names": list(subject.names),
        "scores": subject.scores.tolist(),
        "p": subject.p_values.tolist(),
        "clusters": subject.clusters.tolist(),
        "flagged": subject.flagged.astype(int).tolist(),
        "truth": None if truth is None else truth.astype(int).tolist(),
        "labels": subject.labels,
    }


def _sections(subject: Subject, plotted: Any, placed: Any, curves: Any) -> list[tuple[str, str]]:
    """The anchors and names of the sections that there are."""
    sections = {
        **{"verdict": "verdict", "scores": "scores", "rates": "ROC", "images": "images"},
        **{"latents": "map", "gallery": "clusters", "training": "training", "settings": "settings"},
    }
    there = {"rates": "roc" in plotted, "latents": placed, "training": curves}
    return [(key, name) for key, name in sections.items() if there.get(key, True)]


def _columns(subject: Subject) -> list[tuple[str, str, str]]:
    """The list's columns: what the script calls them, the head, the class of their cells."""
    columns = [
        *(("name", "file", "name"), ("score", "score", "number"), ("p", "p-value", "number")),
        *(("cluster", "cluster", "number"), ("decision", "decision", "")),
    ]
    if subject.anomalous is not None:
        columns.append(("truth", "truth", ""))
    if subject.labels is not None:
        columns.append(("label", "class", ""))
    return columns


def _map(subject: Subject) -> dict[str, Any] | None:
    """Which images are on the map, where in its SVG, and its height; None without latents."""
    if subject.shown is None:
        return None
    seed = derive_seed(subject.config.seed, "map")
    known = _positions(subject.shown, subject.names)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(known >= 0))[:MAPPED]
    latents = subject.shown.rows["latents"][known[order]]
    points = plots.embed(latents, seed % 2**32, first=EMBEDDED)
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-9)
    if span[0] < span[1]:  # lying, as the page is
        points, low, span = points[:, ::-1], low[::-1], span[::-1]
    height = float(np.clip((WIDTH - 2 * MARGIN) * span[1] / span[0] + 2 * MARGIN, *HEIGHTS))
    size = np.array([WIDTH, height])
    places = size / 2 + (points - low - span / 2) * ((size - 2 * MARGIN) / span).min()
    x, y = places.round(1).T.tolist()
    return {"image": order.tolist(), "x": x, "y": y, "height": round(height)}


def _positions(shown: Exhibits, names: Sequence[str]) -> NDArray[np.int64]:
    """Where each name is among those shown, -1 where it is not: int64 (N,)."""
    if list(names) == list(shown.names):  # names need not be unique then
        return np.arange(len(names))
    row = {name: i for i, name in enumerate(shown.names)}
    return np.array([row.get(name, -1) for name in names], np.int64)


def _sprite(shown: Exhibits, names: Sequence[str]) -> dict[str, Any]:
    """What the script needs to cut a thumbnail out of a sheet."""
    pictures = shown.thumbnails
    starts = np.cumsum([0, *pictures.counts])[:-1]
    known = {name: rows.tolist() for name, rows in shown.rows.items() if name == "clusters"}
    return {
        **{"size": pictures.size, "cell": pictures.cell, "columns": COLUMNS},
        **{"starts": starts.tolist(), "of": _positions(shown, names).tolist()},
        **(known and {**known, "names": list(shown.names)}),
    }


def _sheets(shown: Exhibits) -> list[str]:
    return [base64.b64encode(sheet.tobytes()).decode() for sheet in shown.thumbnails.sheets]


def _tables(subject: Subject) -> list[Table]:
    """What the run was, seconds a stage, versions, and the configuration section by section."""
    facts = subject.facts
    tables: list[Table] = []
    for caption, rows in (
        ("run", {key: facts[key] for key in FACTS if facts.get(key) is not None}),
        ("seconds", facts.get("seconds")),
        ("versions", facts.get("versions")),
    ):
        if rows:
            tables.append((caption, [(key, _said(value)) for key, value in rows.items()]))
    values = subject.config.model_dump(mode="json")
    alone = {key: value for key, value in values.items() if not isinstance(value, dict)}
    for section, keys in {"configuration": alone, **values}.items():
        if section not in alone:
            tables.append((section, [(key, _said(value)) for key, value in keys.items()]))
    return tables


def _said(value: Any) -> str:
    """A text as it is, the rest as YAML has it; no more digits than tell something."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
