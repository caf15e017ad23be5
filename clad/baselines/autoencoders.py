"""Autoencoders of a well-known course's assignment, scored by reconstruction error.

Forms and sizes are those for its 64 x 64 colour images; other images are brought to a size that
halves three times. Pixels are in [-1, 1], the range of the decoders' tanh.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from clad.baselines.contract import Baseline, in_batches
from clad.baselines.encoder import BATCH, adam, epochs_for
from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.training import train

Shape = tuple[int, int, int]
DENSE = (128, 64, 12, 3)  # units of the fully connected encoder
MAPS = (12, 24, 48)  # channels of the convolutional one


class AssignmentAutoencoder(Baseline):
    """Trains a network to repeat its input; the mean squared error is the score."""

    steps = 1000

    @abstractmethod
    def network(self, shape: Shape) -> nn.Module:
        """Encoder and decoder for images (C, H, W), H and W multiples of 8."""

    def fit(self, images: ImageSet, runtime: Runtime) -> AssignmentAutoencoder:
        """Train on the images."""
        channels, height, width = images.shape
        self.size_ = -(-height // 8) * 8, -(-width // 8) * 8
        with runtime.seeded("assignment", type(self).__name__):
            network = self.network((channels, *self.size_))
        runtime.place(network)

        def loss(positions: NDArray[np.int64], generator: torch.Generator) -> Tensor:
            x = self._prepared(runtime.floats(images.read(positions)))
            return self.loss(network, x, generator)

        train(
            "assignment",
            network,
            adam(network, 1e-3, 0.0),
            loss,
            len(images),
            epochs=epochs_for(self.steps, len(images)),
            batch_size=BATCH,
            runtime=runtime,
        )
        self.network_ = network.eval()
        return self

    def loss(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
        """What training minimises for a batch of images."""
        return F.mse_loss(network(x), x)

    @torch.inference_mode()
    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Mean squared error of each image's reconstruction, float64 (N,)."""
        errors = []
        for batch in in_batches(images, runtime):
            x = self._prepared(batch)
            errors.append((self.network_(x) - x).double().square().mean(dim=(1, 2, 3)))
        return torch.cat(errors).cpu().numpy()

    def _prepared(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.size_:
            x = F.interpolate(x, self.size_, mode="bilinear", antialias=True)
        return 2 * x - 1


class FullyConnected(AssignmentAutoencoder):
    """3.18 million parameters at 3 x 64 x 64, through three numbers."""

    def network(self, shape: Shape) -> nn.Module:
        """Dense layers down to 3 units and up again."""
        return _Dense(shape)


class Convolutional(AssignmentAutoencoder):
    """47 thousand parameters: three strided convolutions and their mirror."""

    normalised = False

    def network(self, shape: Shape) -> nn.Module:
        """Maps of an eighth of the size and 48 channels in the middle."""
        widths = (shape[0], *MAPS)
        layers: list[nn.Module] = []
        for inner, outer in zip(widths, MAPS, strict=False):
            layers += [nn.Conv2d(inner, outer, 4, 2, 1), *self._norm(outer), nn.ReLU()]
        for inner, outer in zip(MAPS[::-1], widths[-2::-1], strict=True):
            layers += [nn.ConvTranspose2d(inner, outer, 4, 2, 1), *self._norm(outer), nn.ReLU()]
        while not isinstance(layers[-1], nn.ConvTranspose2d):  # the last map is the image
            layers.pop()
        return nn.Sequential(*layers, nn.Tanh())

    def _norm(self, channels: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(channels)] if self.normalised else []


class ConvolutionalBatchNorm(Convolutional):
    """The same with batch norm, trained three times as long."""

    normalised = True
    steps = 3000


class NoiseClassifier(AssignmentAutoencoder):
    """The fully connected one and a classifier of images against decoded noise, 4.4 million.

    The decoder learns to fool the classifier as well (by reversed gradients, Ganin and Lempitsky
    2015), so that all it can decode looks normal.
    """

    hidden = 100
    weight = 0.01  # of the classifier's loss beside the reconstruction's

    def network(self, shape: Shape) -> nn.Module:
        """An autoencoder with a classifier at its side."""
        network = _Dense(shape)
        network.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(int(np.prod(shape)), self.hidden), nn.ReLU(),
            nn.Linear(self.hidden, 1),
        )  # fmt: skip
        return network

    def loss(self, network: Any, x: Tensor, generator: torch.Generator) -> Tensor:
        """Reconstruction, and telling x from what is decoded of sampled noise."""
        noise = torch.randn((len(x), DENSE[-1]), generator=generator).to(x.device)
        decoded = _Reversed.apply(network.decoder(noise))
        logits = network.classifier(torch.cat([x, decoded]))[:, 0]
        truth = torch.cat([torch.ones(len(x)), torch.zeros(len(x))]).to(x.device)
        told = F.binary_cross_entropy_with_logits(logits, truth)
        return F.mse_loss(network(x), x) + self.weight * told


class _Dense(nn.Module):
    classifier: nn.Module

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        widths = (int(np.prod(shape)), *DENSE)
        down: list[nn.Module] = [nn.Flatten()]
        for inner, outer in zip(widths, DENSE, strict=False):
            down += [nn.Linear(inner, outer), nn.ReLU()]
        up: list[nn.Module] = []
        for inner, outer in zip(widths[:0:-1], widths[-2::-1], strict=True):
            up += [nn.Linear(inner, outer), nn.ReLU()]
        self.encoder = nn.Sequential(*down[:-1])
        self.decoder = nn.Sequential(*up[:-1], nn.Tanh(), nn.Unflatten(1, shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class _Reversed(torch.autograd.Function):
    """The same value, the gradient turned round."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return -gradient
