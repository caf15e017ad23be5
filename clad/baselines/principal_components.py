"""Principal components of the pixels: reconstruction error, and nearest neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clad.baselines.contract import Baseline, nearest, pixels
from clad.data.images import ImageSet
from clad.runtime import Runtime


class _PrincipalComponents(Baseline):
    def __init__(self, components: int = 50) -> None:
        self.components = components

    def fit(self, images: ImageSet, runtime: Runtime) -> _PrincipalComponents:
        """Find the components of the pixels, fewer where the images are fewer."""
        from sklearn.decomposition import PCA

        X = pixels(images)
        seed = runtime.seed_for("principal components") % 2**32
        self.pca_ = PCA(min(self.components, *X.shape), random_state=seed).fit(X)
        self.latents_ = self.pca_.transform(X).astype(np.float32)
        return self


class PCAReconstruction(_PrincipalComponents):
    """Squared error of the image rebuilt from its principal components, mean over pixels."""

    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Anomaly scores float64 (N,)."""
        X = pixels(images)
        rebuilt = self.pca_.inverse_transform(self.pca_.transform(X))
        return np.square(X - rebuilt, dtype=np.float64).mean(axis=1)


class PCANeighbours(_PrincipalComponents):
    """Mean distance to the 5 nearest normal images among the principal components."""

    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Anomaly scores float64 (N,)."""
        return nearest(self.pca_.transform(pixels(images)).astype(np.float32), self.latents_, 5)
