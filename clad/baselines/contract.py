"""Baseline: what a benchmark knows of a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clad.data.images import ImageSet
from clad.runtime import Runtime

if TYPE_CHECKING:
    from torch import Tensor


class Baseline(ABC):
    """A detector without a threshold: learns from normal images, scores any."""

    @abstractmethod
    def fit(self, images: ImageSet, runtime: Runtime) -> Baseline:
        """Learn from unlabelled normal images; randomness comes from the runtime's seed."""

    @abstractmethod
    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Anomaly scores float64 (N,), higher = more anomalous."""


def in_batches(images: ImageSet, runtime: Runtime) -> Iterator[Tensor]:
    """The images in order on the runtime's device, float32 in [0, 1], some at a time."""
    return (runtime.floats(batch) for batch in images.batches(512))


def pixels(images: ImageSet) -> NDArray[np.float32]:
    """All pixels in [0, 1], float32 (N, C * H * W)."""
    flat = images.read().reshape(len(images), -1)
    return flat.astype(np.float32) / 255.0


def nearest(new: NDArray[np.float32], old: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """Mean distance to the k nearest rows of ``old``, float64 (N,)."""
    import faiss

    squared, _ = faiss.knn(np.ascontiguousarray(new), np.ascontiguousarray(old), min(k, len(old)))
    return np.sqrt(np.maximum(squared, 0.0), dtype=np.float64).mean(axis=1)
