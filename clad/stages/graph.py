"""Stage 2, another start: communities of a neighbour graph, which also say how many there are."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clad.runtime import log
from clad.stages.kmeans import assign

RESOLUTIONS = (0.1, 0.2, 0.4, 0.8, 1.6)  # of modularity, coarse to fine
RUNS = 4  # differently seeded, at each resolution
STABLE = 0.9  # mean adjusted Rand index of all pairs of them, at least
LIMIT = 50_000  # rows of a graph; of more a sample is clustered
FEWEST = 15  # rows, or groups of them, that are a community of their own, and
SMALL = 0.01  # at least this share of all; a smaller one is joined to the nearest large one
EXCHANGED = 0.1  # of the rows of each of two clusters, at least, where other views show them as one


class Partition(NamedTuple):
    """The communities at one resolution: labels int64 (N,), largest cluster first."""

    resolution: float
    stability: float
    labels: NDArray[np.int64]


class GraphClustering:
    """Leiden communities (Traag et al. 2019) of the k-nearest-neighbour graph of the latents.

    How fine to cut is decided without labels: the finest resolution at which differently seeded
    runs still agree. Hidden classes that are manifolds rather than balls, such as handwritten
    digits, are found whole where k-means cuts.

    Of more than ``limit`` rows a random sample is clustered, and every other row joins its nearest
    in the sample: the graph's cost grows faster than its rows. A sample shows less (11 communities
    of 60,000 digits, 9 of 30,000 of them, 8 of 15,000), so it is large.
    """

    def __init__(self, *, neighbours: int = 15, limit: int = LIMIT, seed: int = 0) -> None:
        self.neighbours = neighbours
        self.limit = limit
        self.seed = seed

    def fit(
        self, X: NDArray[np.float32], groups: NDArray[np.int64] | None = None
    ) -> GraphClustering:
        """Cluster float32 (N, D); sets ``labels_`` int64 (N,), largest cluster first,
        ``n_clusters_``, ``resolution_`` and ``stability_``, and ``partitions_``, of which those are
        the first: all that are stable, from fine to coarse, and one cluster at the end. ``asked_``
        int64 (M,) are the rows whose graph it is: all, or the sample.

        ``groups`` int64 (N,): rows of one group, such as the frames of one track, show the same
        thing: all go where most of them are, and count as one where it is asked whether a community
        is large enough to be a cluster. Where no resolution gives two clusters or more that are
        stable there is one: normal is one thing, or what it consists of does not show here.
        """
        groups = _numbered(groups, len(X))
        self.asked_ = np.arange(len(X))
        if len(X) > self.limit:
            rng = np.random.default_rng(self.seed)
            some = self.asked_ = np.sort(rng.choice(len(X), self.limit, replace=False))
            nearest = assign(X, X[some])[0]
            self.partitions_ = [
                part._replace(labels=_by_size(_of_most(part.labels[nearest], groups)))
                for part in self._partitions(X[some], groups[some])
            ]
        else:
            self.partitions_ = self._partitions(X, groups)
        self.resolution_, self.stability_, self.labels_ = self.partitions_[0]
        self.n_clusters_ = int(self.labels_.max()) + 1
        log.info(
            "graph: %d clusters, stability %.2f under reseeding", self.n_clusters_, self.stability_
        )
        return self

    def _partitions(self, X: NDArray[np.float32], groups: NDArray[np.int64]) -> list[Partition]:
        graph = self._graph(X)
        partitions = [Partition(RESOLUTIONS[0], 1.0, np.zeros(len(X), np.int64))]
        for resolution in RESOLUTIONS:
            partition = self._stable(X, graph, resolution, groups)
            if partition is not None:
                partitions.append(partition)
        return partitions[::-1]

    def _stable(
        self, X: NDArray[np.float32], graph: Any, resolution: float, groups: NDArray[np.int64]
    ) -> Partition | None:
        """The communities at one resolution, if they are several and stable.

        Seeds that could not change the answer any more are not asked: each costs seconds.
        """
        from sklearn.metrics import adjusted_rand_score

        n_pairs = RUNS * (RUNS - 1) // 2
        runs: list[NDArray[np.int64]] = []
        agreement: list[float] = []
        for run in self._communities(graph, resolution, groups):
            agreement += [adjusted_rand_score(other, run) for other in runs]
            runs.append(run)
            at_most = (sum(agreement) + n_pairs - len(agreement)) / n_pairs
            log.debug(
                "graph: resolution %g, seed %d: %d clusters, stability at most %.3f",
                resolution,
                len(runs),
                len(np.unique(run)),
                at_most,
            )
            if at_most < STABLE:
                return None
            if len(runs) == 1:
                labels = _by_size(_of_most(_join_small(X, run, groups), groups))
                if labels.max() == 0:
                    return None
        return Partition(resolution, at_most, labels)

    def agreements(
        self, X: NDArray[np.float32], groups: NDArray[np.int64] | None = None
    ) -> Iterator[float]:
        """How far other views (M, D) of the rows ``asked_`` have the same clusters: at most 1.

        Of one of ``partitions_`` after another, but for the one cluster at the end: the mean
        adjusted Rand index of its labels and the views' own communities at the same resolution,
        over all seeds. ``groups`` int64 (M,) are of the same rows.
        """
        from sklearn.metrics import adjusted_rand_score

        graph, groups = self._graph(X), _numbered(groups, len(X))
        for partition in self.partitions_[:-1]:
            labels = partition.labels[self.asked_]
            runs = self._communities(graph, partition.resolution, groups)
            yield float(np.mean([adjusted_rand_score(labels, run) for run in runs]))

    def _graph(self, X: NDArray[np.float32]) -> Any:
        return neighbour_graph(X, min(self.neighbours, len(X) - 1))

    def _communities(
        self, graph: Any, resolution: float, groups: NDArray[np.int64]
    ) -> Iterator[NDArray[np.int64]]:
        """Of one seed after another, int64 (N,)."""
        for i in range(RUNS):
            yield _of_most(leiden(graph, resolution, (self.seed + i) % 2**31), groups)


def finest(
    partitions: Sequence[Partition], agreements: Iterable[float], least: float, said: str
) -> Partition:
    """The first of ``partitions``, fine to coarse, that agrees with other views by ``least``.

    The last of them, one cluster, where none is. ``agreements`` are asked for one at a time, and
    logged after ``said``, which takes the number of clusters.
    """
    for partition, agreement in zip(partitions[:-1], agreements, strict=False):
        found = agreement >= least
        tail = "" if found else f", under {least:g}"
        log.info(f"{said} %.2f%s", int(partition.labels.max()) + 1, agreement, tail)
        if found:
            return partition
    return partitions[-1]


def united(
    labels: NDArray[np.int64], rows: NDArray[np.int64], seen: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Labels int64 (N,), largest cluster first, with clusters as one that exchange their rows.

    ``seen``: int64 (M,), the clusters that other views of some ``rows`` (M,) fall into. Two are one
    where ``EXCHANGED`` of each go to the other.
    """
    from scipy.sparse.csgraph import connected_components
    from sklearn.metrics import confusion_matrix

    clusters = np.arange(labels.max() + 1)
    shares = confusion_matrix(labels[rows], seen, labels=clusters, normalize="true")
    one_of = connected_components(np.minimum(shares, shares.T) >= EXCHANGED)[1]
    return _by_size(one_of[labels])


def leiden(graph: object, resolution: float, seed: int) -> NDArray[np.int64]:
    """Communities int64 (N,) of an adjacency (N, N), the same for the same seed."""
    from sknetwork.clustering import Leiden

    ctypes.CDLL(None).srand(seed)  # its refinement draws from C's rand(), which no argument seeds
    found = Leiden(resolution=resolution, shuffle_nodes=True, random_state=seed).fit_predict(graph)
    labels: NDArray[np.int64] = found.astype(np.int64)
    return labels


def _numbered(groups: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """Groups int64 (N,) as 0..G-1; each row alone where there are none."""
    return np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]


def _of_most(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row's label that most rows of its group have; groups int64 (N,)."""
    n_labels = int(labels.max()) + 1
    pairs, counts = np.unique(groups * n_labels + labels, return_counts=True)
    order = np.lexsort((-counts, pairs // n_labels))  # of two labels as common, the lower
    there, first = np.unique(pairs[order] // n_labels, return_index=True)
    most: NDArray[np.int64] = pairs[order][first] % n_labels
    return most[np.searchsorted(there, groups)]


def _join_small(
    X: NDArray[np.float32], labels: NDArray[np.integer], groups: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Labels 0..K-1; members of small clusters go to the nearest centre of a large one.

    A cluster is small by the number of ``groups`` (N,) that it has rows of.
    """
    labels = _by_size(labels)
    of_cluster = np.unique(np.stack([labels, groups]), axis=1)[0]
    smallest = max(FEWEST, round(SMALL * len(np.unique(groups))))
    large = np.bincount(of_cluster) >= smallest
    large[0] |= not large.any()
    joined: NDArray[np.int64] = np.where(large, large.cumsum() - 1, -1)[labels]
    strays = joined < 0
    if strays.any():
        joined[strays] = assign(X[strays], centroids(X, joined, int(large.sum())))[0]
    return joined


def _by_size(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """The same clusters, numbered from the largest."""
    order = np.argsort(-np.bincount(labels), kind="stable")
    return np.argsort(order)[labels].astype(np.int64)


def centroids(
    X: NDArray[np.float32], labels: NDArray[np.int64], n_clusters: int
) -> NDArray[np.float32]:
    """Mean float32 (K, D) of each cluster's rows; rows labelled -1 count for none."""
    return np.stack([X[labels == k].mean(axis=0) for k in range(n_clusters)])


def neighbour_graph(X: NDArray[np.float32], neighbours: int) -> Any:
    """Symmetric 0 / 1 adjacency, scipy CSR (N, N): an edge where either is near the other."""
    import faiss
    from scipy import sparse

    X = np.ascontiguousarray(X, dtype=np.float32)
    n = len(X)
    _, nearest = faiss.knn(X, X, neighbours + 1)
    # duplicates can push a row itself off first place, so by number
    near = nearest != np.arange(n)[:, None]
    near &= near.cumsum(axis=1) <= neighbours
    rows = np.repeat(np.arange(n), near.sum(axis=1))
    ones = np.ones(len(rows), dtype=np.float32)
    graph = sparse.csr_matrix((ones, (rows, nearest[near])), shape=(n, n))
    return graph.maximum(graph.T)
