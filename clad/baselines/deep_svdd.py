"""Deep SVDD (Ruff et al. 2018): features of normal images drawn to one point."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clad.baselines.contract import Baseline, in_batches
from clad.baselines.encoder import BATCH, LeNet, adam, epochs_for, global_contrast
from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.training import train


class DeepSVDD(Baseline):
    """The one-class objective: mean squared distance of the features to a fixed centre.

    The encoder is trained as an autoencoder's first; the centre is the mean of its features, whose
    components near 0 are moved to 0.1, since zero weights would reach 0.
    """

    def __init__(self, latent_dim: int = 32, pretraining: int = 2000, steps: int = 2000) -> None:
        self.latent_dim = latent_dim
        self.pretraining = pretraining
        self.steps = steps

    def fit(self, images: ImageSet, runtime: Runtime) -> DeepSVDD:
        """Train the autoencoder, then the encoder alone."""
        with runtime.seeded("deep svdd", "weights"):
            network = LeNet(images.shape, self.latent_dim)
        runtime.place(network)

        def read(positions: NDArray[np.int64]) -> Tensor:
            return runtime.floats(images.read(positions))

        def reconstruct(positions: NDArray[np.int64], _: torch.Generator) -> Tensor:
            x = read(positions)
            return F.mse_loss(network(x), global_contrast(x))

        def contract(positions: NDArray[np.int64], _: torch.Generator) -> Tensor:
            return (network.encode(read(positions)) - center).square().sum(dim=1).mean()

        for name, loss, steps, trained in (
            ("deep svdd: autoencoder", reconstruct, self.pretraining, network),
            ("deep svdd", contract, self.steps, network.encoder),
        ):
            if loss is contract:
                center = _away_from_zero(self._features(network, images, runtime).mean(dim=0))
            train(
                name,
                trained,
                adam(trained, 1e-3, 1e-6),
                loss,
                len(images),
                epochs=epochs_for(steps, len(images)),
                batch_size=BATCH,
                schedule="one-cycle",
                runtime=runtime,
            )
        self.network_, self.center_ = network.eval(), center
        return self

    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Squared distance to the centre, float64 (N,)."""
        features = self._features(self.network_, images, runtime)
        return (features - self.center_).double().square().sum(dim=1).cpu().numpy()

    @torch.inference_mode()
    def _features(self, network: LeNet, images: ImageSet, runtime: Runtime) -> Tensor:
        network.eval()
        return torch.cat([network.encode(x) for x in in_batches(images, runtime)])


def _away_from_zero(center: Tensor, margin: float = 0.1) -> Tensor:
    """Components under ``margin`` moved to it, sign kept."""
    sign = torch.where(center < 0, -1.0, 1.0)
    return torch.where(center.abs() < margin, margin * sign, center)
