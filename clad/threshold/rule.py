"""Rule: the one contract of every threshold, and Guarantee: what its false-alarm rate will be."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clad.errors import ConfigError, DataError, NotFittedError
from clad.metrics import score_vector

R = TypeVar("R", bound="Rule")


@dataclass(frozen=True)
class Guarantee:
    """What a threshold promises, in words and numbers.

    ``promised``: the false-alarm (or false-discovery) rate, None where nothing is promised.
    ``n``: calibration images. ``low``, ``high``: the 90% interval of the false-alarm rate that this
    calibration set leads to, None where no law gives one.
    """

    text: str
    promised: float | None
    n: int
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return self.text


class Rule(ABC):
    """A threshold learnt from scores of held-out normal images; higher = more anomalous.

    Parameters are keyword-only and stored in ``__init__``; ``fit`` learns what ends in ``_``:
    ``threshold_`` (float; anomaly if score > threshold_) and ``scores_`` (float64 (n,), the
    calibration scores in rising order). p-values are conformal whatever the rule.
    """

    needs_spread = True
    threshold_: float
    scores_: NDArray[np.float64]

    def fit(
        self: R,
        scores: ArrayLike,
        clusters: ArrayLike | None = None,
        *,
        train_counts: ArrayLike | None = None,
        synthetic: ArrayLike | None = None,
    ) -> R:
        """Learn from calibration scores (n,).

        ``clusters`` (n,) and ``train_counts`` (K,) are for Mondrian, ``synthetic`` (M,), scores of
        anomalies made from the calibration images, for SyntheticF1.

        DataError: no scores, NaN or infinity, all scores equal, or too few of them for the rule.
        """
        ordered = np.sort(score_vector(scores, "calibration scores"))
        if not len(ordered):
            raise DataError("no calibration scores: a threshold needs held-out normal images")
        if self.needs_spread and len(ordered) > 1 and ordered[0] == ordered[-1]:
            raise DataError(
                f"no variation: all {len(ordered)} calibration scores are {ordered[0]:g}"
            )
        self.threshold_ = float(self._learn(ordered))
        self.scores_ = ordered
        return self

    @abstractmethod
    def _learn(self, ordered: NDArray[np.float64]) -> float:
        """The threshold of these rising calibration scores (n,)."""

    @abstractmethod
    def guarantee(self) -> Guarantee:
        """What the fitted threshold promises, or that it promises nothing."""

    def p_values(self, scores: ArrayLike, clusters: ArrayLike | None = None) -> NDArray[np.float64]:
        """(1 + #{calibration scores >= s}) / (n + 1), float64 (N,) in (0, 1].

        Bates et al. 2021 (arXiv 2104.08279), equation 2: for a new normal image P(p <= a) <= a.
        """
        return conformal_p(self.scores_, score_vector(scores))

    def predict(self, scores: ArrayLike, clusters: ArrayLike | None = None) -> NDArray[np.int64]:
        """1 where a score lies above the threshold, else 0: int64 (N,). NaN is refused."""
        return (score_vector(scores) > self.threshold_).astype(np.int64)

    def __getattr__(self, name: str) -> Any:
        # Reached only for what does not exist yet: learnt attributes before fit.
        if name.endswith("_") and not name.startswith("_"):
            raise NotFittedError(f"{type(self).__name__} has no {name} yet: call fit first")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


def conformal_p(ordered: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Conformal p-values of scores (N,) among rising calibration scores (n,), by binary search."""
    at_least = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return (1 + at_least) / (len(ordered) + 1)


def rate(name: str, value: float) -> float:
    """A parameter strictly between 0 and 1, or ConfigError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise ConfigError(f"{name}={value!r} should be a number in (0, 1)")
    if not 0 < value < 1:
        raise ConfigError(f"{name}={value} should be in (0, 1)")
    return float(value)


def exact(value: float) -> Fraction:
    """The decimal the user wrote: 0.05 is 1/20, so that ceil((n + 1) * 0.95) has no float error."""
    return Fraction(str(value))


def needed(alpha: float) -> int:
    """Calibration images that split conformal needs: ceil(1 / alpha) - 1."""
    return math.ceil(1 / exact(alpha)) - 1


def percent(value: float) -> str:
    """A rate in percent without the sign: 5, 0.1; an end of an interval: 3.3, 7.0."""
    return f"{100 * value:.1f}" if value >= 0.01 else f"{100 * value:.2g}"
