"""Stage 4 for large images: how far every spot's features are from those of normal spots."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clad.runtime import Runtime

BLOCK = 1024  # pixels a side that go through the network at a time
FLOOR = 1e-4  # of the largest variance; a direction under it is rounding


class LocalModel(Protocol):
    """A network whose early maps describe spots: a cell of ``local_step`` pixels a side each.

    ``local_reach``: pixels around a cell that its features depend on.
    """

    local_step: int
    local_reach: int

    def local_features(self, x: Tensor) -> Tensor:
        """Float (N, C, H, W) in [0, 1] -> (N, F, H / step, W / step)."""

    def eval(self) -> nn.Module:
        """For use, not for training."""


def halo(network: LocalModel) -> int:
    """Pixels that an image needs around it: its reach, in whole cells."""
    return -(-network.local_reach // network.local_step) * network.local_step


@torch.inference_mode()
def local_features(
    network: LocalModel, pixels: NDArray[np.uint8], runtime: Runtime
) -> NDArray[np.float32]:
    """Features float32 (h, w, F) of the cells inside uint8 (C, H, W), all but a halo around it.

    In blocks that overlap by the halo, so that no cell sees where a block ends.
    """
    network.eval()
    step, edge = network.local_step, halo(network)
    _, height, width = pixels.shape
    h, w = (height - 2 * edge) // step, (width - 2 * edge) // step
    found: NDArray[np.float32] | None = None
    for top in range(0, h, BLOCK // step):
        for left in range(0, w, BLOCK // step):
            rows, columns = min(BLOCK // step, h - top), min(BLOCK // step, w - left)
            block = pixels[
                :,
                top * step : (top + rows) * step + 2 * edge,
                left * step : (left + columns) * step + 2 * edge,
            ]
            with runtime.autocast():
                maps = network.local_features(runtime.floats(np.ascontiguousarray(block)[None]))
            cells = maps[0, :, edge // step :, edge // step :][:, :rows, :columns]
            if found is None:
                found = np.empty((h, w, len(cells)), np.float32)
            found[top : top + rows, left : left + columns] = (
                cells.permute(1, 2, 0).float().cpu().numpy()
            )
    assert found is not None
    return found


class LocalNeighbours:
    """Distance of each spot's features to the nearest of some normal spots.

    The idea of PatchCore (Roth et al. 2022, arXiv 2106.08265), with features learnt from the normal
    images themselves: whitened, so that a direction in which normal spots hardly differ counts as
    much as any other, and compared with the spots of a greedy coreset, each the farthest from those
    before it. Half of the ``prototypes`` come from spots drawn at random, half are left to
    ``extend``, for what is normal but rare.
    """

    def __init__(self, *, prototypes: int = 1024, seed: int = 0) -> None:
        self.prototypes = prototypes
        self.seed = seed

    def fit(self, features: NDArray[np.float32]) -> LocalNeighbours:
        """Choose from features (M, F) of normal spots, drawn at random.

        Sets ``centre_`` float32 (F,), ``whitening_`` float32 (F, D) and ``prototypes_`` float32
        (K, D), whitened.
        """
        self.centre_ = features.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(features - self.centre_, rowvar=False))
        kept = variances > variances.max() * FLOOR
        self.whitening_ = (axes[:, kept] / np.sqrt(variances[kept])).astype(np.float32)
        spots = (features - self.centre_) @ self.whitening_
        self.prototypes_ = spots[coreset(spots, self.prototypes - self.rare, self.seed)]
        return self

    @property
    def rare(self) -> int:
        """How many prototypes are for ``extend`` to add."""
        return self.prototypes // 2

    def extend(self, features: NDArray[np.float32], n: int) -> LocalNeighbours:
        """Keep ``n`` more spots of features (..., F), each the farthest from all kept so far.

        What is normal but rare is seldom among spots drawn at random, and would raise alarms.
        """
        spots = self._whitened(features)
        nearest = self._squares(spots)
        added: list[NDArray[np.float32]] = []
        while len(added) < n and nearest.max() > 0:
            added.append(spots[int(nearest.argmax())])
            nearest = np.minimum(nearest, ((spots - added[-1]) ** 2).sum(axis=1))
        self.prototypes_ = np.concatenate([self.prototypes_, *[spot[None] for spot in added]])
        return self

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Distances float32 (...) of features (..., F), higher = more anomalous."""
        return np.sqrt(self._squares(self._whitened(features))).reshape(features.shape[:-1])

    def _whitened(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return (features.reshape(-1, features.shape[-1]) - self.centre_) @ self.whitening_

    def _squares(self, spots: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squared distance (M,) of whitened spots (M, D) to the nearest kept one."""
        import faiss

        squared, _ = faiss.knn(spots, self.prototypes_, 1)
        found: NDArray[np.float32] = np.maximum(squared[:, 0], 0)
        return found


def coreset(X: NDArray[np.float32], n: int, seed: int) -> NDArray[np.int64]:
    """Rows int64 (<= n,) of X (M, D): the first at random, each next the farthest from all before.

    Gonzalez's greedy k-centre (1985), at most twice the best radius.
    """
    squares = np.einsum("md,md->m", X, X)
    chosen = [int(np.random.default_rng(seed).integers(len(X)))]
    nearest = np.full(len(X), np.inf, np.float32)
    while len(chosen) < min(n, len(X)):
        last = chosen[-1]
        nearest = np.minimum(nearest, squares - 2 * (X @ X[last]) + squares[last])
        farthest = int(nearest.argmax())
        if nearest[farthest] <= 0:
            break
        chosen.append(farthest)
    return np.array(chosen, np.int64)
