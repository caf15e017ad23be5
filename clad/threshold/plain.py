"""The rules people know, each without a guarantee, and a threshold set by hand."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from clad.errors import ConfigError, DataError
from clad.threshold.rule import Guarantee, Rule, percent, rate


class Plain(Rule):
    """A rule that promises nothing, and says so beside what it did to the calibration images."""

    def guarantee(self) -> Guarantee:
        """No promise; the share of calibration scores above the threshold, in words."""
        n = len(self.scores_)
        above = float((self.scores_ > self.threshold_).mean())
        return Guarantee(
            f"no guarantee: {self._aim()}; {percent(above)}% of {n} calibration images lie above",
            None,
            n,
        )

    @abstractmethod
    def _aim(self) -> str:
        """What the rule hopes for, in a few words."""


class Aimed(Plain):
    """A plain rule that aims at a false-alarm rate of ``alpha`` under an assumption."""

    assumption: str

    def __init__(self, *, alpha: float = 0.05) -> None:
        self.alpha = rate("alpha", alpha)

    def _aim(self) -> str:
        return f"aims at {100 * self.alpha:.4g}% false alarms {self.assumption}"

    def _z(self) -> float:
        """The standard normal's upper ``alpha`` point."""
        from scipy.special import ndtri

        return float(-ndtri(self.alpha))


class Quantile(Aimed):
    """The interpolated 1 - alpha quantile of the scores; overshoots alpha by about 1 / n."""

    assumption = "as if the calibration images were all there are"

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        return float(np.quantile(ordered, 1 - self.alpha))


class Gaussian(Aimed):
    """mean + z_(1 - alpha) * standard deviation (of n - 1 degrees of freedom)."""

    assumption = "if scores are Gaussian"

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        if len(ordered) < 2:
            raise DataError("1 calibration image is too few for a standard deviation: 2 are needed")
        return float(ordered.mean() + self._z() * ordered.std(ddof=1))


class MAD(Aimed):
    """median + z_(1 - alpha) * 1.4826 * median absolute deviation (Leys et al. 2013).

    1.4826 = 1 / z_(3/4) makes the deviation that of a Gaussian.
    """

    assumption = "if scores are Gaussian but for outliers"

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        from scipy.special import ndtri

        middle = float(np.median(ordered))
        deviation = positive(np.median(np.abs(ordered - middle)), "median deviation")
        return middle + self._z() * deviation / float(ndtri(0.75))


class IQR(Plain):
    """Tukey's fence: upper quartile + ``whisker`` * interquartile range (Tukey 1977)."""

    def __init__(self, *, whisker: float = 1.5) -> None:
        if not (math.isfinite(whisker) and whisker >= 0):
            raise ConfigError(f"whisker={whisker} should be finite and >= 0")
        self.whisker = float(whisker)

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        lower, upper = np.quantile(ordered, [0.25, 0.75])
        return float(upper + self.whisker * positive(upper - lower, "interquartile range"))

    def _aim(self) -> str:
        return f"a fence {self.whisker:g} interquartile ranges above the upper quartile"


class KDE(Aimed):
    """Where a Gaussian kernel density of the scores leaves mass alpha.

    Bandwidth: standard deviation * (3 n / 4)^(-1/5) (Silverman 1986, equation 3.28).
    """

    assumption = "if the smoothed density is the true one"

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        from scipy.special import ndtr

        if len(ordered) < 2:
            raise DataError("1 calibration image is too few for a density: 2 are needed")
        width = float(ordered.std(ddof=1) * (0.75 * len(ordered)) ** -0.2)
        # Every kernel's own upper-alpha point lies z widths above its score, so the mixture's
        # lies between that of the lowest and that of the highest; one width more for rounding.
        z = self._z() * width
        low, high = ordered[0] + z - width, ordered[-1] + z + width
        for _ in range(60):  # halvings: down to a float's precision
            middle = (low + high) / 2
            above = ndtr((ordered - middle) / width).mean()
            low, high = (middle, high) if above > self.alpha else (low, middle)
        return float(high)


class Manual(Plain):
    """A threshold set by hand; calibration scores serve only its p-values."""

    needs_spread = False

    def __init__(self, *, value: float) -> None:
        if not math.isfinite(value):
            raise ConfigError(f"value={value} should be finite")
        self.value = float(value)

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        return self.value

    def _aim(self) -> str:
        return "a threshold set by hand"


def positive(spread: float, what: str) -> float:
    """A spread above zero, or DataError: ties can leave none where not all scores are equal."""
    if spread <= 0:
        raise DataError(f"the {what} of the calibration scores is 0: half of them or more are tied")
    return float(spread)
