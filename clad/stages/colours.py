"""For stage 4: a second classifier, that tells images from those with red and blue exchanged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clad.data.images import ImageSet
from clad.runtime import Runtime, log
from clad.stages.classifier import Classifier
from clad.stages.transformations import share_known

if TYPE_CHECKING:
    from clad.stages.augmentation import Augmentation
    from clad.training import Checkpoints

SHARE = 0.25  # of the classifier's epochs: two classes are soon learnt


class Colours:
    """Tells normal images from those with red and blue exchanged.

    Where an image's colours are not those of normal things, it is not sure which of the two it
    sees. ``settings`` are the classifier's, whose network and training it has, for ``SHARE`` of the
    epochs.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def fit(
        self,
        images: ImageSet,
        unseen: ImageSet,
        runtime: Runtime,
        checkpoints: Checkpoints | None = None,
        *,
        augment: Augmentation | None = None,
    ) -> Colours:
        """Train on images (N, 3, H, W).

        Sets ``network_``, ``losses_`` (one an epoch) and ``known_``, the share of the entropy that
        it removes of ``unseen`` images (``share_known``).
        """
        runtime = replace(runtime, seed=runtime.seed_for("colours"))
        told = {"rotations": 1, "mirror": False, "recolour": True, "rounds": 1}
        stage = Classifier(**{**self.settings, **told})
        stage.epochs = max(round(SHARE * sum(stage.epochs_of(images))), 1)
        one = np.zeros(len(images), np.int64)
        stage.fit(images, one, 1, runtime, checkpoints, augment=augment)
        self.network_, self.losses_ = stage.network_, stage.losses_
        self.known_ = share_known(stage.believe(unseen, runtime), np.ones(len(unseen), np.int64))
        log.info("colours: %.2f of 1 known of whether red and blue are exchanged", self.known_)
        return self
