"""Benjamini-Hochberg: flag a batch so that few of the flagged images are false alarms."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clad.threshold.conformal import conformal_rank
from clad.threshold.rule import Guarantee, Rule, rate


class BenjaminiHochberg(Rule):
    """False discovery rate at most ``alpha``: the share of false alarms among what is flagged.

    Benjamini and Hochberg 1995 on conformal p-values; Bates et al. 2021, theorem 2, for p-values
    that share one calibration set. ``predict`` takes its scores as one batch, and what it says
    of an image depends on the others. ``threshold_`` is the lowest the batch's own threshold can be
    (nothing at or below it is ever flagged): split conformal at ``alpha``.
    """

    def __init__(self, *, alpha: float = 0.05) -> None:
        self.alpha = rate("alpha", alpha)

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        return float(ordered[conformal_rank(len(ordered), self.alpha) - 1])

    def predict(self, scores: ArrayLike, clusters: ArrayLike | None = None) -> NDArray[np.int64]:
        """1 for the j* smallest p-values, j* = max{j : p_(j) <= j alpha / m}: int64 (m,)."""
        p = self.p_values(scores)
        rising, m = np.sort(p), len(p)
        # p is a multiple of 1 / (n + 1): equality must not be lost to rounding.
        passed = rising[m * rising <= self.alpha * np.arange(1, m + 1) * (1 + 1e-12)]
        return (p <= passed.max(initial=0.0)).astype(np.int64)

    def guarantee(self) -> Guarantee:
        """The promise; no interval, because it depends on the batch."""
        n = len(self.scores_)
        return Guarantee(
            f"at most {100 * self.alpha:.4g}% of the flagged images of a batch are false alarms, "
            f"on average; with {n} calibration images",
            self.alpha,
            n,
        )
