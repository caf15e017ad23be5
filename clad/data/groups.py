"""Which images must stay together: tracks, and exact duplicates found by their bytes."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clad.data.images import ImageSet

DIGEST = 16  # bytes


class Read(Protocol):
    """Images that were read through once and kept their digests: ``LargeImages``."""

    @property
    def digests(self) -> NDArray[np.uint8]:
        """uint8 (N, ``DIGEST``)."""

    def __len__(self) -> int: ...


Digestible = ImageSet | Read


def duplicate_groups(images: Digestible) -> NDArray[np.int64]:
    """int64 (N,): two images have one number exactly when every pixel of them agrees."""
    seen: dict[bytes, int] = {}
    numbers = (seen.setdefault(row.tobytes(), len(seen)) for row in digests(images))
    return np.fromiter(numbers, np.int64, len(images))


def digests(images: Digestible) -> NDArray[np.uint8]:
    """uint8 (N, ``DIGEST``): BLAKE2b of each image's pixels."""
    if not isinstance(images, ImageSet):
        return images.digests
    joined = b"".join(
        hashlib.blake2b(image, digest_size=DIGEST).digest()
        for batch in images.batches(512)
        for image in batch
    )
    return np.frombuffer(joined, np.uint8).reshape(-1, DIGEST)


def count_duplicates(images: ImageSet) -> int:
    """How many images repeat an earlier one exactly."""
    return len(images) - len(np.unique(duplicate_groups(images)))


def merge_groups(*groupings: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 (N,): the finest groups that every grouping (N,) agrees to keep whole.

    Two images end together when a chain of shared groups joins them: connected components of the
    graph that ties each image to the first of its group. Numbered by first occurrence.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(groupings[0])
    rows = np.tile(np.arange(n), len(groupings))
    firsts = []
    for grouping in groupings:
        _, first, inverse = np.unique(grouping, return_index=True, return_inverse=True)
        firsts.append(first[inverse])
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, np.concatenate(firsts))), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)
