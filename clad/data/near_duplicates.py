"""Which images nearly repeat another: one picture encoded twice, or made a little brighter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clad.data.images import ImageSet

NEARER = 0.15  # of the distance to the tenth nearest image
NEIGHBOURS = 10
SIDE = 8  # of the grey thumbnails that candidates are found by
CELL, PROBES = 1000, 4  # images a cell of the search, and cells looked into
BATCH = 2048


def near_duplicate_groups(images: ImageSet) -> NDArray[np.int64]:
    """int64 (N,): one number for near duplicates and whatever a chain of them joins.

    Two images are near duplicates where the distance between their pixels (root mean square) is at
    most ``NEARER`` of each one's distance to its tenth nearest image. The images around set the
    scale, so it holds at any contrast, and images that are merely alike, of one simple shape or
    before one fixed camera, stay single: ten others are about as near. For the same reason sets of
    more than ten near copies are not found; exact copies are to be left out before.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(images)
    if n <= NEIGHBOURS + 1:
        return np.arange(n)
    distances, nearest = _neighbours(_thumbnails(images))
    tenth = nearest[:, -1]
    rows, ranks = np.nonzero((distances <= NEARER * distances[:, -1:]) & (tenth[:, None] >= 0))
    near = nearest[rows, ranks]
    rows, near = rows[rows != near], near[rows != near]
    kept = _distance(images, rows, near) <= NEARER * _distance(images, rows, tenth[rows])
    rows, near = rows[kept], near[kept]
    nearer = csr_matrix((np.ones(len(rows), np.int8), (rows, near)), shape=(n, n))
    _, groups = connected_components(nearer.minimum(nearer.T), directed=False)
    return groups.astype(np.int64)


def _thumbnails(images: ImageSet) -> NDArray[np.float32]:
    """float32 (N, <= 64): grey sums over an 8x8 grid of cells."""
    _, height, width = images.shape
    tops, lefts = (np.unique(np.arange(SIDE) * side // SIDE) for side in (height, width))
    sums = [
        np.add.reduceat(np.add.reduceat(batch.sum(axis=1, dtype=np.float32), tops, 1), lefts, 2)
        for batch in images.batches(BATCH)
    ]
    return np.concatenate(sums).reshape(len(images), -1)


def _neighbours(points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distances and positions (N, 11) of the nearest points, itself among them; -1 for none.

    Approximate: the nearest cells of an inverted file are searched, so that time grows with N.
    """
    import faiss

    n, d = points.shape
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(d), d, max(1, n // CELL))
    index.cp.min_points_per_centroid = 1  # no warning about few images
    index.nprobe = PROBES
    index.train(points)
    index.add(points)
    squared, nearest = index.search(points, NEIGHBOURS + 1)
    return np.sqrt(np.maximum(squared, 0)), nearest


def _distance(
    images: ImageSet, one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """float64 (M,): root mean square of pixel differences between images at these positions."""
    found = np.empty(len(one))
    for start in range(0, len(one), BATCH):
        part = slice(start, start + BATCH)
        difference = images.read(one[part]).astype(np.float32) - images.read(other[part])
        found[part] = np.sqrt(np.mean(difference**2, axis=(1, 2, 3), dtype=np.float64))
    return found
