"""The four stages, in order, on images that stay whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clad.config import Classifier as Settings
from clad.config import Config, Odin
from clad.data.groups import digests
from clad.data.images import ImageSet
from clad.data.splits import validation_split
from clad.errors import FitError
from clad.health import HARMLESS
from clad.model import Model, make_fused, make_neighbours
from clad.runtime import Runtime, log, timed
from clad.stages.augmentation import (
    MILD,
    STRONG,
    VARIED,
    Augmentation,
    mirror_share,
    spread_of_light,
)
from clad.stages.autoencoder import Autoencoder
from clad.stages.classifier import Classifier
from clad.stages.colours import Colours
from clad.stages.dec import DEC
from clad.stages.graph import GraphClustering, centroids
from clad.stages.kmeans import KMeans, assign
from clad.stages.odin import choose
from clad.stages.resnet import stem_for
from clad.stages.transformations import (
    CHANNELS,
    UNSAID,
    choose_transformations,
    look_alike,
    need_colours,
    share_known,
)

if TYPE_CHECKING:
    from clad.training import Checkpoints


class Learning:
    """Autoencoder, clustering, classifier and score, each learnt from what the one before gives.

    ``seconds`` takes the time of each stage.
    """

    def __init__(self, config: Config, runtime: Runtime, seconds: dict[str, float]) -> None:
        self.config = config
        self.runtime = runtime
        self.seconds = seconds

    def fit(self, images: ImageSet, checkpoints: Checkpoints | None = None) -> Learning:
        """Learn from ``images``; sets ``model_``, ``clusters_`` int64 (N,), the pseudo-labels,
        ``losses_``, each stage's training curve, and ``mirror_share_`` where it was asked for.

        Raises FitError where nothing is left to tell apart, or a stage cannot learn.
        """
        config, runtime = self.config, self.runtime
        augment = self._make_augmentation(images)
        settings = self._make_settings(images)
        told = choose_transformations(
            settings.rotations, settings.mirror, settings.recolour, augment.flip, images.shape
        )
        coloured = self._tells_colours(images.shape[0])
        if config.score.method == "turns" and len(told) == 1:
            raise FitError(
                "score.method turns needs classifier.rotations 2 or 4, classifier.mirror: true or "
                "classifier.recolour: true"
            )
        part, seed = config.validation, runtime.seed_for("validation")
        held_out = validation_split(images, part.fraction, part.maximum, seed)
        train, unseen = images.take(~held_out), images.take(held_out)
        with timed("autoencoder", self.seconds):
            stage1 = Autoencoder(**dict(config.autoencoder))
            stage1.fit(train, runtime, checkpoints, augment=augment)
        with timed("dec", self.seconds):
            of_dec = dict(config.dec)
            stage2 = DEC(of_dec.pop("clusters"), **of_dec)
            stage2.fit(stage1.network_, train, runtime, checkpoints, augment=augment)
        clusters, n_clusters = stage2.labels_, len(stage2.centers_)
        if n_clusters * len(told) == 1:
            raise FitError(
                "the images form one cluster, and classifier.rotations = 1 leaves nothing to tell "
                "apart; set classifier.rotations to 4, or dec.clusters to a number"
            )
        with timed("classifier", self.seconds):
            chosen = {"rotations": told.rotations, "mirror": told.mirrored}
            chosen["recolour"] = told.recoloured
            stage3 = Classifier(**{**dict(settings), **chosen})
            log.info("classifier: %s epochs", " + ".join(map(str, stage3.epochs_of(train))))
            stage3.fit(train, clusters, n_clusters, runtime, checkpoints, augment=augment)
            clusters = self._refine(stage3, stage2, train, unseen, augment, checkpoints)
            n_clusters = int(clusters.max()) + 1
        no_way_up = stage3.transformations_ != told
        told = stage3.transformations_
        colours = None
        if coloured:
            with timed("colours", self.seconds):
                apart = checkpoints and checkpoints.part("colours")
                colours = Colours(dict(settings))
                colours.fit(train, unseen, runtime, apart, augment=augment)
        labels = np.empty(len(images), np.int64)
        labels[~held_out] = clusters
        labels[held_out] = self._clusters_of(unseen, train, clusters, stage2, stage3)
        odin = choose(
            config.odin.temperature,
            config.odin.perturbation,
            stage3.network_,
            unseen,
            labels[held_out] * len(told),  # as they are
            runtime,
        )
        neighbours = fused = None
        if config.score.method == "neighbours":
            with timed("neighbours", self.seconds):
                neighbours = make_neighbours(config, told, runtime)
                neighbours.fit(stage3.network_, images, runtime)
        elif config.score.method != "odin":
            with timed("score", self.seconds):
                believed = stage3.believe(unseen, runtime)
                alike = look_alike(believed, labels[held_out], n_clusters, told).sum(axis=1)
                fused = make_fused(config, told, runtime)
                known = share_known(believed, alike[labels[held_out]])
                if no_way_up:  # who knows exchanged colours well need not know contents well
                    known = min(known, UNSAID)
                of_colours = () if colours is None else (colours.network_, colours.known_)
                fused.fit(stage3.network_, images, held_out, runtime, known, *of_colours)
        self.model_ = Model(
            config=config.model_copy(update={"classifier": settings, "odin": Odin(**vars(odin))}),
            shape=images.shape,
            transformations=told,
            autoencoder=stage2.network_,
            centers=centroids(stage2.latents_, clusters, n_clusters),
            classifier=stage3.network_,
            neighbours=neighbours,
            fused=fused,
            seen=digests(images),
        )
        self.clusters_ = labels
        self.losses_ = {
            "autoencoder": stage1.losses_,
            "dec": stage2.losses_,
            "classifier": stage3.losses_,
            **({} if colours is None else {"colours": colours.losses_}),
        }
        return self

    def _tells_colours(self, channels: int) -> bool:
        """Whether the score needs a network that tells exchanged colours."""
        wanted, method = self.config.score.colours, self.config.score.method
        if wanted == "auto":
            wanted = channels == CHANNELS
        elif wanted:
            need_colours("score.colours", channels)
        if method == "colours" and not wanted:
            raise FitError(
                f"score.method colours needs images of {CHANNELS} channels and score.colours: auto "
                f"or true, got {channels} and {self.config.score.colours}"
            )
        tiles = self.config.tiles
        local = tiles.size is not None and tiles.score == "local"  # then another network scores
        return wanted and (method == "colours" or (method == "fused" and not local))

    def _refine(
        self,
        stage3: Classifier,
        stage2: DEC,
        train: ImageSet,
        unseen: ImageSet,
        augment: Augmentation,
        checkpoints: Checkpoints | None,
    ) -> NDArray[np.int64]:
        """The rounds after the first; returns the clusters int64 (N,) of the last."""
        runtime, clusters = self.runtime, stage2.labels_
        for _ in stage3.epochs_of(train)[1:]:
            features = stage3.transform(train, runtime)
            clusters = self._cluster_anew(stage3, features, clusters, train, augment)
            n_clusters = int(clusters.max()) + 1
            known = self._clusters_of(unseen, train, clusters, stage2, stage3, features)
            believed = stage3.believe(unseen, runtime)
            told = stage3.transformations_
            alike = look_alike(believed, known, n_clusters, told)
            same = alike[:, 1:].any(axis=1).sum()
            if same:
                log.info("%d of %d clusters look the same transformed", same, n_clusters)
            if n_clusters == 1 and alike.all() and self._may_recolour(train):
                log.info("classifier: nothing is left to tell but exchanged colours")
                told = replace(told, recoloured=True)
                alike = np.hstack([alike, ~alike])
            stage3.refine(
                train,
                clusters,
                n_clusters,
                runtime,
                checkpoints,
                augment=augment,
                alike=alike,
                transformations=told,
            )
        return clusters

    def _may_recolour(self, images: ImageSet) -> bool:
        """Whether exchanged colours may be told where no turns are."""
        return self.config.classifier.recolour == "auto" and images.shape[0] == CHANNELS

    def _cluster_anew(
        self,
        stage3: Classifier,
        features: NDArray[np.float32],
        clusters: NDArray[np.int64],
        images: ImageSet,
        augment: Augmentation,
    ) -> NDArray[np.int64]:
        """Clusters int64 (N,) of stage 3's features (N, F): k-means, or the finest communities
        that augmented copies of the images have too. Where there are none, ``clusters`` stay.
        """
        config, runtime = self.config.dec, self.runtime
        if config.clusters != "auto":
            seed = runtime.seed_for("kmeans")
            kmeans = KMeans(config.clusters, restarts=config.restarts, seed=seed)
            return kmeans.fit(features, runtime.device).labels_
        graph = GraphClustering(seed=runtime.seed_for("graph"))
        graph.fit(features, images.groups)
        found = stage3.find_again(graph, features, images, augment, runtime)
        return clusters if found is None else found

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
            return stage2.predict(new, self.runtime)
        if features is None:
            features = stage3.transform(known, self.runtime)
        return clusters[assign(stage3.transform(new, self.runtime), features)[0]]

    def _make_settings(self, images: ImageSet) -> Settings:
        """The classifier's, as configured; ``stem: auto`` by the images' size."""
        settings = self.config.classifier
        _, height, width = images.shape
        stem = stem_for(settings.stem, height, width)
        if stem != settings.stem:
            log.info("classifier.stem: %s, as images are %d x %d pixels", stem, height, width)
        return settings.model_copy(update={"stem": stem})

    def _make_augmentation(self, images: ImageSet) -> Augmentation:
        """As configured; ``flip: auto`` where mirror images look as normal as the images do,
        ``brightness`` and ``contrast: auto`` by how much the images' own light varies.
        """
        changes: dict[str, Any] = dict(self.config.augment)
        self.mirror_share_ = mirror_share(images, self.runtime) if changes["flip"] else None
        if changes["flip"] == "auto":
            assert self.mirror_share_ is not None
            changes["flip"] = self.mirror_share_ < HARMLESS
            log.info(
                "augment.flip: %s; %.0f%% of the images are nearer to others than their mirror "
                "images are (50%%: no difference)",
                "on" if changes["flip"] else "off",
                100 * self.mirror_share_,
            )
        asked = [key for key in ("brightness", "contrast") if changes[key] == "auto"]
        if asked:
            spread = spread_of_light(images, self.runtime)
            relit = STRONG if spread >= VARIED else MILD
            changes |= dict.fromkeys(asked, relit)
            log.info(
                "augment.%s: %g; light varies by %.0f%% from image to image (from %.0f%%: a lot)",
                " and ".join(asked),
                relit,
                100 * spread,
                100 * VARIED,
            )
        return Augmentation(**changes)
