"""Thresholds with a proof: an order statistic of the calibration scores, and nothing assumed.

One new normal image is as likely to fall in any gap between n calibration scores as in any other,
whatever their distribution, if it is exchangeable with them. Sources: Laxhammar and Falkman 2010;
Bates et al. 2021 (arXiv 2104.08279); Vovk 2012 for the conditional form.
"""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from clad.errors import DataError
from clad.threshold.rule import Guarantee, Rule, exact, needed, percent, rate


class Conformal(Rule):
    """Split conformal: false alarms at most ``alpha`` on average over calibration sets.

    t = s_(k), k = ceil((n + 1)(1 - alpha)), of the rising calibration scores; needs k <= n.
    """

    def __init__(self, *, alpha: float = 0.05) -> None:
        self.alpha = rate("alpha", alpha)

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        return float(ordered[conformal_rank(len(ordered), self.alpha) - 1])

    def guarantee(self) -> Guarantee:
        """The promise, and the 90% interval of Beta(n + 1 - k, k)."""
        n = len(self.scores_)
        low, high = interval(n, conformal_rank(n, self.alpha))
        return Guarantee(
            f"{100 * self.alpha:.4g}% false alarms promised; with {n} calibration images "
            f"expect {percent(low)} to {percent(high)}% (90% interval)",
            self.alpha,
            n,
            low,
            high,
        )


class ConformalPAC(Rule):
    """Tolerance limit: false alarms at most ``alpha`` with probability 1 - ``delta``.

    t = s_(k) with the smallest k where P(Bin(n, 1 - alpha) <= k - 1) >= 1 - delta (Wilks 1941;
    Vovk 2012, proposition 2). Needs n >= ln delta / ln(1 - alpha).
    """

    def __init__(self, *, alpha: float = 0.05, delta: float = 0.05) -> None:
        self.alpha = rate("alpha", alpha)
        self.delta = rate("delta", delta)

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        return float(ordered[self._rank(len(ordered)) - 1])

    def _rank(self, n: int) -> int:
        from scipy.special import bdtr  # the binomial distribution function

        def confidence(below: int) -> float:
            return float(bdtr(below, n, 1 - self.alpha))

        wanted = 1 - self.delta - 1e-12  # where the two are equal, rounding must not cost a rank
        k = 1 + bisect_left(range(n), wanted, key=confidence)
        if k > n:
            least = math.ceil(math.log(self.delta) / math.log1p(-self.alpha))
            raise DataError(
                f"{n} calibration images are too few for alpha={self.alpha}, delta={self.delta}: "
                f"at least {least} are needed"
            )
        return k

    def guarantee(self) -> Guarantee:
        """The promise, its probability, and the 90% interval of Beta(n + 1 - k, k)."""
        n = len(self.scores_)
        low, high = interval(n, self._rank(n))
        return Guarantee(
            f"at most {100 * self.alpha:.4g}% false alarms promised with probability "
            f"{100 * (1 - self.delta):.4g}%; with {n} calibration images expect {percent(low)} "
            f"to {percent(high)}% (90% interval)",
            self.alpha,
            n,
            low,
            high,
        )


def conformal_rank(n: int, alpha: float) -> int:
    """k = ceil((n + 1)(1 - alpha)), exactly; DataError where k > n."""
    k = math.ceil((n + 1) * (1 - exact(alpha)))
    if k > n:
        raise DataError(
            f"{n} calibration images are too few for alpha={alpha}: "
            f"at least {needed(alpha)} are needed"
        )
    return k


def interval(n: int, k: int, coverage: float = 0.9) -> tuple[float, float]:
    """Central interval of the false-alarm rate above s_(k), Beta(n + 1 - k, k); lower with ties."""
    from scipy.special import betaincinv  # imported far quicker than scipy.stats

    tail = (1 - coverage) / 2
    low, high = betaincinv(n + 1 - k, k, [tail, 1 - tail])
    return float(low), float(high)
