"""Stage 2a: k-means by FAISS, on the CPU or a GPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clad.errors import FitError
from clad.runtime import log

SAMPLE_PER_CLUSTER = 256  # restarts compete on a sample; more points rank them no better


class KMeans:
    """Restarts of k-means++ on a sample, the best polished on all points.

    Cheaper than restarting on all points and no worse: what restarts decide is which basin to be
    in, and a sample tells that. FAISS splits a large cluster where one runs empty.
    """

    def __init__(
        self, n_clusters: int, *, restarts: int = 10, iterations: int = 100, seed: int = 0
    ) -> None:
        self.n_clusters = n_clusters
        self.restarts = restarts
        self.iterations = iterations
        self.seed = seed

    def fit(self, X: NDArray[np.float32], device: str = "cpu") -> KMeans:
        """Cluster float32 (N, D); sets ``cluster_centers_`` float32 (K, D), ``labels_`` int64 (N,)
        and ``inertia_``, the sum of squared distances to the nearest centre.

        Raises FitError for fewer (distinct) points than clusters or values that are not finite.
        """
        from sklearn.cluster import kmeans_plusplus

        X = np.ascontiguousarray(X, dtype=np.float32)
        self._check(X)
        rng = np.random.default_rng(self.seed)
        size = min(len(X), SAMPLE_PER_CLUSTER * self.n_clusters)
        sample = X if size == len(X) else X[np.sort(rng.choice(len(X), size, replace=False))]
        best_inertia, best = np.inf, None
        for _ in range(self.restarts):
            state = int(rng.integers(2**31))
            seeds, _ = kmeans_plusplus(sample, self.n_clusters, random_state=state)
            centers = self._lloyd(sample, seeds, min(self.iterations, 25), state, device)
            inertia = float(assign(sample, centers)[1].sum())
            if inertia < best_inertia:
                best_inertia, best = inertia, centers
        assert best is not None
        return self._polish(X, best, device)

    def refine(
        self, X: NDArray[np.float32], centers: NDArray[np.float32], device: str = "cpu"
    ) -> KMeans:
        """Lloyd's iterations from given centres float32 (K, D); sets the same attributes."""
        X = np.ascontiguousarray(X, dtype=np.float32)
        self._check(X)
        return self._polish(X, centers, device)

    def _polish(self, X: NDArray[np.float32], centers: NDArray[np.float32], device: str) -> KMeans:
        labels, distances = assign(X, centers)
        for round_ in range(self.iterations):
            centers = self._lloyd(X, centers, 10, self.seed, device)
            before, inertia = labels, float(distances.sum())
            labels, distances = assign(X, centers)
            if len(np.unique(labels)) < self.n_clusters:
                log.info("k-means: an empty cluster is moved to the farthest point")
                empty = np.setdiff1d(np.arange(self.n_clusters), labels)
                centers[empty] = X[np.argsort(distances)[-len(empty) :]]
                labels, distances = assign(X, centers)
            settled = np.array_equal(before, labels) or distances.sum() > inertia * (1 - 1e-6)
            if settled and round_ > 0 and len(np.unique(labels)) == self.n_clusters:
                break
        filled = len(np.unique(labels))
        if filled < self.n_clusters:  # what many points, not sorted before, turn out to be
            raise _too_few(filled, self.n_clusters)
        self.cluster_centers_ = centers
        self.labels_ = labels
        self.inertia_ = float(distances.sum())
        return self

    def _lloyd(
        self,
        X: NDArray[np.float32],
        centers: NDArray[np.float32],
        iterations: int,
        seed: int,
        device: str,
    ) -> NDArray[np.float32]:
        import faiss

        kmeans = faiss.Kmeans(
            X.shape[1],
            self.n_clusters,
            niter=iterations,
            seed=seed % 2**31,
            gpu=faiss_gpus() if device.startswith("cuda") else False,
            min_points_per_centroid=1,
            max_points_per_centroid=len(X),  # never subsample behind our back
        )
        kmeans.train(X, init_centroids=np.ascontiguousarray(centers, dtype=np.float32))
        return np.array(kmeans.centroids, dtype=np.float32)

    def _check(self, X: NDArray[np.float32]) -> None:
        if not np.isfinite(X).all():
            row = int(np.flatnonzero(~np.isfinite(X).all(axis=1))[0])
            raise FitError(f"k-means: row {row} of the latents is not finite")
        distinct = len(np.unique(X, axis=0)) if len(X) < 10_000 else len(X)
        if distinct < self.n_clusters:
            raise _too_few(distinct, self.n_clusters)


def _too_few(distinct: int, n_clusters: int) -> FitError:
    return FitError(
        f"n_samples={distinct} distinct should be >= n_clusters={n_clusters}; "
        "add images or lower dec.clusters"
    )


def assign(
    X: NDArray[np.float32], centers: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Nearest centre of each row: labels int64 (N,), squared distances float32 (N,)."""
    import faiss

    distances, labels = faiss.knn(
        np.ascontiguousarray(X, dtype=np.float32),
        np.ascontiguousarray(centers, dtype=np.float32),
        1,
    )
    return labels[:, 0].astype(np.int64), distances[:, 0]


def faiss_gpus() -> int:
    """How many GPUs the installed FAISS can use: 0 for the CPU build."""
    import faiss

    return faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
