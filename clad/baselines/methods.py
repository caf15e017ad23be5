"""The baselines by name."""

from __future__ import annotations

from clad.baselines.contract import Baseline
from clad.baselines.latents import LatentNeighbours, Reconstruction
from clad.baselines.one_class_svm import OneClassSVM
from clad.baselines.principal_components import PCANeighbours, PCAReconstruction
from clad.baselines.random_features import RandomFeatures

BASELINES: dict[str, type[Baseline]] = {
    "pca-reconstruction": PCAReconstruction,
    "pca-neighbours": PCANeighbours,
    "latent-neighbours": LatentNeighbours,
    "reconstruction": Reconstruction,
    "random-features": RandomFeatures,
    "ocsvm": OneClassSVM,
}
