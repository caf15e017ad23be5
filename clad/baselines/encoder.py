"""The small networks of Ruff et al. 2018, and the steps that every neural baseline is given."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

BATCH = 128


def epochs_for(steps: int, n: int) -> int:
    """Epochs that make at least so many steps, however few the images."""
    return -(-steps * BATCH // n)


def global_contrast(x: Tensor) -> Tensor:
    """Each image (N, C, H, W) minus its mean, over its mean absolute value."""
    x = x - x.mean(dim=(1, 2, 3), keepdim=True)
    return x / x.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)


class LeNet(nn.Module):
    """Encoder without bias, so that no weights map every image to one point, and its mirror.

    Two blocks (8 and 4 channels) up to 28 pixels a side, three (32, 64, 128) over it.
    """

    def __init__(self, shape: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__()
        channels, height, width = shape
        plan = (8, 4) if max(height, width) <= 28 else (32, 64, 128)
        self.size = height, width
        self.small = height >> len(plan), width >> len(plan)
        blocks: list[nn.Module] = []
        for inner, outer in zip((channels, *plan), plan, strict=False):
            blocks += [_convolution(inner, outer), _norm(outer), nn.LeakyReLU(), nn.MaxPool2d(2)]
        flat = plan[-1] * self.small[0] * self.small[1]
        self.encoder = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(flat, latent_dim, bias=False))
        blocks = []
        for inner, outer in zip(plan[::-1], (*plan[-2::-1], channels), strict=True):
            blocks += [nn.LeakyReLU(), nn.Upsample(scale_factor=2), _convolution(inner, outer)]
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, flat, bias=False),
            nn.Unflatten(1, (plan[-1], *self.small)),
            *blocks,
        )

    def encode(self, x: Tensor) -> Tensor:
        """Float (N, C, H, W) in [0, 1] -> latents (N, D)."""
        return self.encoder(global_contrast(x))

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruction of ``global_contrast(x)``."""
        return F.interpolate(self.decoder(self.encode(x)), self.size)


def _convolution(inner: int, outer: int) -> nn.Conv2d:
    return nn.Conv2d(inner, outer, 5, padding=2, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-4, affine=False)


def adam(network: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Adam with L2 weight decay over a network's parameters."""
    return torch.optim.Adam(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
