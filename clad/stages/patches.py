"""Stage 4, what needs no labels at all: which small patches an image is made of."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.kmeans import KMeans

SIDE = 4  # pixels of a patch
WORDS = 200  # of the dictionary, at most
SAMPLED = 50_000  # patches that it is learnt from, fewer where some are alike
EACH = 40  # patches a word, at least
CONTRAST = 10 / 255**2  # added to a patch's variance, so that noise is not blown up
FLOOR = 0.1  # added to the variance of a direction of patches, which are of unit variance
LEAST = 0.5  # likeness to a word that counts
PATCHES = 16_000  # described at a time: they stay in the cache


class PatchFeatures(nn.Module):
    """How much of an image is like each word of a dictionary of patches (Coates and Ng 2011).

    Patches have their brightness and contrast taken out and are whitened; k-means finds the words.
    An image is described by the mean over its patches of max(0, w . p - 1/2) for each unit word w.
    """

    def __init__(self, n_words: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = shape
        self.side = min(SIDE, height, width)
        self.words: Tensor  # whitening included
        self.bias: Tensor
        self.register_buffer("words", torch.zeros(n_words, channels * self.side**2))
        self.register_buffer("bias", torch.zeros(n_words))

    @classmethod
    def fit(cls, images: ImageSet, runtime: Runtime) -> PatchFeatures:
        """Learn the dictionary from patches drawn at random."""
        side = min(SIDE, *images.shape[1:])
        patches = _sample(images, side, runtime.rng("patches"), SAMPLED) / 255.0
        patches -= patches.mean(axis=1, keepdims=True)
        patches = patches[patches.any(axis=1)]
        if len(patches) < 2:  # even areas: nothing to tell them by
            return cls(1, images.shape).to(runtime.device)
        patches /= np.sqrt(patches.var(axis=1, keepdims=True) + CONTRAST)
        mean = patches.mean(axis=0)
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(patches, rowvar=False)))
        whitening = (vectors / np.sqrt(values + FLOOR)) @ vectors.T
        n_words = min(WORDS, max(len(patches) // EACH, 1))
        kmeans = KMeans(n_words, restarts=1, iterations=2, seed=runtime.seed_for("patches"))
        kmeans.fit(((patches - mean) @ whitening).astype(np.float32), runtime.device)
        words = kmeans.cluster_centers_.astype(np.float64)
        words /= np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-12)
        self = cls(n_words, images.shape)
        self.words.copy_(torch.from_numpy(words @ whitening))
        self.bias.copy_(torch.from_numpy(-words @ whitening @ mean - LEAST))
        return self.to(runtime.device)

    def forward(self, x: Tensor) -> Tensor:
        """Float (N, C, H, W) in [0, 1] -> (N, words)."""
        # what a patch's brightness is does not matter to a word whose mean is taken out instead
        words = self.words - self.words.mean(dim=1, keepdim=True)
        kernels = words.view(len(words), -1, self.side, self.side)
        part = max(PATCHES // (x.shape[2] * x.shape[3]), 1)
        return torch.cat([self._describe(some, kernels) for some in x.split(part)])

    def _describe(self, x: Tensor, kernels: Tensor) -> Tensor:
        mean, power = (
            F.avg_pool2d(values.mean(dim=1, keepdim=True), self.side, stride=1)
            for values in (x, x.square())
        )
        variance = (power - mean.square()).clamp_min_(0)
        likeness = F.conv2d(x, kernels).div_((variance + CONTRAST).sqrt_())
        return likeness.add_(self.bias[:, None, None]).relu_().mean(dim=(2, 3))


def _sample(images: ImageSet, side: int, rng: np.random.Generator, n: int) -> NDArray[np.uint8]:
    """About ``n`` patches uint8 (n, C * side * side), as many of each image; no two are alike."""
    _, height, width = images.shape
    across = width - side + 1
    places = (height - side + 1) * across
    each = min(-(-n // len(images)), places)
    some = rng.permutation(len(images))[: -(-n // each)]
    windows = np.lib.stride_tricks.sliding_window_view(images.read(some), (side, side), axis=(2, 3))
    found = []
    for image in windows:  # (C, h, w, side, side)
        rows, columns = np.divmod(rng.permutation(places)[:each], across)
        found.append(image[:, rows, columns].swapaxes(0, 1).reshape(each, -1))
    return np.unique(np.concatenate(found), axis=0)
