"""CLAD: what is held out, the four stages and the threshold, in order, on one page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clad import health
from clad.budget import within
from clad.config import Autoencoder, Config, build
from clad.data.convert import check_variation
from clad.data.images import ImageSet
from clad.data.splits import calibration_folds, fit_calibration_split
from clad.data.tiles import sample_tiles, tile_side
from clad.detector import Detector, Images, Scorer, Scores, decided
from clad.errors import ConfigError, FitError, NotFittedError
from clad.learning import Learning
from clad.reading import read_for_fit
from clad.recipes import merge
from clad.runtime import log, quiet, timed
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
        with timed("data", self.seconds_):
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
            with timed("folds", self.seconds_):
                apart = [
                    self._measure_apart(images, fold, checkpoints and checkpoints.part(f"fold-{k}"))
                    for k, fold in enumerate(folds)
                ]
        self.model_, self.learnt_from_, learning = self._train(fit_images, checkpoints)
        self.clusters_, self.losses_ = learning.clusters_, learning.losses_
        self.config_ = self.model_.config  # ODIN's auto is numbers now
        self.fit_images_, self.calibration_images_ = fit_images, held_out
        with timed("calibration", self.seconds_):
            measured = self.model_.measure(held_out, runtime)
            scores, synthetic = measured.score, None
            if folds:  # how a model sees images that it has not seen
                scores = np.empty(len(images))
                for fold, (fold_scores, _) in zip(folds, apart, strict=True):
                    scores[fold] = fold_scores
                synthetic = np.concatenate([each for _, each in apart])
            self.health_ = health.check(
                self.losses_,
                _loss_of_grey(self.learnt_from_, config.autoencoder),
                self.clusters_,
                self.n_clusters_,
                len(self.model_.transformations),
                scores,
                config.threshold.alpha,
                learning.mirror_share_ if config.augment.flip is True else None,
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
    ) -> tuple[Scorer, ImageSet, Learning]:
        """The stages on these images, or on tiles of them: also what they were learnt from."""
        learning = Learning(self.config_, self.runtime_, self.seconds_)
        if isinstance(images, ImageSet):
            return learning.fit(images, checkpoints).model_, images, learning
        settings, seed = self.config_.tiles, self.runtime_.seed_for("tiles")
        assert settings.size is not None
        with timed("tiles", self.seconds_):
            side = tile_side(settings.size, images.sizes)
            most = int(images.sizes.min()) // side
            if settings.regions > most:
                raise FitError(
                    f"tiles.regions={settings.regions} should be <= {most}, the tiles of {side} "
                    "pixels that the smallest image has along its shorter side"
                )
            tiles = sample_tiles(images, side, settings.samples, seed)
            check_variation(tiles)
        stages = learning.fit(tiles, checkpoints).model_
        with timed("local", self.seconds_):
            tiled = TiledModel.fit(stages, images, self.runtime_, checkpoints)
        if tiled.local is not None:
            learning.losses_["local"] = tiled.local.losses_
        return tiled, tiles, learning

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


def _loss_of_grey(images: ImageSet, settings: Autoencoder) -> float:
    """What an autoencoder loses that makes every image grey: the variance of the pixels in [0, 1],
    over evenly spaced images; inf where it is told to learn other things beside.
    """
    if settings.turns or settings.contrastive:
        return math.inf
    some = np.linspace(0, len(images) - 1, min(len(images), SAMPLE)).astype(np.int64)
    return float((images.read(some) / 255.0).var())
