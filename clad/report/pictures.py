"""The pictures of one run, from the fitted detector and its scores; nothing is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clad.data.images import ImageSet
from clad.detector import Scores
from clad.pipeline import CLAD
from clad.report import plots
from clad.runtime import log

MAP_POINTS = 3000  # t-SNE of more takes longer and shows no more


def draw(
    folder: Path,
    detector: CLAD,
    test: ImageSet,
    scores: Scores,
    anomalous: NDArray[np.bool_],
    title: str,
) -> None:
    """Write the run's PNGs into ``folder``: each plot alone and all in ``overview.png``.

    Maps and galleries show the images fitted on, in the clusters that stage 2 gave them.
    """
    log.info("pictures ...")
    seed = detector.runtime_.seed_for("pictures")
    n = len(detector.fit_images_)
    chosen = np.arange(n)
    if n > MAP_POINTS:
        chosen = np.sort(np.random.default_rng(seed).choice(n, MAP_POINTS, replace=False))
    fitted = detector.fit_images_.take(chosen)
    clusters = detector.clusters_[chosen]
    latents = detector.latents(fitted)
    distances = np.linalg.norm(latents - detector.model_.centers[clusters], axis=1)
    embedding = plots.embed(latents, seed % 2**32)
    calibration, threshold = detector.calibration_.scores, detector.threshold_
    images, test_images = fitted.read(), test.read(np.argsort(-scores.score, kind="stable")[:40])
    top = np.argsort(-scores.score, kind="stable")[:40]

    plots.score_histogram(folder / "scores.png", calibration, scores.score, threshold, anomalous)
    plots.roc(folder / "roc.png", scores.score, anomalous, threshold)
    plots.latent_map(folder / "latents.png", embedding, clusters)
    plots.cluster_gallery(folder / "clusters.png", images, clusters, distances)
    plots.most_anomalous(
        folder / "most_anomalous.png", test_images, scores.score[top], anomalous[top]
    )
    plots.overview(
        folder / "overview.png",
        calibration_scores=calibration,
        test_scores=scores.score,
        threshold=threshold,
        anomalous=anomalous,
        embedding=embedding,
        embedding_clusters=clusters,
        images=images,
        clusters=clusters,
        distances=distances,
        test_images=test.read(),
        title=title,
    )
