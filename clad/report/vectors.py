"""The plots of a page: matplotlib's SVG, with text as text and colours that follow the page's."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad.report.canvas import ANOMALY, CLUSTERS, INK, NEUTRAL, NORMAL, drawing
from clad.report.plots import bin_edges
from clad.report.subject import Subject

SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "clad"}
POINTS = 400  # of a curve: a page has no more pixels for it
# What a colour of the pictures is called in the page's style sheet.
NAMES = {colour.lower(): f"var(--c{i})" for i, colour in enumerate(CLUSTERS)}
NAMES |= {INK.lower(): "var(--ink)", NEUTRAL.lower(): "var(--soft)"}


@dataclass(frozen=True)
class Plot:
    """An SVG element, and where its data lie.

    ``x``, ``y``: (value, value, place, place), two values and where they are drawn, in the units
    of the SVG; between them places are linear.
    """

    svg: str
    x: tuple[float, float, float, float]
    y: tuple[float, float, float, float]


def histogram(subject: Subject) -> Plot:
    """Scores of the calibration images and of the subject's, in shares of their own group."""
    calibration, scores = subject.calibration.scores, subject.scores
    edges = bin_edges(np.r_[calibration, scores], subject.rule.threshold_)
    with drawing(9, 3, **SVG) as figure:
        ax = figure.subplots()

        def bars(group: NDArray[np.float64], label: str, **look: Any) -> None:
            weights = np.full(len(group), 100 / max(1, len(group)))
            clipped = np.clip(group, edges[0], edges[-1])
            ax.hist(clipped, edges, weights=weights, label=label, **look)

        truth = subject.anomalous
        if truth is not None:
            bars(scores[~truth], "normal images", color=NORMAL, alpha=0.55)
            bars(scores[truth], "anomalies", color=ANOMALY, alpha=0.55)
        elif not subject.calibrating:
            bars(scores, "images", color=NORMAL, alpha=0.55)
        bars(calibration, "calibration images", color=INK, histtype="step", linewidth=1.2)
        ax.set(xlim=(edges[0], edges[-1]), xlabel="anomaly score", ylabel="% of its group")
        ax.legend(loc="upper right")
        return _plot(figure, ax, "Histogram of anomaly scores")


def roc(scores: NDArray[np.float64], anomalous: NDArray[np.bool_]) -> Plot:
    """Detections against false alarms over all thresholds."""
    from sklearn.metrics import roc_curve

    alarms, detected, _ = roc_curve(anomalous, scores)
    return _curve(alarms, detected, "ROC", "false-alarm rate", "detection rate", chance=True)


def precision_recall(scores: NDArray[np.float64], anomalous: NDArray[np.bool_]) -> Plot:
    """Precision against recall over all thresholds, anomalies being the positives."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(anomalous, scores)
    return _curve(
        recall[::-1], precision[::-1], "Precision and recall", "detection rate (recall)",
        "anomalies among the flagged (precision)",
    )  # fmt: skip


def curves(losses: Mapping[str, Sequence[float]]) -> Plot | None:
    """Mean loss an epoch, a panel a stage; None where there is none."""
    shown = {stage: curve for stage, curve in losses.items() if len(curve)}
    if not shown:
        return None
    with drawing(9, 2.4, **SVG) as figure:
        axes = np.atleast_1d(figure.subplots(1, len(shown)))
        for ax, (stage, curve) in zip(axes, shown.items(), strict=True):
            epochs = np.arange(1, len(curve) + 1)
            ax.plot(epochs, curve, "o-", color=NORMAL, markersize=3 if len(curve) < POINTS else 0)
            ax.set(title=stage, xlabel="epoch")
            ax.set_xlim(0.5, len(curve) + 0.5)
            ax.locator_params(axis="x", integer=True, nbins=6)
        axes[0].set_ylabel("mean loss")
        return _plot(figure, axes[0], f"Training curves of {', '.join(shown)}")


def embedded(figure: Any, name: str) -> str:
    """A finished figure as an SVG element, ``name`` being what it shows."""
    content = io.StringIO()
    figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[a-z0-9]+_\d+"', "", text)  # axes_1 and the like would be there twice
    text = re.sub("#[0-9a-f]{6}", lambda found: NAMES.get(found[0], found[0]), text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(name)}"', 1)


def _curve(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    title: str,
    xlabel: str,
    ylabel: str,
    chance: bool = False,
) -> Plot:
    kept = np.unique(np.linspace(0, len(x) - 1, POINTS).astype(np.int64))
    with drawing(4.4, 4.2, **SVG) as figure:
        ax = figure.subplots()
        if chance:
            ax.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=0.9, linestyle=":")
        ax.plot(x[kept], y[kept], color=NORMAL, linewidth=2)
        ax.set(xlim=(0, 1), ylim=(0, 1.005), title=title, xlabel=xlabel, ylabel=ylabel)
        return _plot(figure, ax, title)


def _plot(figure: Any, ax: Any, name: str) -> Plot:
    svg = embedded(figure, name)
    width, height = 72 * figure.get_size_inches()
    box = ax.get_position()
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    return Plot(
        svg,
        (left, right, width * box.x0, width * box.x1),
        (low, high, height * (1 - box.y0), height * (1 - box.y1)),
    )
