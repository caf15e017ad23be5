"""The upper bound: what a classifier told the hidden labels would reach."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clad.baselines.encoder import BATCH, epochs_for
from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.classifier import Classifier
from clad.stages.neighbours import Neighbours


class Oracle:
    """A ResNet-18 on the true classes of the normal images, scored by its features' neighbours.

    Not a detector anyone could use without labels: tables mark it.
    """

    def __init__(self, steps: int = 1000) -> None:
        self.steps = steps

    def fit(self, images: ImageSet, labels: NDArray[np.int64], runtime: Runtime) -> Oracle:
        """Learn from normal images and their hidden labels int64 (N,)."""
        known, codes = np.unique(labels, return_inverse=True)
        self.classifier_ = Classifier(
            stem="small-stride",
            width=32,
            epochs=epochs_for(self.steps, len(images)),
            batch_size=BATCH,
            learning_rate=1e-3,
            schedule="one-cycle",
        ).fit(images, codes.astype(np.int64), len(known), runtime)
        self.neighbours_ = Neighbours(seed=runtime.seed_for("oracle"))
        self.neighbours_.fit(self.classifier_.network_, images, runtime)
        return self

    def score(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float64]:
        """Anomaly scores float64 (N,)."""
        return self.neighbours_.score(self.classifier_.network_, images, runtime)
