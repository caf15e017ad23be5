"""The pictures of a run: functions of arrays that write one PNG each, and of nothing else.

Scores: float (N,), higher = more anomalous. ``anomalous``: bool (N,), the truth where it is known.
Images: uint8 (N, C, H, W). ``draw_*`` fills an axis; the function of the same name makes the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clad.errors import DataError
from clad.metrics import auroc, detection_rate, false_alarm_rate, score_vector
from clad.report.canvas import (
    ANOMALY,
    INK,
    NEUTRAL,
    NORMAL,
    cluster_colour,
    picture,
    place_image,
    short,
    stage_for_images,
)

Floats = NDArray[np.float64]
Images = NDArray[np.uint8]


def score_histogram(
    path: Path,
    calibration_scores: ArrayLike,
    test_scores: ArrayLike,
    threshold: float,
    anomalous: ArrayLike | None = None,
) -> None:
    """Scores of held-out normal and of new images, and the share of each above the threshold."""
    with picture(path, 7.5, 4.2) as figure:
        draw_histogram(figure.subplots(), calibration_scores, test_scores, threshold, anomalous)


def draw_histogram(
    ax: Any,
    calibration_scores: ArrayLike,
    test_scores: ArrayLike,
    threshold: float,
    anomalous: ArrayLike | None = None,
) -> None:
    """Histograms in shares of their own group, so that groups of any size compare."""
    calibration = score_vector(calibration_scores, "calibration scores")
    test = score_vector(test_scores, "test scores")
    edges = bin_edges(np.r_[calibration, test], threshold)

    def bars(scores: Floats, name: str, **look: Any) -> None:
        if len(scores):
            ax.hist(
                np.clip(scores, edges[0], edges[-1]),
                edges,
                weights=np.full(len(scores), 100 / len(scores)),
                label=f"{name}: {100 * (scores > threshold).mean():.1f}% above",
                **look,
            )

    if anomalous is None:
        bars(test, "new images", color=NORMAL, alpha=0.5)
    else:
        truth = np.asarray(anomalous, dtype=bool)
        bars(test[~truth], "normal test images", color=NORMAL, alpha=0.5)
        bars(test[truth], "anomalies", color=ANOMALY, alpha=0.5)
    bars(calibration, "calibration images", color=INK, histtype="step", linewidth=1.2)
    name = f"threshold {short(threshold, edges)}"
    ax.axvline(threshold, color=INK, linestyle="--", linewidth=1.4, label=name)
    ax.set(title="Anomaly scores", xlabel="anomaly score", ylabel="% of its group per bin")
    ax.legend(loc="best")


def bin_edges(scores: Floats, threshold: float) -> Floats:
    """Edges (61,) of bars that hold the threshold; the outer bars gather what lies far out.

    A few far scores must not squeeze the rest into one bar.
    """
    everything = np.r_[scores, threshold]
    low = np.quantile(everything, 0.01, method="higher")
    high = np.quantile(everything, 0.99, method="lower")
    margin = 0.3 * (high - low)
    low, high = max(low - margin, everything.min()), min(high + margin, everything.max())
    edges = np.linspace(min(low, threshold), max(high, threshold), 61)
    return edges if edges[0] < edges[-1] else edges[0] + np.linspace(-0.5, 0.5, 61)


def roc(path: Path, scores: ArrayLike, anomalous: ArrayLike, threshold: float) -> None:
    """The trade of false alarms against detections, with the threshold's point on it."""
    with picture(path, 5, 4.8) as figure:
        draw_roc(figure.subplots(), scores, anomalous, threshold)


def draw_roc(ax: Any, scores: ArrayLike, anomalous: ArrayLike, threshold: float) -> None:
    """The ROC curve; never flipped, so one under the diagonal is shown under it."""
    from sklearn.metrics import roc_curve

    area = auroc(scores, anomalous)
    vector, truth = score_vector(scores), np.asarray(anomalous, dtype=bool)
    alarms, detected, _ = roc_curve(truth, vector)
    flagged = vector > threshold
    point = false_alarm_rate(flagged, truth), detection_rate(flagged, truth)
    ax.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=0.9, linestyle=":")
    ax.plot(alarms, detected, color=NORMAL, linewidth=2, label=f"AUROC {area:.3f}")
    ax.plot(
        *point,
        "o",
        color=ANOMALY,
        markersize=9,
        markeredgecolor="white",
        clip_on=False,
        zorder=3,
        label=f"threshold: {100 * point[0]:.1f}% false alarms,\n{100 * point[1]:.1f}% detected",
    )
    ax.set(xlim=(0, 1), ylim=(0, 1.005), aspect="equal")
    ax.set(xlabel="false-alarm rate", ylabel="detection rate", title="ROC")
    ax.legend(loc="lower right")


def embed(latents: ArrayLike, seed: int, n_jobs: int = 1, first: int | None = None) -> Floats:
    """t-SNE of latents (N, D) in the plane, float64 (N, 2), by openTSNE; a few seconds for 3000.

    Perplexity 30, less where N is under 91; Barnes-Hut under 10,000 images and interpolation above.
    ``first``: only so many are embedded and the rest is placed among them, which is quicker.
    The same seed gives the same map. DataError: not (N, D), or NaN.
    """
    points = np.asarray(latents, dtype=np.float64)
    if points.ndim != 2:
        raise DataError(f"latents should be (N, D), got {points.shape}")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise DataError(f"latents[{row}] holds NaN or infinity")
    points, others = np.split(points, [first if first else len(points)])
    n = len(points)
    if n < 2:
        return np.zeros((n, 2))
    from openTSNE import TSNE

    spread = int((np.ptp(points, axis=0) > 0).sum())
    tsne = TSNE(
        perplexity=min(30, (n - 1) / 3),
        # Two principal components need two directions of variation to be taken from.
        initialization="pca" if spread >= 2 else "random",
        random_state=seed,
        n_jobs=n_jobs,
    )
    embedding = tsne.fit(points)
    if len(others):
        return np.concatenate([embedding, embedding.transform(others)])
    return np.asarray(embedding, dtype=np.float64)


def latent_map(
    path: Path,
    embedding: ArrayLike,
    clusters: ArrayLike,
    title: str = "Latent space, coloured by cluster",
) -> None:
    """The embedded latents (N, 2), one colour and one number a cluster (N,)."""
    with picture(path, 6.5, 6) as figure:
        draw_map(figure.subplots(), embedding, clusters, title)


def draw_map(ax: Any, embedding: ArrayLike, clusters: ArrayLike, title: str) -> None:
    """Points in their cluster's colour, and its number at their median."""
    from matplotlib.patheffects import withStroke

    points, labels = np.asarray(embedding), np.asarray(clusters)
    size = float(np.clip(9000 / max(1, len(points)), 3, 24))
    # In random order: otherwise the last cluster drawn covers the others where they overlap.
    order = np.random.default_rng(0).permutation(len(points))
    colours = np.array([cluster_colour(c) for c in labels[order].tolist()])
    ax.scatter(*points[order].T, c=colours, s=size, alpha=0.75, linewidths=0, rasterized=True)
    for cluster in np.unique(labels).tolist():
        ax.annotate(
            str(cluster),
            np.median(points[labels == cluster], axis=0),
            ha="center",
            va="center",
            fontsize=13,
            fontweight="bold",
            path_effects=[withStroke(linewidth=3.5, foreground="white")],
        )
    ax.set_title(title)
    ax.set(xlabel="t-SNE 1", ylabel="t-SNE 2", xticks=[], yticks=[])
    ax.set_aspect("equal", adjustable="datalim")


def cluster_gallery(
    path: Path,
    images: Images,
    clusters: ArrayLike,
    distances: ArrayLike,
    per_cluster: int = 10,
    most_clusters: int = 20,
) -> None:
    """The images nearest each cluster's centre, by ``distances`` (N,) to their own centre."""
    rows = min(most_clusters, len(np.unique(np.asarray(clusters))))
    with picture(path, 0.62 * per_cluster + 1.6, 0.62 * rows + 0.5) as figure:
        draw_gallery(figure.subplots(), images, clusters, distances, per_cluster, most_clusters)


def draw_gallery(
    ax: Any,
    images: Images,
    clusters: ArrayLike,
    distances: ArrayLike,
    per_cluster: int = 10,
    most_clusters: int = 20,
) -> None:
    """A row a cluster, nearest first, framed in its colour; the largest clusters if too many."""
    labels, far = np.asarray(clusters), np.asarray(distances)
    names, counts = np.unique(labels, return_counts=True)
    kept = np.sort(names[np.argsort(-counts, kind="stable")[:most_clusters]])
    stage_for_images(ax, per_cluster, len(kept))
    for row, cluster in enumerate(kept.tolist()):
        members = np.flatnonzero(labels == cluster)
        ax.text(
            -0.15,
            row + 0.46,
            f"cluster {cluster}\n{len(members)} images",
            ha="right",
            va="center",
            fontsize=9,
            color=INK,
        )
        nearest = members[np.argsort(far[members], kind="stable")[:per_cluster]]
        for column, i in enumerate(nearest):
            place_image(ax, images[i], column, row, cluster_colour(cluster))
    left_out = "" if len(kept) == len(names) else f" (the {len(kept)} largest of {len(names)})"
    ax.set_title(f"Images nearest each cluster's centre{left_out}")


def most_anomalous(
    path: Path,
    images: Images,
    scores: ArrayLike,
    anomalous: ArrayLike | None = None,
    n: int = 40,
) -> None:
    """The ``n`` images of the highest scores, each with its score, framed by the truth if known."""
    columns = min(10, max(1, min(n, len(images))))
    rows = -(-min(n, len(images)) // columns)
    with picture(path, max(5.0, 0.85 * columns), 1.05 * rows + 0.45) as figure:
        draw_most_anomalous(figure.subplots(), images, scores, anomalous, n, columns)


def draw_most_anomalous(
    ax: Any,
    images: Images,
    scores: ArrayLike,
    anomalous: ArrayLike | None = None,
    n: int = 40,
    columns: int = 10,
) -> None:
    """A sheet of images in falling order of score, with a legend of the frames."""
    from matplotlib.patches import Patch

    vector = score_vector(scores)
    top = np.argsort(-vector, kind="stable")[:n]
    tall = 1.22  # a cell and the line of its score
    rows = -(-len(top) // columns)
    stage_for_images(ax, columns, rows * tall)
    for place, i in enumerate(top):
        row, column = divmod(place, columns)
        colour = None if anomalous is None else ANOMALY if np.asarray(anomalous)[i] else NORMAL
        place_image(ax, images[i], column, row * tall, colour)
        caption = short(vector[i], vector[top])
        ax.text(column + 0.46, row * tall + 0.95, caption, ha="center", va="top", size=8)
    ax.set_title(f"The {len(top)} highest scores")
    if anomalous is not None:
        wrong = int((~np.asarray(anomalous, dtype=bool)[top]).sum())
        frames = [
            Patch(fill=False, edgecolor=ANOMALY, lw=2, label=f"{len(top) - wrong} anomalies"),
            Patch(fill=False, edgecolor=NORMAL, lw=2, label=f"{wrong} normal images"),
        ]
        ax.legend(handles=frames, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))


def overview(
    path: Path,
    *,
    calibration_scores: ArrayLike,
    test_scores: ArrayLike,
    threshold: float,
    anomalous: ArrayLike | None,
    embedding: ArrayLike,
    embedding_clusters: ArrayLike,
    images: Images,
    clusters: ArrayLike,
    distances: ArrayLike,
    test_images: Images,
    title: str,
) -> None:
    """A whole run in one wide picture: clusters found, scores, ROC if the truth is known, finds.

    ``embedding`` (M, 2) with its own ``embedding_clusters`` (M,), because a map may show fewer
    images than the gallery's ``images``, ``clusters`` and ``distances`` choose from.
    """
    with picture(path, 15, 9.2) as figure:
        figure.suptitle(title, fontsize=15, fontweight="bold", x=0.01, ha="left")
        above, below = figure.subfigures(2, 1, height_ratios=(4.6, 4.0))
        panels = 2 if anomalous is None else 3
        axes = above.subplots(1, panels, width_ratios=(4.4, 5.6, 4.4)[:panels])
        draw_map(axes[0], embedding, embedding_clusters, "Latent space, coloured by cluster")
        draw_histogram(axes[1], calibration_scores, test_scores, threshold, anomalous)
        if anomalous is not None:
            draw_roc(axes[2], test_scores, anomalous, threshold)
        left, right = below.subplots(1, 2, width_ratios=(1, 1.1))
        draw_gallery(left, images, clusters, distances, per_cluster=8, most_clusters=5)
        draw_most_anomalous(right, test_images, test_scores, anomalous, n=40, columns=10)
