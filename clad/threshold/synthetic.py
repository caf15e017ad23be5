"""The threshold with the best F1 against anomalies synthesised from the calibration images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clad.errors import DataError
from clad.metrics import score_vector
from clad.threshold.plain import Plain


class SyntheticF1(Plain):
    """Largest F1 of the calibration scores against scores of anomalies made from those images.

    F1 = 2 TP / (2 TP + FP + FN) with the balance of n calibration and M synthetic scores as given.
    The threshold lies halfway between two neighbouring scores; of equal F1s the highest threshold
    is taken, which has the fewest false alarms. How real anomalies score it cannot know.
    """

    synthetic_: NDArray[np.float64]

    def fit(
        self,
        scores: ArrayLike,
        clusters: ArrayLike | None = None,
        *,
        train_counts: ArrayLike | None = None,
        synthetic: ArrayLike | None = None,
    ) -> SyntheticF1:
        """Learn from calibration scores (n,) and scores of synthesised anomalies (M,).

        DataError also without ``synthetic``; a fitted CLAD hands them on by itself.
        """
        made = score_vector([] if synthetic is None else synthetic, "synthetic scores")
        if not len(made):
            raise DataError(
                "the synthetic-f1 rule needs scores of synthesised anomalies: pass "
                "synthetic=scores, or take another rule"
            )
        self.synthetic_ = made
        super().fit(scores)
        return self

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        # Tied scores fall together, so a cut is possible between distinct scores alone, and below
        # the lowest, where everything is flagged.
        distinct = np.unique(np.concatenate([ordered, self.synthetic_]))
        lower = np.r_[distinct[0] - max(1.0, abs(distinct[0])), distinct[:-1]]
        hits = len(self.synthetic_) - np.searchsorted(np.sort(self.synthetic_), distinct)
        alarms = len(ordered) - np.searchsorted(ordered, distinct)
        f1 = 2 * hits / (hits + alarms + len(self.synthetic_))
        best = len(f1) - 1 - int(np.argmax(f1[::-1]))
        halfway = lower[best] + (distinct[best] - lower[best]) / 2
        return float(halfway if halfway < distinct[best] else lower[best])

    def _aim(self) -> str:
        return (
            f"best F1 against {len(self.synthetic_)} synthesised anomalies, which real ones need "
            "not be like"
        )
