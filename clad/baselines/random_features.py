"""Nearest neighbours in the features of a network that has learnt nothing."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clad.baselines.contract import Baseline, in_batches, nearest
from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.resnet import ResNet18


class RandomFeatures(Baseline):
    """Mean distance to the 5 nearest normal images in an untrained ResNet-18's features.

    A control: what of a score is the network's form, and not its training.
    """

    def fit(self, images: ImageSet, runtime: Runtime) -> RandomFeatures:
        """Draw the weights and keep the normal images' features."""
        with runtime.seeded("random features"):
            self.network_ = ResNet18(images.shape[0], 1, width=32, stem="small-stride")
        self.network_.standardize.adapt(images)
        runtime.place(self.network_)
        self.features_ = self._features(images, runtime)
        return self

    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Anomaly scores float64 (N,)."""
        return nearest(self._features(images, runtime), self.features_, 5)

    @torch.inference_mode()
    def _features(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float32]:
        self.network_.eval()
        return np.concatenate(
            [self.network_.features(x).cpu().numpy() for x in in_batches(images, runtime)]
        )
