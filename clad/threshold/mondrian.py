"""Mondrian: a conformal threshold for each predicted cluster, so that none pays for another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clad.errors import ConfigError, DataError
from clad.metrics import score_vector
from clad.threshold.conformal import conformal_rank, interval
from clad.threshold.rule import Guarantee, Rule, conformal_p, needed, percent, rate


class Mondrian(Rule):
    """False alarms at most ``alpha`` on average within every predicted cluster.

    Laxhammar and Falkman; Vovk et al. 2005, section 4.5. Clusters expected to get fewer than
    ``min_count`` calibration images (default: twice what alpha needs, so that chance rarely leaves
    fewer than it needs) share one pool, which takes further clusters, smallest first, until it is
    large enough. The expectation is from training counts where given: chosen by the calibration set
    itself, the pool would no longer be exchangeable.

    ``thresholds_``: cluster -> threshold. ``threshold_``: the marginal one, from all calibration
    scores; it serves a cluster never seen and a group that chance left too small.
    """

    thresholds_: dict[int, float]
    groups_: dict[int, NDArray[np.float64]]

    def __init__(self, *, alpha: float = 0.05, min_count: int | None = None) -> None:
        self.alpha = rate("alpha", alpha)
        if min_count is not None and min_count < needed(self.alpha):
            raise ConfigError(
                f"min_count={min_count} should be >= {needed(self.alpha)} for alpha={self.alpha}"
            )
        self.min_count = min_count

    def _learn(self, ordered: NDArray[np.float64]) -> float:
        return float(ordered[conformal_rank(len(ordered), self.alpha) - 1])

    def fit(
        self,
        scores: ArrayLike,
        clusters: ArrayLike | None = None,
        *,
        train_counts: ArrayLike | None = None,
        synthetic: ArrayLike | None = None,
    ) -> Mondrian:
        """Learn from calibration scores (n,) and their predicted clusters (n,).

        ``train_counts`` (K,): training images in each cluster; without it the calibration set's
        own counts decide what is pooled.
        """
        unsorted = score_vector(scores, "calibration scores")
        labels = cluster_vector(clusters, len(unsorted))
        super().fit(unsorted)
        counts = np.bincount(labels) if train_counts is None else count_vector(train_counts)
        counts = np.pad(counts, (0, max(0, labels.max() + 1 - len(counts))))
        smallest = 2 * needed(self.alpha) if self.min_count is None else self.min_count
        group = pool(counts * (len(labels) / counts.sum()), smallest)
        members = {g: np.sort(unsorted[group[labels] == g]) for g in np.unique(group).tolist()}
        self.groups_ = {
            cluster: members[g] if len(members[g]) >= needed(self.alpha) else self.scores_
            for cluster, g in enumerate(group.tolist())
        }
        self.thresholds_ = {c: self._learn(ordered) for c, ordered in self.groups_.items()}
        return self

    def p_values(self, scores: ArrayLike, clusters: ArrayLike | None = None) -> NDArray[np.float64]:
        """Conformal p-values within each image's cluster (or its pool), float64 (N,)."""
        vector = score_vector(scores)
        labels = cluster_vector(clusters, len(vector))
        p = np.empty(len(vector))
        for cluster in np.unique(labels).tolist():
            here = labels == cluster
            p[here] = conformal_p(self.groups_.get(cluster, self.scores_), vector[here])
        return p

    def predict(self, scores: ArrayLike, clusters: ArrayLike | None = None) -> NDArray[np.int64]:
        """1 where a score lies above the threshold of its cluster, else 0: int64 (N,)."""
        vector = score_vector(scores)
        labels = cluster_vector(clusters, len(vector))
        limits = np.full(max(labels.max(initial=0), max(self.thresholds_)) + 1, self.threshold_)
        limits[list(self.thresholds_)] = list(self.thresholds_.values())
        return (vector > limits[labels]).astype(np.int64)

    def guarantee(self) -> Guarantee:
        """The promise, and the 90% interval that holds each group of clusters."""
        sizes = sorted({id(g): len(g) for g in self.groups_.values()}.values())
        ends = [interval(n, conformal_rank(n, self.alpha)) for n in sizes]
        low, high = min(e[0] for e in ends), max(e[1] for e in ends)
        each = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
        where = f"in each of {len(sizes)} groups of clusters" if sizes[1:] else "over all clusters"
        return Guarantee(
            f"{100 * self.alpha:.4g}% false alarms promised {where}; with {each} calibration "
            f"images a group expect {percent(low)} to {percent(high)}% (90% interval)",
            self.alpha,
            len(self.scores_),
            low,
            high,
        )


def pool(expected: NDArray[np.float64], smallest: float) -> NDArray[np.int64]:
    """Group number of each cluster (K,), from the calibration images expected in it (K,).

    A cluster is a group of its own unless it expects fewer than ``smallest``: those are merged,
    with the next smallest clusters if together they are still too few. Empty ones stay alone.
    """
    group = np.arange(len(expected))
    rising = [c for c in np.argsort(expected, kind="stable").tolist() if expected[c] > 0]
    pooled: list[int] = []
    for cluster in rising:
        held = expected[pooled].sum()
        if expected[cluster] >= smallest and (not pooled or held >= smallest):
            break
        pooled.append(cluster)
    group[pooled] = min(pooled, default=0)
    return group


def cluster_vector(clusters: ArrayLike | None, n: int) -> NDArray[np.int64]:
    """Cluster numbers as int64 (n,), or DataError."""
    if clusters is None:
        raise DataError("the mondrian rule needs the predicted cluster of every image")
    labels = np.asarray(clusters)
    if labels.shape != (n,):
        raise DataError(f"clusters should be ({n},) as the scores are, got {labels.shape}")
    if n and (not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0):
        raise DataError(f"clusters should be integers >= 0, got {labels.dtype} from {labels.min()}")
    return labels.astype(np.int64)


def count_vector(train_counts: ArrayLike) -> NDArray[np.int64]:
    """Training images in each cluster as integers (K,), or DataError."""
    counts = np.asarray(train_counts)
    if counts.ndim != 1 or not np.issubdtype(counts.dtype, np.integer):
        raise DataError(f"train_counts should be (K,) integers, got {counts.dtype} {counts.shape}")
    if counts.min(initial=0) < 0 or not counts.sum():
        raise DataError("train_counts should be >= 0 with a sum > 0")
    return counts.astype(np.int64)
