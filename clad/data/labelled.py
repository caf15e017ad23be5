"""Labels stand beside images here, in ``splits.Answers`` and in the cache's files; nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clad.data.images import ImageSet
from clad.errors import DataError


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images of a benchmark with the class of each; no ``fit`` accepts it.

    ``labels``: int64 (N,), positions in ``classes``. Raises DataError where they do not fit.
    """

    images: ImageSet
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        n, k = len(self.images), len(self.classes)
        if self.labels.shape != (n,):
            raise DataError(f"labels of shape {self.labels.shape} for {n} images")
        if n and not (self.labels.min() >= 0 and self.labels.max() < k):
            raise DataError(f"labels {self.labels.min()}..{self.labels.max()} for {k} classes")

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Benchmark:
    """A labelled data set, training and test part, ready to be made into a task."""

    name: str
    classes: tuple[str, ...]
    train: Labelled
    test: Labelled
