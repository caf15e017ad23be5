"""Nearest neighbours and reconstruction error of CLAD's own first stage."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clad.baselines.contract import Baseline, in_batches, nearest
from clad.baselines.encoder import BATCH, epochs_for
from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.autoencoder import Autoencoder


class Autoencoded(Baseline):
    """What is built on the autoencoder of stage 1."""

    def __init__(self, latent_dim: int = 10, steps: int = 1000) -> None:
        self.latent_dim = latent_dim
        self.steps = steps

    def fit(self, images: ImageSet, runtime: Runtime) -> Autoencoded:
        """Train the autoencoder of stage 1, for the same number of steps however few the images."""
        self.autoencoder_ = Autoencoder(
            latent_dim=self.latent_dim, epochs=epochs_for(self.steps, len(images)), batch_size=BATCH
        ).fit(images, runtime)
        self.latents_ = self.autoencoder_.transform(images, runtime)
        return self


class LatentNeighbours(Autoencoded):
    """Mean distance to the 5 nearest normal images among the autoencoder's latents."""

    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Anomaly scores float64 (N,)."""
        return nearest(self.autoencoder_.transform(images, runtime), self.latents_, 5)


class Reconstruction(Autoencoded):
    """Squared error of the autoencoder's reconstruction, mean over pixels."""

    @torch.inference_mode()
    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Anomaly scores float64 (N,)."""
        network = self.autoencoder_.network_
        errors = []
        for x in in_batches(images, runtime):
            errors.append((network(x) - x).double().square().mean(dim=(1, 2, 3)).cpu().numpy())
        return np.concatenate(errors)
