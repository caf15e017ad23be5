"""The baselines by name."""

from __future__ import annotations

from clad.baselines.autoencoders import (
    Convolutional,
    ConvolutionalBatchNorm,
    FullyConnected,
    NoiseClassifier,
)
from clad.baselines.contract import Baseline
from clad.baselines.deep_svdd import DeepSVDD
from clad.baselines.latents import LatentNeighbours, Reconstruction
from clad.baselines.oc_cnn import OCCNN
from clad.baselines.oc_nn import OCNN
from clad.baselines.one_class_svm import OneClassSVM
from clad.baselines.outliers import ECOD, IsolationForest
from clad.baselines.principal_components import PCANeighbours, PCAReconstruction
from clad.baselines.random_features import RandomFeatures
from clad.baselines.svdd import SVDD

BASELINES: dict[str, type[Baseline]] = {
    "pca-reconstruction": PCAReconstruction,
    "pca-neighbours": PCANeighbours,
    "latent-neighbours": LatentNeighbours,
    "reconstruction": Reconstruction,
    "random-features": RandomFeatures,
    "ocsvm": OneClassSVM,
    "svdd": SVDD,
    "deep-svdd": DeepSVDD,
    "oc-nn": OCNN,
    "oc-cnn": OCCNN,
    "pyod-ecod": ECOD,
    "pyod-iforest": IsolationForest,
    "ae-fully-connected": FullyConnected,
    "ae-convolutional": Convolutional,
    "ae-batch-norm": ConvolutionalBatchNorm,
    "ae-noise-classifier": NoiseClassifier,
}
