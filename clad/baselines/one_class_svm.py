"""One-class support vector machine (Schoelkopf et al. 2001), scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad.baselines.contract import Baseline, pixels
from clad.data.images import ImageSet
from clad.runtime import Runtime


class OneClassSVM(Baseline):
    """Gaussian kernel on standardised principal components that keep 95% of the variance.

    ``nu``: bound on the share of normal images outside. The solver's cost is quadratic in the
    images, so at most ``limit`` of them, drawn at random, are used.
    """

    def __init__(self, nu: float = 0.1, limit: int = 5000) -> None:
        self.nu = nu
        self.limit = limit

    def fit(self, images: ImageSet, runtime: Runtime) -> OneClassSVM:
        """Fit on (a sample of) the images."""
        from sklearn import svm
        from sklearn.pipeline import make_pipeline

        if len(images) > self.limit:
            rng = runtime.rng("one-class svm")
            images = images.take(rng.choice(len(images), self.limit, replace=False))
        self.model_ = make_pipeline(
            *self.preparation(), svm.OneClassSVM(nu=self.nu, gamma="scale")
        ).fit(pixels(images))
        return self

    def preparation(self) -> list[Any]:
        """What comes before the kernel."""
        from sklearn.decomposition import PCA
        from sklearn.preprocessing import StandardScaler

        return [PCA(0.95, svd_solver="full"), StandardScaler()]

    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Minus the distance to the boundary, float64 (N,)."""
        return -np.asarray(self.model_.decision_function(pixels(images)), np.float64)
