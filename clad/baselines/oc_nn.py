"""One-class neural network (Chalapathy, Menon and Chawla 2018)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clad.baselines.encoder import BATCH, adam, epochs_for
from clad.baselines.latents import Autoencoded
from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.training import train


class OCNN(Autoencoded):
    """A hyperplane <w, g(V z)> >= r through a hidden layer, on latents of a trained autoencoder.

    Minimises |w|^2 / 2 + |V|^2 / 2 + mean(max(0, r - <w, g(V z)>)) / nu - r (equation 4) by turns:
    w and V by gradient, and r as the nu-quantile of <w, g(V z)> (theorem 1), before each epoch.
    """

    def __init__(self, hidden: int = 32, nu: float = 0.1, steps_on_latents: int = 1000) -> None:
        super().__init__(latent_dim=32)
        self.hidden = hidden
        self.nu = nu
        self.steps_on_latents = steps_on_latents

    def fit(self, images: ImageSet, runtime: Runtime) -> OCNN:
        """Train the autoencoder, then the hyperplane."""
        super().fit(images, runtime)
        self.scale_ = float(self.latents_.std()) + 1e-6  # not centred: the plane is seen from 0
        z = self._scaled(self.latents_).to(runtime.device)
        with runtime.seeded("oc-nn", "weights"):
            network = nn.Sequential(
                nn.Linear(z.shape[1], self.hidden, bias=False),
                nn.Sigmoid(),
                nn.Linear(self.hidden, 1, bias=False),
            ).to(runtime.device)
        r = torch.zeros((), device=z.device)

        def quantile(_: int) -> bool:
            nonlocal r
            with torch.no_grad():
                r = torch.quantile(network(z)[:, 0], self.nu)
            return False

        def loss(positions: NDArray[np.int64], _: torch.Generator) -> Tensor:
            below = (r - network(z[positions])[:, 0]).clamp_min(0).mean()
            weights = torch.stack([weight.square().sum() for weight in network.parameters()])
            return weights.sum() / 2 + below / self.nu - r

        train(
            "oc-nn",
            network,
            adam(network, 1e-3, 0.0),
            loss,
            len(z),
            epochs=epochs_for(self.steps_on_latents, len(z)),
            batch_size=BATCH,
            runtime=runtime,
            before_epoch=quantile,
        )
        self.network_ = network.eval()
        return self

    @torch.inference_mode()
    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Minus <w, g(V z)>, float64 (N,): r less, in the same order."""
        z = self._scaled(self.autoencoder_.transform(images, runtime)).to(runtime.device)
        return -self.network_(z)[:, 0].double().cpu().numpy()

    def _scaled(self, latents: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(latents / self.scale_)
