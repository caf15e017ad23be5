"""Peaks over threshold: a tail fitted to the highest scores, for rates far under 1/n."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from clad.errors import ConfigError, DataError
from clad.threshold.plain import Aimed
from clad.threshold.rule import exact, rate

SHAPES = np.linspace(-30, 30, 241)  # log(1 + gamma / sigma * largest excess): where laws lie


class PeaksOverThreshold(Aimed):
    """Extreme-value tail for rates far under 1/n: a generalised Pareto law on the highest scores.

    Siffer et al. 2017, equation 1: t = u + sigma/gamma * ((alpha n / N_u)^(-gamma) - 1), with u the
    ``initial`` quantile, N_u the scores above it and (gamma, sigma) fitted to their excesses by
    maximum likelihood. Asymptotic only: at n = 200 it overshoots its target several times.
    """

    assumption = "in the limit of many calibration images, and overshoots with few"
    least_peaks = 10

    def __init__(self, *, alpha: float = 0.05, initial: float = 0.9) -> None:
        super().__init__(alpha=alpha)
        self.initial = rate("initial", initial)
        if self.alpha >= 1 - self.initial:
            raise ConfigError(
                f"alpha={alpha} should be < 1 - initial = {1 - self.initial:.4g}: the tail alone "
                "is modelled"
            )

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        from scipy.special import boxcox  # (x^gamma - 1) / gamma, its limit log x at gamma = 0

        u = float(np.quantile(ordered, self.initial))
        excesses = ordered[ordered > u] - u
        if len(excesses) < self.least_peaks:
            raise DataError(
                f"{len(excesses)} of {len(ordered)} calibration scores lie over the "
                f"{self.initial:g} quantile: {self.least_peaks} are needed, from about "
                f"{math.ceil(self.least_peaks / (1 - exact(self.initial)))} calibration images"
            )
        gamma, sigma = fit_pareto(excesses)
        tail = min(self.alpha * len(ordered) / len(excesses), 1.0)
        return u + sigma * float(boxcox(1 / tail, gamma))


def fit_pareto(excesses: NDArray[np.float64]) -> tuple[float, float]:
    """(gamma, sigma) of the generalised Pareto law under which excesses (m,) > 0 are likeliest.

    Grimshaw 1993: for a fixed theta = gamma / sigma the best gamma is mean log(1 + theta x), which
    leaves a mean log-likelihood of -log sigma - gamma - 1 to be searched over theta alone. Under
    gamma = -1 it has no maximum, so gamma >= -1.
    """
    largest, mean = float(excesses.max()), float(excesses.mean())

    def law(shape: float) -> tuple[float, float]:
        theta = math.expm1(shape) / largest
        gamma = float(np.log1p(theta * excesses).mean())
        return gamma, gamma / theta if theta else mean

    def cost(shape: float) -> float:
        gamma, sigma = law(shape)
        return math.log(sigma) + gamma if gamma >= -1 else math.inf

    shapes = SHAPES
    for _ in range(6):  # each grid is ten times finer; importing scipy's search takes far longer
        best = min(shapes, key=cost)
        step = shapes[1] - shapes[0]
        shapes = np.linspace(best - step, best + step, 21)
    return law(best)
