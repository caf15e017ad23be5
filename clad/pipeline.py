"""CLAD: the four stages and the threshold, in order, on one page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from clad import config as configuration
from clad.artifact import Bundle, load_weights, read_bundle, write_bundle
from clad.config import Config
from clad.configurable import Configurable
from clad.data.convert import check_variation
from clad.data.images import ImageSet
from clad.data.inputs import as_image_set
from clad.data.splits import fit_calibration_split
from clad.errors import ConfigError, FitError, ModelError, NotFittedError
from clad.runtime import Runtime, log, memory_advice
from clad.stages.autoencoder import Autoencoder, ConvolutionalAutoencoder
from clad.stages.classifier import Classifier, ResNet18
from clad.stages.dec import DEC
from clad.stages.layers import encode
from clad.stages.neighbours import Neighbours
from clad.stages.odin import ODIN
from clad.stages.rotations import choose_rotations
from clad.threshold import Guarantee, Rule, make

if TYPE_CHECKING:
    from clad.training import Checkpoints


KIND = "clad"  # what a model's document says it is


@dataclass(frozen=True)
class Scores:
    """A detector's answer for N images, a row each.

    ``score``: float64, higher = more anomalous. ``p_value``: float64, the share of held-out normals
    that score as high. ``anomaly``: int64 0 / 1. ``cluster``: int64, the predicted pseudo-label.
    ``confidence``: float64, ODIN's.
    """

    score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    anomaly: NDArray[np.int64]
    cluster: NDArray[np.int64]
    confidence: NDArray[np.float64]


class CLAD(Configurable):
    """Anomaly detector for images whose normal state is many things at once, without a label.

    Park et al. 2021, arXiv 2104.09793. Images may be an array uint8 or float in [0, 1] of shape
    (N, H, W), (N, H, W, C) or (N, C, H, W), a torch tensor or ``Dataset``, a folder, an archive or
    a list of paths; all of them give the same scores. Method names and signs are PyOD's.

    Parameters
    ----------
    config : Config, mapping, path to a YAML file, or None for the defaults.
    progress : show progress bars.
    """

    # -- learning -------------------------------------------------------------------------------

    def fit(self, X: Any, y: None = None, *, checkpoints: Checkpoints | None = None) -> CLAD:
        """Learn from unlabelled normal images; a part of them is held out for the threshold.

        ``y`` is there for scikit-learn's sake and must be None. Sets ``threshold_``,
        ``guarantee_``, ``clusters_`` int64 (n_fit,), ``fit_positions_`` int64 (n_fit,) in X,
        ``seconds_`` a stage, ``losses_``, ``fit_images_`` and ``calibration_images_``.

        Raises DataError, ConfigError and FitError for what cannot be learnt from.
        """
        if y is not None:
            raise ConfigError("fit takes no labels: pass the normal images alone")
        config = self.config_ = self._resolve()
        runtime = self.runtime_ = self._choose_runtime(config)
        self.seconds_: dict[str, float] = {}
        with self._timed("data"):
            images, _ = as_image_set(X, size=config.images.size, channels=config.images.channels)
            check_variation(images)
            self.rotations_ = choose_rotations(config.classifier.rotations, images.shape)
            part = config.calibration
            fit_images, held_out = fit_calibration_split(
                images, part.fraction, part.minimum, runtime.seed_for("split")
            )
            self._check_sizes(config, len(fit_images), len(held_out))
            if held_out.groups is not None:
                n_groups = len(np.unique(held_out.groups))
                if n_groups < len(held_out) / 2:  # a few duplicates do not matter
                    log.warning(
                        "the %d calibration images come from %d groups: the stated interval is "
                        "for independent images, expect a wider one",
                        len(held_out),
                        n_groups,
                    )
        self.shape_ = images.shape
        self.fit_positions_ = np.flatnonzero(np.isin(images.index, fit_images.index))

        with self._timed("autoencoder"):
            stage1 = Autoencoder(**dict(config.autoencoder))
            stage1.fit(fit_images, runtime, checkpoints)
        with self._timed("dec"):
            settings = dict(config.dec)
            stage2 = DEC(settings.pop("clusters"), **settings)
            stage2.fit(stage1.network_, fit_images, runtime, checkpoints)
            self.n_clusters_ = len(stage2.centers_)
        with self._timed("classifier"):
            stage3 = Classifier(**{**dict(config.classifier), "rotations": self.rotations_})
            stage3.fit(fit_images, stage2.labels_, self.n_clusters_, runtime, checkpoints)

        self.autoencoder_, self.centers_ = stage2.network_, stage2.centers_
        self.classifier_ = stage3.network_
        if config.score.method == "neighbours":
            with self._timed("neighbours"):
                self.neighbours_ = self._neighbours().fit(self.classifier_, fit_images, runtime)
        self.clusters_, self.fit_images_ = stage2.labels_, fit_images
        self._cluster_counts = np.bincount(self.clusters_, minlength=self.n_clusters_)
        self.losses_ = {
            "autoencoder": stage1.losses_,
            "dec": stage2.losses_,
            "classifier": stage3.losses_,
        }
        with self._timed("calibration"):
            self.calibrate(held_out)
        return self

    def calibrate(self, X: Any) -> CLAD:
        """Set the threshold anew from normal images that the detector has not been fitted on."""
        images = self._conform(X)
        scores, clusters, _ = self._measure(images)
        self.calibration_images_ = images
        return self._set_threshold(scores, clusters)

    # -- answering ------------------------------------------------------------------------------

    def score_images(self, X: Any) -> Scores:
        """Everything the detector says of each image."""
        rule = self._rule()
        scores, clusters, confidence = self._measure(self._conform(X))
        return Scores(
            score=scores,
            p_value=rule.p_values(scores, clusters),
            anomaly=rule.predict(scores, clusters),
            cluster=clusters,
            confidence=confidence,
        )

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Anomaly scores float64 (N,), higher = more anomalous."""
        return self.score_images(X).score

    def predict(self, X: Any) -> NDArray[np.int64]:
        """1 for an anomaly, 0 for a normal image, int64 (N,)."""
        return self.score_images(X).anomaly

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """float64 (N, 2): the p-value as a normal image, and one minus it."""
        p = self.score_images(X).p_value
        return np.stack([p, 1.0 - p], axis=1)

    def latents(self, X: Any) -> NDArray[np.float32]:
        """Stage 1 and 2's latents float32 (N, D)."""
        self._rule()
        return encode(self.autoencoder_, self._conform(X), self.runtime_)

    @property
    def decision_scores_(self) -> NDArray[np.float64]:
        """Anomaly scores float64 (n_fit,) of the images fitted on, computed when first asked for.

        They are lower than those of new normal images: training has seen these.
        """
        return self._fitted_scores().score

    @property
    def labels_(self) -> NDArray[np.int64]:
        """0 / 1 int64 (n_fit,): which of the images fitted on would be called anomalies."""
        return self._fitted_scores().anomaly

    def _fitted_scores(self) -> Scores:
        if not hasattr(self, "fit_images_"):
            raise NotFittedError(
                "decision_scores_ and labels_ need the training images: call fit, or use "
                "decision_function and predict on them (a loaded model does not carry them)"
            )
        if not hasattr(self, "_scores_of_fit_images"):
            self._scores_of_fit_images = self.score_images(self.fit_images_)
        return self._scores_of_fit_images

    # -- keeping --------------------------------------------------------------------------------

    def save(self, folder: str | Path, facts: Mapping[str, Any] | None = None) -> None:
        """Write the detector as a folder of safetensors + JSON; ``facts`` go into its document."""
        self._rule()
        tensors = {
            "autoencoder": {
                **self.autoencoder_.state_dict(prefix="network."),
                "centers": torch.from_numpy(self.centers_),
            },
            "classifier": self.classifier_.state_dict(),
            "calibration": {
                "scores": torch.from_numpy(self.calibration_scores_),
                "clusters": torch.from_numpy(self.calibration_clusters_),
                "cluster_counts": torch.from_numpy(self._cluster_counts),
            },
        }
        if self.config_.score.method == "neighbours":
            tensors["neighbours"] = {
                "features": torch.from_numpy(self.neighbours_.features_),
                "scales": torch.from_numpy(self.neighbours_.scales_),
            }
        document = {
            "kind": KIND,
            "config": self.config_.model_dump(mode="json"),
            "shape": list(self.shape_),
            "clusters": self.n_clusters_,
            "rotations": self.rotations_,
            "facts": dict(facts or {}),
        }
        write_bundle(Path(folder), Bundle(tensors, document))

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto", progress: bool = False) -> CLAD:
        """Read a detector; it works on any device, whatever it was trained on.

        Raises ModelError where a file is missing, damaged, of a newer format or of another shape.
        """
        bundle = read_bundle(Path(folder))
        document = bundle.document
        if document.get("kind") != KIND:
            raise ModelError(
                f"{folder}: not a trained model (a checkpoint, perhaps); see 'clad fit'"
            )
        config = configuration.build(document["config"], f"{folder}/manifest.json")
        values = configuration.merge(config.model_dump(), {"runtime": {"device": device}})
        self = cls(configuration.build(values), progress=progress)
        self.config_ = self._resolve()
        self.runtime_ = self._choose_runtime(self.config_)
        self.facts_ = document["facts"]
        self.shape_ = (channels, *_) = tuple(document["shape"])
        self.n_clusters_, self.rotations_ = document["clusters"], document["rotations"]

        weights = dict(bundle.tensors["autoencoder"])
        self.centers_ = weights.pop("centers").numpy()
        stage1, stage3 = config.autoencoder, config.classifier
        self.autoencoder_ = ConvolutionalAutoencoder(
            stage1.architecture, self.shape_, stage1.latent_dim
        )
        plain = {name.removeprefix("network."): value for name, value in weights.items()}
        load_weights(self.autoencoder_, plain, f"{folder}: autoencoder")
        self.classifier_ = ResNet18(
            channels,
            self.n_clusters_ * self.rotations_,
            width=stage3.width,
            stem=stage3.stem,
        )
        load_weights(self.classifier_, bundle.tensors["classifier"], f"{folder}: classifier")
        for network in (self.autoencoder_, self.classifier_):
            self.runtime_.place(network).eval()

        if config.score.method == "neighbours":
            self.neighbours_ = self._neighbours()
            self.neighbours_.features_ = bundle.tensors["neighbours"]["features"].numpy()
            self.neighbours_.scales_ = bundle.tensors["neighbours"]["scales"].numpy()
        kept = bundle.tensors["calibration"]
        self._cluster_counts = kept["cluster_counts"].numpy()
        return self._set_threshold(kept["scores"].numpy(), kept["clusters"].numpy())

    # -- pieces -----------------------------------------------------------------------------------

    def _choose_runtime(self, config: Config) -> Runtime:
        return Runtime.choose(seed=config.seed, progress=self.progress, **dict(config.runtime))

    @staticmethod
    def _check_sizes(config: Config, n_fit: int, n_calibration: int) -> None:
        n_clusters = 2 if config.dec.clusters == "auto" else config.dec.clusters
        if n_fit < n_clusters:
            raise FitError(
                f"n_samples={n_fit} should be >= n_clusters={n_clusters}; "
                "add images or lower dec.clusters"
            )
        # The rule tries itself on ranks: too few images for alpha show before training, not after.
        make(**dict(config.threshold)).fit(np.arange(n_calibration), np.zeros(n_calibration, int))

    def _conform(self, X: Any) -> ImageSet:
        if not hasattr(self, "classifier_"):
            raise NotFittedError("this CLAD is not fitted yet: call fit, or CLAD.load a model")
        channels, height, width = self.shape_
        return as_image_set(X, size=(height, width), channels=channels)[0]

    def _measure(
        self, images: ImageSet
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """Anomaly score, predicted cluster and ODIN's confidence of each image, (N,) each."""
        with memory_advice("scoring: out of memory; give fewer images at a time"):
            odin = ODIN(**dict(self.config_.odin)).score(self.classifier_, images, self.runtime_)
            clusters = odin.classes // self.rotations_
            scores = odin.scores
            if self.config_.score.method == "neighbours":
                scores = self.neighbours_.score(self.classifier_, images, self.runtime_)
        return scores, clusters, odin.confidence

    def _neighbours(self) -> Neighbours:
        return Neighbours(
            rotations=self.rotations_,
            limit=self.config_.score.limit,
            seed=self.runtime_.seed_for("neighbours"),
        )

    def _rule(self) -> Rule:
        if not hasattr(self, "rule_"):
            raise NotFittedError("this CLAD has no threshold yet: call fit, or CLAD.load a model")
        return self.rule_

    def _set_threshold(self, scores: NDArray[np.float64], clusters: NDArray[np.int64]) -> CLAD:
        self.__dict__.pop("_scores_of_fit_images", None)  # of another fit, or another threshold
        rule = make(**dict(self.config_.threshold))
        self.rule_ = rule.fit(scores, clusters, self._cluster_counts)
        self.calibration_scores_, self.calibration_clusters_ = scores, clusters
        self.threshold_: float = self.rule_.threshold_
        self.guarantee_: Guarantee = self.rule_.guarantee()
        return self

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        log.info("%s ...", stage)
        start = time.perf_counter()
        with memory_advice(f"{stage}: out of memory; lower images.size or give fewer images"):
            yield
        self.seconds_[stage] = time.perf_counter() - start
        log.info("%s: %.1f s", stage, self.seconds_[stage])
