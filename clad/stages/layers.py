"""Pieces that more than one network is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.augmentation import Augmentation


class LatentModel(nn.Module, ABC):
    """What stage 1 hands on: a network with an encoder and a decoder."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Float (N, C, H, W) in [0, 1] -> latents (N, D)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Latents (N, D) -> float (N, C, H, W) in [0, 1]."""


class FeatureModel(nn.Module, ABC):
    """What stage 3 hands on: a classifier whose last layer is ``head``."""

    head: nn.Linear

    @abstractmethod
    def maps(self, x: Tensor) -> list[Tensor]:
        """Float (N, C, H, W) in [0, 1] -> the map (N, F_s, h_s, w_s) that ends each stage."""

    @abstractmethod
    def pool(self, last: Tensor) -> Tensor:
        """The last stage's map -> penultimate features float32 (N, F)."""

    def features(self, x: Tensor) -> Tensor:
        """Float (N, C, H, W) in [0, 1] -> penultimate features float32 (N, F)."""
        return self.pool(self.maps(x)[-1])


class Standardize(nn.Module):
    """(x - mean) / std a channel, inside the model: every input everywhere is [0, 1] pixels.

    The statistics are those of the images fitted on, over all of them alike (a mean per hidden
    class would leak the classes).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))

    def adapt(self, images: ImageSet) -> None:
        """Take mean and standard deviation from ``images``."""
        total, squares, count = np.zeros(1), np.zeros(1), 0
        for batch in images.batches(4096):
            pixels = batch.astype(np.float64) / 255.0
            total = total + pixels.sum(axis=(0, 2, 3))
            squares = squares + (pixels**2).sum(axis=(0, 2, 3))
            count += pixels[:, 0].size
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
        std[std < 1e-3] = 1.0  # a constant channel stays what it is
        self.mean.copy_(torch.from_numpy(mean).view(1, -1, 1, 1))
        self.std.copy_(torch.from_numpy(std).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, C, H, W) in [0, 1] -> standardised, same shape."""
        return (x - self.mean) / self.std


@torch.inference_mode()
def rows_of(
    function: Callable[[Tensor], Tensor],
    images: ImageSet,
    runtime: Runtime,
    label: str,
    batch_size: int = 1024,
) -> NDArray[np.float32]:
    """What ``function`` makes of all images, a batch (B, C, H, W) in [0, 1] at a time: (N, F).

    ``label``: of the progress bar.
    """
    n_batches = -(-len(images) // batch_size)
    bar = {"total": n_batches, "unit": "image", "unit_scale": batch_size}
    rows = np.empty((0, 0), np.float32)
    for i, batch in enumerate(runtime.track(images.batches(batch_size), label, **bar)):
        found = function(runtime.floats(batch)).cpu().numpy()
        if not i:  # filled in place: to join the batches at the end would take twice the memory
            rows = np.empty((len(images), *found.shape[1:]), found.dtype)
        rows[i * batch_size :][: len(found)] = found
    return rows


def encode(
    network: LatentModel,
    images: ImageSet,
    runtime: Runtime,
    batch_size: int = 1024,
    *,
    augment: Augmentation | None = None,
) -> NDArray[np.float32]:
    """Latents float32 (N, D) of all images, or of augmented copies, by the network's ``encode``."""
    network.eval()
    generator = runtime.generator("encode")

    def latents(x: Tensor) -> Tensor:
        return network.encode(x if augment is None else augment(x, generator))

    return rows_of(latents, images, runtime, "latents", batch_size)
