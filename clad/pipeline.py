"""CLAD: the four stages and the threshold, in order, on one page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clad import health
from clad.budget import within
from clad.config import Config, Odin, build
from clad.data.convert import check_variation
from clad.data.groups import digests
from clad.data.images import ImageSet
from clad.data.splits import calibration_folds, fit_calibration_split, validation_split
from clad.data.tiles import sample_tiles, tile_side
from clad.detector import Detector, Images, Scorer, Scores, decided
from clad.errors import ConfigError, FitError, NotFittedError
from clad.model import Model, make_fused, make_neighbours
from clad.reading import read_for_fit
from clad.recipes import merge
from clad.runtime import log, memory_advice, quiet
from clad.stages.augmentation import Augmentation, mirror_share
from clad.stages.autoencoder import Autoencoder
from clad.stages.classifier import Classifier
from clad.stages.dec import DEC
from clad.stages.graph import GraphClustering, centroids
from clad.stages.kmeans import KMeans, assign
from clad.stages.odin import choose
from clad.stages.rotations import choose_rotations, look_alike, turn_loss
from clad.threshold import make
from clad.tiled import TiledModel

if TYPE_CHECKING:
    from clad.training import Checkpoints

SAMPLE = 1000  # images whose pixels tell the variance of all


class CLAD(Detector):
    """Anomaly detector for images whose normal state is many things at once, without a label.

    Park et al. 2021, arXiv 2104.09793. Images may be an array uint8 or float in [0, 1] of shape
    (N, H, W), (N, H, W, C) or (N, C, H, W), a torch tensor or ``Dataset``, a folder, an archive or
    a list of paths; all of them give the same scores. Method names and signs are PyOD's.

    Parameters
    ----------
    config : Config, mapping, path to a YAML file, or None for the defaults.
    progress : show progress bars.
    """

    def fit(self, X: Any, y: None = None, *, checkpoints: Checkpoints | None = None) -> CLAD:
        """Learn from unlabelled normal images; a part of them is held out for the threshold.

        ``y`` is there for scikit-learn's sake and must be None. Sets ``threshold_``,
        ``guarantee_``, ``clusters_`` int64 (n_fit,), ``fit_positions_`` int64 (n_fit,) in X,
        ``seconds_`` a stage, ``losses_``, ``health_`` (warnings that something was not learnt),
        ``fit_images_``, ``calibration_images_`` and ``learnt_from_``, the images fitted on or the
        tiles drawn from them, which ``clusters_`` are of.

        Raises DataError, ConfigError and FitError for what cannot be learnt from.
        """
        if y is not None:
            raise ConfigError("fit takes no labels: pass the normal images alone")
        for name in ("rule_", "_measured_fit_images"):  # of an earlier fit
            self.__dict__.pop(name, None)
        config = self.config_ = self._resolve()
        runtime = self.runtime_ = self._choose_runtime(config)
        self.seconds_: dict[str, float] = {}
        with self._timed("data"):
            images: Any = read_for_fit(config, X)[0]
            if isinstance(images, ImageSet):
                check_variation(images)
            part, seed = config.calibration, runtime.seed_for("split")
            fit_images = held_out = images
            folds: list[NDArray[np.bool_]] = []
            if part.method == "cross":
                folds = calibration_folds(images, part.folds, seed)
            else:
                fit_images, held_out = fit_calibration_split(
                    images, part.fraction, part.minimum, seed
                )
            self._check_sizes(config, len(fit_images), len(held_out))
            if config.budget is not None:
                config = self.config_ = self._within_budget(fit_images, checkpoints)
        self.fit_positions_ = np.flatnonzero(np.isin(images.index, fit_images.index))

        apart = []
        if folds:
            with self._timed("folds"):
                apart = [
                    self._measure_apart(images, fold, checkpoints and checkpoints.part(f"fold-{k}"))
                    for k, fold in enumerate(folds)
                ]
        self.model_, self.learnt_from_, self.clusters_, self.losses_ = self._train(
            fit_images, checkpoints
        )
        self.config_ = self.model_.config  # ODIN's auto is numbers now
        self.fit_images_, self.calibration_images_ = fit_images, held_out
        with self._timed("calibration"):
            measured = self.model_.measure(held_out, runtime)
            scores, synthetic = measured.score, None
            if folds:  # how a model sees images that it has not seen
                scores = np.empty(len(images))
                for fold, (fold_scores, _) in zip(folds, apart, strict=True):
                    scores[fold] = fold_scores
                synthetic = np.concatenate([each for _, each in apart])
            self.health_ = health.check(
                self.losses_,
                _pixel_variance(self.learnt_from_),
                self.clusters_,
                self.n_clusters_,
                self.model_.rotations,
                scores,
                config.threshold.alpha,
                self.mirror_share_ if config.augment.flip is True else None,
            )
            counts = np.bincount(self.clusters_, minlength=self.n_clusters_)
            self._decide(self._calibration(held_out, scores, measured.cluster, counts, synthetic))
        for finding in self.health_:
            log.warning("%s", finding)
        if self.calibration_.dependent:
            log.warning("threshold: %s", self.guarantee_.text)
        return self

    def _train(
        self, images: Images, checkpoints: Checkpoints | None
    ) -> tuple[Scorer, ImageSet, NDArray[np.int64], dict[str, list[float]]]:
        """The stages on these images, or on tiles of them: also what they were learnt from."""
        if isinstance(images, ImageSet):
            model, clusters, losses = self._learn(images, checkpoints)
            return model, images, clusters, losses
        settings, seed = self.config_.tiles, self.runtime_.seed_for("tiles")
        assert settings.size is not None
        with self._timed("tiles"):
            side = tile_side(settings.size, images.sizes)
            most = int(images.sizes.min()) // side
            if settings.regions > most:
                raise FitError(
                    f"tiles.regions={settings.regions} should be <= {most}, the tiles of {side} "
                    "pixels that the smallest image has along its shorter side"
                )
            tiles = sample_tiles(images, side, settings.samples, seed)
            check_variation(tiles)
        stages, clusters, losses = self._learn(tiles, checkpoints)
        with self._timed("local"):
            tiled = TiledModel.fit(stages, images, self.runtime_, checkpoints)
        if tiled.local is not None:
            losses["local"] = tiled.local.losses_
        return tiled, tiles, clusters, losses

    def _learn(
        self, images: ImageSet, checkpoints: Checkpoints | None
    ) -> tuple[Model, NDArray[np.int64], dict[str, list[float]]]:
        """The four stages on these images: the model, pseudo-labels (N,) and training curves."""
        config, runtime = self.config_, self.runtime_
        rotations = choose_rotations(config.classifier.rotations, images.shape)
        if config.score.method == "turns" and rotations == 1:
            raise FitError("score.method turns needs classifier.rotations 2 or 4, not 1")
        augment = self._make_augmentation(images)
        part, seed = config.validation, runtime.seed_for("validation")
        held_out = validation_split(images, part.fraction, part.maximum, seed)
        train, unseen = images.take(~held_out), images.take(held_out)
        with self._timed("autoencoder"):
            stage1 = Autoencoder(**dict(config.autoencoder))
            stage1.fit(train, runtime, checkpoints, augment=augment)
        with self._timed("dec"):
            settings = dict(config.dec)
            stage2 = DEC(settings.pop("clusters"), **settings)
            stage2.fit(stage1.network_, train, runtime, checkpoints, augment=augment)
        clusters, n_clusters = stage2.labels_, len(stage2.centers_)
        if n_clusters * rotations == 1:
            raise FitError(
                "the images form one cluster, and classifier.rotations = 1 leaves nothing to tell "
                "apart; set classifier.rotations to 4, or dec.clusters to a number"
            )
        with self._timed("classifier"):
            stage3 = Classifier(**{**dict(config.classifier), "rotations": rotations})
            stage3.fit(train, clusters, n_clusters, runtime, checkpoints, augment=augment)
            clusters, alike = self._refine(stage3, stage2, train, unseen, augment, checkpoints)
            n_clusters = len(alike)
        labels = np.empty(len(images), np.int64)
        labels[~held_out] = clusters
        labels[held_out] = self._clusters_of(unseen, train, clusters, stage2, stage3)
        odin = choose(
            config.odin.temperature,
            config.odin.perturbation,
            stage3.network_,
            unseen,
            labels[held_out] * rotations,  # upright
            runtime,
        )
        neighbours = fused = None
        if config.score.method == "neighbours":
            with self._timed("neighbours"):
                neighbours = make_neighbours(config, rotations, runtime)
                neighbours.fit(stage3.network_, images, runtime)
        elif config.score.method != "odin":
            with self._timed("score"):
                fused = make_fused(config, rotations, runtime)
                fused.fit(stage3.network_, images, held_out, runtime, alike[labels[held_out]])
        model = Model(
            config=config.model_copy(update={"odin": Odin(**vars(odin))}),
            shape=images.shape,
            rotations=rotations,
            autoencoder=stage2.network_,
            centers=centroids(stage2.latents_, clusters, n_clusters),
            classifier=stage3.network_,
            neighbours=neighbours,
            fused=fused,
            seen=digests(images),
        )
        losses = {"autoencoder": stage1.losses_, "dec": stage2.losses_}
        return model, labels, {**losses, "classifier": stage3.losses_}

    def _refine(
        self,
        stage3: Classifier,
        stage2: DEC,
        train: ImageSet,
        unseen: ImageSet,
        augment: Augmentation,
        checkpoints: Checkpoints | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rounds after the first, while ``unseen`` normal images do not say that one harmed.

        Returns the clusters int64 (N,) of the last, and in how many turns each looks the same.
        """
        runtime = self.runtime_
        clusters, n_clusters = stage2.labels_, len(stage2.centers_)
        alike = np.ones(n_clusters, np.int64)
        believed = stage3.believe(unseen, runtime)
        for number, _ in enumerate(stage3.epochs_of(train)[1:], start=2):
            features = stage3.transform(train, runtime)
            anew = self._cluster_anew(features, train.groups)
            labels, n_labels = clusters, n_clusters
            if anew.any():
                labels, n_labels = anew, int(anew.max()) + 1
            known = self._clusters_of(unseen, train, labels, stage2, stage3, features)
            same = look_alike(believed, known, n_labels)
            if same.max() > 1:
                log.info("%d of %d clusters look the same turned", (same > 1).sum(), n_labels)
            stage3.refine(
                train, labels, n_labels, runtime, checkpoints, augment=augment, alike=same
            )
            before, believed = believed, stage3.believe(unseen, runtime)
            if turn_loss(before, same[known]) < turn_loss(believed, same[known]):
                stage3.undo()
                log.info("classifier: round %d undone, held-out images are told worse", number)
                break
            clusters, n_clusters, alike = labels, n_labels, same
        return clusters, alike

    def _cluster_anew(
        self, features: NDArray[np.float32], groups: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        """Clusters int64 (N,) of features (N, F), found as stage 2 finds those of latents."""
        config, runtime = self.config_.dec, self.runtime_
        if config.clusters == "auto":
            graph = GraphClustering(seed=runtime.seed_for("graph"))
            return graph.fit(features, groups).labels_
        kmeans = KMeans(config.clusters, restarts=config.restarts, seed=runtime.seed_for("kmeans"))
        return kmeans.fit(features, runtime.device).labels_

    def _clusters_of(
        self,
        new: ImageSet,
        known: ImageSet,
        clusters: NDArray[np.int64],
        stage2: DEC,
        stage3: Classifier,
        features: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int64]:
        """Pseudo-labels int64 (N,): stage 2's, or of the nearest features where those are anew.

        ``features``: stage 3's of the known images, where they are at hand.
        """
        if not len(new):
            return np.empty(0, np.int64)
        if clusters is stage2.labels_:
            return stage2.predict(new, self.runtime_)
        if features is None:
            features = stage3.transform(known, self.runtime_)
        return clusters[assign(stage3.transform(new, self.runtime_), features)[0]]

    def _make_augmentation(self, images: ImageSet) -> Augmentation:
        """As configured; ``flip: auto`` where mirror images look as normal as the images do."""
        changes: dict[str, Any] = dict(self.config_.augment)
        self.mirror_share_ = mirror_share(images, self.runtime_) if changes["flip"] else None
        if changes["flip"] == "auto":
            assert self.mirror_share_ is not None
            changes["flip"] = self.mirror_share_ < health.HARMLESS
            log.info(
                "augment.flip: %s; %.0f%% of the images are nearer to others than their mirror "
                "images are (50%%: no difference)",
                "on" if changes["flip"] else "off",
                100 * self.mirror_share_,
            )
        return Augmentation(**changes)

    def _within_budget(self, images: Images, checkpoints: Checkpoints | None) -> Config:
        """The configuration with what the budget chooses; a run that goes on keeps its choice."""
        if not isinstance(images, ImageSet):
            raise ConfigError(
                "budget is for images that stay whole; with tiles.size, set local.epochs"
            )
        if self.config_.calibration.method == "cross":
            raise ConfigError("budget: calibration.method cross trains folds besides; take split")

        def trial(config: Config, some: ImageSet) -> tuple[dict[str, float], int]:
            with quiet():
                tried = CLAD(config).fit(some)
            return tried.seconds_, len(tried.fit_images_)

        kept = checkpoints and checkpoints.load("budget")
        if kept:
            chosen: Any = kept[1]
        else:
            chosen = within(self.config_, images, trial, self.runtime_)
            if checkpoints:
                checkpoints.save("budget", {}, chosen)
        return build(merge(self.config_.model_dump(), chosen))

    def _measure_apart(
        self, images: Images, fold: NDArray[np.bool_], checkpoints: Checkpoints | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores of a fold's images, and of anomalies made of them, by a model without them."""
        held_out = images.take(fold)
        model, *_ = self._train(images.take(~fold), checkpoints)
        scores = model.measure(held_out, self.runtime_).score
        return scores, self._synthetic(model, held_out, scores)

    @property
    def decision_scores_(self) -> NDArray[np.float64]:
        """Anomaly scores float64 (n_fit,) of the images fitted on, computed when first asked for.

        They are lower than those of new normal images: training has seen these. By neighbours, an
        image is none of its own.
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
        rule = self._rule()
        if not hasattr(self, "_measured_fit_images"):
            self._measured_fit_images = self.model_.measure(
                self.fit_images_, self.runtime_, fitted=True
            )
        return decided(rule, self._measured_fit_images)

    @staticmethod
    def _check_sizes(config: Config, n_fit: int, n_calibration: int) -> None:
        n_clusters = 2 if config.dec.clusters == "auto" else config.dec.clusters
        if n_fit < n_clusters:
            raise FitError(
                f"n_samples={n_fit} should be >= n_clusters={n_clusters}; "
                "add images or lower dec.clusters"
            )
        # The rule tries itself on ranks: too few images for alpha show before training, not after.
        ranks = np.arange(n_calibration)
        make(**dict(config.threshold)).fit(ranks, np.zeros_like(ranks), synthetic=ranks)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        log.info("%s ...", stage)
        start = time.perf_counter()
        with memory_advice(f"{stage}: out of memory; lower images.size or give fewer images"):
            yield
        self.seconds_[stage] = time.perf_counter() - start
        log.info("%s: %.1f s", stage, self.seconds_[stage])


def _pixel_variance(images: ImageSet) -> float:
    """Of the pixels in [0, 1], over evenly spaced images."""
    some = np.linspace(0, len(images) - 1, min(len(images), SAMPLE)).astype(np.int64)
    return float((images.read(some) / 255.0).var())
