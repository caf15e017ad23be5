"""Detectors of outliers in tables, PyOD's, on principal components of the pixels."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad.baselines.contract import Baseline, pixels
from clad.data.images import ImageSet
from clad.errors import ConfigError
from clad.runtime import Runtime


class _Outliers(Baseline):
    """``components``: kept, fewer where the images are fewer; standardised."""

    def __init__(self, components: int = 50) -> None:
        self.components = components

    @abstractmethod
    def detector(self, seed: int) -> Any:
        """PyOD's, not yet fitted."""

    def fit(self, images: ImageSet, runtime: Runtime) -> _Outliers:
        """Fit on the images. Raises ConfigError where PyOD is not installed."""
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        X = pixels(images)
        seed = runtime.seed_for("outliers") % 2**32
        try:
            self.detector_ = self.detector(seed)
        except ImportError:
            raise ConfigError("this method is PyOD's: pip install 'clad[pyod]'") from None
        kept = PCA(min(self.components, *X.shape), random_state=seed)
        self.preparation_ = make_pipeline(kept, StandardScaler()).fit(X)
        self.detector_.fit(self.preparation_.transform(X))
        return self

    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Anomaly scores float64 (N,)."""
        X = self.preparation_.transform(pixels(images))
        return np.asarray(self.detector_.decision_function(X), np.float64)


class ECOD(_Outliers):
    """Empirical tail probabilities of each component (Li et al. 2022, arXiv 2201.00382)."""

    def detector(self, seed: int) -> Any:
        """It has no parameter, and nothing at random."""
        from pyod.models.ecod import ECOD as Detector  # noqa: N811

        return Detector()


class IsolationForest(_Outliers):
    """How few random cuts isolate an image (Liu et al. 2008)."""

    def detector(self, seed: int) -> Any:
        """A hundred trees, PyOD's default."""
        from pyod.models.iforest import IForest

        return IForest(random_state=seed)
