"""One-class convolutional neural network (Oza and Patel 2019)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from clad.baselines.encoder import BATCH, adam, epochs_for
from clad.baselines.latents import Autoencoded
from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.training import train


class OCCNN(Autoencoded):
    """A classifier of normal features against zero-centred Gaussian noise of deviation ``sigma``.

    The authors' features are those of an AlexNet or VGG trained on other images; here, where
    nothing but the normal images is allowed, they are latents of a trained autoencoder, normalised
    image by image as in the paper.
    """

    def __init__(self, hidden: int = 128, sigma: float = 0.1, steps_on_latents: int = 1000) -> None:
        super().__init__(latent_dim=32)
        self.hidden = hidden
        self.sigma = sigma
        self.steps_on_latents = steps_on_latents

    def fit(self, images: ImageSet, runtime: Runtime) -> OCCNN:
        """Train the autoencoder, then the classifier."""
        super().fit(images, runtime)
        z = _normalised(self.latents_).to(runtime.device)
        with runtime.seeded("oc-cnn", "weights"):
            network = nn.Sequential(
                nn.Linear(z.shape[1], self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1)
            ).to(runtime.device)

        def loss(positions: NDArray[np.int64], generator: torch.Generator) -> Tensor:
            normal = z[positions]
            noise = self.sigma * torch.randn(normal.shape, generator=generator).to(z.device)
            logits = network(torch.cat([normal, noise]))[:, 0]
            targets = torch.cat([torch.ones(len(normal)), torch.zeros(len(noise))]).to(z.device)
            return F.binary_cross_entropy_with_logits(logits, targets)

        train(
            "oc-cnn",
            network,
            adam(network, 1e-4, 0.0),
            loss,
            len(z),
            epochs=epochs_for(self.steps_on_latents, len(z)),
            batch_size=BATCH,
            runtime=runtime,
        )
        self.network_ = network.eval()
        return self

    @torch.inference_mode()
    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Minus the logit of being normal, float64 (N,)."""
        z = _normalised(self.autoencoder_.transform(images, runtime)).to(runtime.device)
        return -self.network_(z)[:, 0].double().cpu().numpy()


def _normalised(latents: NDArray[np.float32]) -> Tensor:
    """Each row to mean 0 and deviation 1."""
    z = torch.from_numpy(latents)
    return (z - z.mean(dim=1, keepdim=True)) / (z.std(dim=1, keepdim=True) + 1e-6)
