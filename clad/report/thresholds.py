"""The picture of every threshold rule side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad.calibration import Trial
from clad.report.canvas import ANOMALY, INK, NEUTRAL, NORMAL, picture


def compare_rules(
    path: Path, scores: NDArray[np.float64], trials: Sequence[Trial], chosen: str, alpha: float
) -> None:
    """Where each rule draws the line among the calibration scores (n,), and what it promises.

    Left: thresholds over the histogram of scores. Right: the false-alarm rate promised, its 90%
    interval, and the one measured on folds, with ``alpha`` as a line. ``chosen`` is marked.
    """
    shown = [trial for trial in trials if trial.threshold is not None]
    rows = np.arange(len(shown))
    with picture(path, 9.5, 1.6 + 0.34 * len(shown)) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.2, 1])
        _histogram(left, scores, len(shown))
        for row, trial in zip(rows, shown, strict=True):
            bold = trial.method == chosen
            left.plot(
                trial.threshold,
                row,
                "D" if bold else "o",
                color=ANOMALY if bold else INK,
                markersize=8 if bold else 6,
            )
            if trial.low is not None and trial.high is not None:
                right.plot([100 * trial.low, 100 * trial.high], [row, row], color=NORMAL, lw=4)
            if trial.promised is not None:
                right.plot(100 * trial.promised, row, "|", color=INK, markersize=14, mew=2)
            if trial.measured is not None:
                right.plot(100 * trial.measured, row, "o", color=ANOMALY, markersize=6)
        left.set(title="Threshold", xlabel="anomaly score", ylim=(len(shown) - 0.4, -0.6))
        left.set_yticks(rows, [trial.method for trial in shown])
        right.axvline(100 * alpha, color=NEUTRAL, linestyle=":", linewidth=1)
        right.set(title="False alarms", xlabel="% of normal images")
        right.set_xlim(left=0)
        right.tick_params(left=False)
        _legend(right)


def _histogram(ax: Any, scores: NDArray[np.float64], height: int) -> None:
    counts, edges = np.histogram(scores, 60)
    scaled = (height - 0.4) - counts / max(counts.max(), 1) * (height - 0.2)
    ax.fill_between(edges, np.r_[scaled, scaled[-1]], height, step="post", color=NEUTRAL, alpha=0.2)


def _legend(ax: Any) -> None:
    from matplotlib.lines import Line2D

    ax.legend(
        handles=[
            Line2D([], [], color=INK, marker="|", markersize=12, mew=2, lw=0, label="promised"),
            Line2D([], [], color=NORMAL, lw=4, label="90% interval"),
            Line2D([], [], color=ANOMALY, marker="o", lw=0, label="measured on folds"),
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=3,
    )
