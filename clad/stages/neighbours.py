"""Stage 4, another score: how far the classifier's features are from those of normal images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.layers import FeatureModel
from clad.stages.transformations import UNCHANGED, Transformations


class Neighbours:
    """Distance to the nearest normal features plus the lack of a large logit.

    For each turn of an image: (a) the distance of its unit-length penultimate features to the
    nearest of the normal images turned the same way (Sun et al. 2022, arXiv 2204.06507), and (b)
    minus the largest logit among the classes of that turn (Hendrycks et al. 2022, arXiv
    1911.11132). Both are averaged over the turns (Golan and El-Yaniv 2018) and added in units of
    their standard deviation over the normal images fitted on.
    """

    def __init__(
        self,
        *,
        transformations: Transformations = UNCHANGED,
        limit: int = 5000,
        seed: int = 0,
    ) -> None:
        self.transformations = transformations
        self.limit = limit
        self.seed = seed

    def fit(self, network: FeatureModel, images: ImageSet, runtime: Runtime) -> Neighbours:
        """Keep the features of at most ``limit`` images, drawn at random.

        Sets ``features_`` float32 (R, M, F), ``kept_`` bool (N,), the images they are of, and
        ``scales_`` float64 (2,), the two standard deviations, of distances that leave each image
        itself out.
        """
        self.kept_ = kept(len(images), self.limit, self.seed)
        self.features_, logits = self._respond(network, images.take(self.kept_), runtime)
        every = np.ones(len(logits), bool)
        parts = np.stack([self._distances(self.features_, every), -logits])
        self.scales_ = np.maximum(parts.std(axis=1), 1e-12)
        return self

    def score(
        self,
        network: FeatureModel,
        images: ImageSet,
        runtime: Runtime,
        own: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float64]:
        """Anomaly scores float64 (N,), higher = more anomalous.

        ``own``: bool (N,), the images whose own features are among those kept; theirs do not count.
        """
        features, logits = self._respond(network, images, runtime)
        own = np.zeros(len(logits), bool) if own is None else own
        parts = np.stack([self._distances(features, own), -logits])
        scores: NDArray[np.float64] = (parts / self.scales_[:, None]).sum(axis=0)
        return scores

    @torch.inference_mode()
    def _respond(
        self, network: FeatureModel, images: ImageSet, runtime: Runtime, batch_size: int = 512
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Unit features (R, N, F); the largest logit of the right turn, mean over turns, (N,)."""
        network.eval()
        n, rotations = len(self.transformations), self.transformations.rotations
        features: list[list[NDArray[np.float32]]] = [[] for _ in range(rotations)]
        largest = []
        n_batches = -(-len(images) // batch_size)
        bar = {"total": n_batches, "unit": "image", "unit_scale": batch_size}
        for batch in runtime.track(images.batches(batch_size), "features", **bar):
            x = runtime.floats(batch)
            tops = []
            for turn in range(rotations):
                with runtime.autocast(scoring=True):
                    response = network.features(self.transformations.apply(x, turn))
                features[turn].append(F.normalize(response, dim=1).cpu().numpy())
                logits = network.head(response)[:, turn::n]
                tops.append(logits.amax(dim=1).double().cpu().numpy())
            largest.append(np.mean(tops, axis=0))
        return np.stack([np.concatenate(f) for f in features]), np.concatenate(largest)

    def _distances(
        self, features: NDArray[np.float32], own: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Mean over turns of the distance to the nearest other normal features, float64 (N,)."""
        turns = zip(features, self.features_, strict=True)
        return np.mean([nearest(new, old, own) for new, old in turns], axis=0)


def nearest(
    new: NDArray[np.float32], old: NDArray[np.float32], own: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Distance of each row to the nearest row of ``old``, float64 (N,).

    Where ``own``, bool (N,), the row is itself among the old ones and the next one counts.
    """
    import faiss

    found = 1 + int(own.any())  # a row's own copy is the nearest there is
    squared, _ = faiss.knn(np.ascontiguousarray(new), np.ascontiguousarray(old), found)
    chosen = np.where(own, squared[:, -1], squared[:, 0])
    return np.sqrt(np.maximum(chosen, 0.0), dtype=np.float64)


def kept(n: int, limit: int, seed: int) -> NDArray[np.bool_]:
    """bool (n,): all of n images, or ``limit`` of them drawn at random."""
    chosen = np.ones(n, bool)
    if n > limit:
        chosen[:] = False
        chosen[np.random.default_rng(seed).choice(n, limit, replace=False)] = True
    return chosen
