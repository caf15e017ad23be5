"""Stage 2b: Deep Embedded Clustering (Xie et al. 2016), latents -> pseudo-labels."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from clad.data.images import ImageSet
from clad.errors import FitError
from clad.runtime import Runtime, log
from clad.stages.augmentation import Augmentation
from clad.stages.graph import GraphClustering, Partition, centroids, finest
from clad.stages.kmeans import KMeans, assign
from clad.stages.layers import LatentModel, encode
from clad.training import Checkpoints, train


def soft_assignment(z: Tensor, centers: Tensor, alpha: float = 1.0) -> Tensor:
    """Student-t similarity of latents (N, D) to centres (K, D): (N, K), rows sum to 1.

    Xie et al. 2016, equation 1: q_ij ~ (1 + |z_i - mu_j|^2 / alpha)^(-(alpha + 1) / 2).
    """
    # Differences, not torch.cdist: its gradient is undefined where a latent sits on a centre.
    squared = (z[:, None, :] - centers[None, :, :]).square().sum(dim=2)
    similarity = (1.0 + squared / alpha).pow(-(alpha + 1.0) / 2.0)
    return similarity / similarity.sum(dim=1, keepdim=True)


def _soft_assignment_in_parts(z: Tensor, centers: Tensor, alpha: float) -> Tensor:
    """The same for all latents: in parts, since each needs (N, K, D) numbers on the way."""
    return torch.cat([soft_assignment(part, centers, alpha) for part in z.split(4096)])


def target_distribution(q: Tensor) -> Tensor:
    """Sharpened assignments (N, K), rows sum to 1, over the *whole* data set.

    Xie et al. 2016, equation 3: p_ij ~ q_ij^2 / f_j with f_j = sum_i q_ij.
    """
    weight = q.square() / q.sum(dim=0)
    return weight / weight.sum(dim=1, keepdim=True)


class _ClusteringModel(nn.Module):
    """What DEC trains: the autoencoder and the centres; labels ride along for the stopping rule."""

    def __init__(self, network: LatentModel, centers: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.network = network
        self.centers = nn.Parameter(centers)
        self.labels: Tensor
        self.register_buffer("labels", labels)


class DEC:
    """Refines encoder and k-means centres together by KL(P || Q).

    The target P is computed over all images and refreshed before every epoch; training ends when
    fewer than ``tolerance`` of the labels changed over an epoch. ``reconstruction_weight`` > 0 adds
    the autoencoder's loss (IDEC, Guo et al. 2017).

    With ``n_clusters="auto"`` the communities of the latents' neighbour graph are the start, and
    say how many clusters there are; with a number it is k-means, as in the paper. Communities that
    depend on the seed, or on the lighting, are no classes: taken are the finest ones that are
    stable and that augmented copies of the images fall into as they do (adjusted Rand index of at
    least ``agreement``). All images are one cluster where there are none.
    """

    def __init__(
        self,
        n_clusters: int | Literal["auto"] = "auto",
        *,
        agreement: float = 0.0,
        alpha: float = 1.0,
        epochs: int = 100,
        batch_size: int = 256,
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        tolerance: float = 0.001,
        reconstruction_weight: float = 0.0,
        restarts: int = 10,
    ) -> None:
        self.n_clusters = n_clusters
        self.agreement = agreement
        self.alpha = alpha
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.tolerance = tolerance
        self.reconstruction_weight = reconstruction_weight
        self.restarts = restarts

    def fit(
        self,
        network: LatentModel,
        images: ImageSet,
        runtime: Runtime,
        checkpoints: Checkpoints | None = None,
        *,
        augment: Augmentation | None = None,
    ) -> DEC:
        """Cluster ``images`` starting from a trained autoencoder, which stays as it is.

        ``augment`` makes the copies that ``agreement`` is about.
        Sets ``network_`` (the refined copy), ``centers_`` float32 (K, D), ``labels_`` int64 (N,),
        ``latents_`` float32 (N, D) and ``losses_``. With ``epochs=0``, or one
        cluster, the start's labels stay: k-means, or the graph's communities.

        Raises FitError for fewer images than clusters.
        """
        centers, start = self._start(network, images, runtime, augment)
        epochs = self.epochs if len(centers) > 1 else 0  # one cluster has nothing to sharpen
        model = _ClusteringModel(
            copy.deepcopy(network), torch.from_numpy(centers), torch.from_numpy(start)
        ).to(runtime.device)
        target: Tensor

        def refresh(epoch: int) -> bool:
            nonlocal target
            latents = torch.from_numpy(encode(model.network, images, runtime)).to(runtime.device)
            with torch.no_grad():
                q = _soft_assignment_in_parts(latents, model.centers, self.alpha)
            target, labels = target_distribution(q), q.argmax(dim=1)
            changed = (labels != model.labels).float().mean().item()
            model.labels.copy_(labels)
            log.debug("dec: epoch %d, %.2f%% of labels changed", epoch, 100 * changed)
            return epoch > 0 and changed < self.tolerance

        def loss(positions: NDArray[np.int64], _: torch.Generator) -> Tensor:
            x = runtime.floats(images.read(positions))
            z = model.network.encode(x)
            q = soft_assignment(z, model.centers, self.alpha)
            value = F.kl_div(q.log(), target[positions], reduction="batchmean")
            if self.reconstruction_weight > 0:
                value = value + self.reconstruction_weight * F.mse_loss(model.network.decode(z), x)
            return value

        self.losses_ = train(
            "dec",
            model,
            torch.optim.SGD(model.parameters(), lr=self.learning_rate, momentum=self.momentum),
            loss,
            len(images),
            epochs=epochs,
            batch_size=self.batch_size,
            runtime=runtime,
            before_epoch=refresh,
            checkpoints=checkpoints,
        )
        self.network_ = model.network.eval()
        self.centers_ = model.centers.detach().cpu().numpy()
        self.latents_ = encode(self.network_, images, runtime)
        self.labels_ = self.assign(self.latents_) if epochs else start
        if len(np.unique(self.labels_)) < len(centers):
            log.warning("dec: a cluster lost its last image; the centres are refined by k-means")
            kmeans = KMeans(len(centers), seed=runtime.seed_for("kmeans"))
            kmeans.refine(self.latents_, self.centers_, runtime.device)
            self.centers_, self.labels_ = kmeans.cluster_centers_, kmeans.labels_
        return self

    def _start(
        self,
        network: LatentModel,
        images: ImageSet,
        runtime: Runtime,
        augment: Augmentation | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """First centres float32 (K, D) and labels int64 (N,)."""
        latents = encode(network, images, runtime)
        if self.n_clusters == "auto":
            graph = GraphClustering(seed=runtime.seed_for("graph")).fit(latents, images.groups)
            return self._found_again(graph.partitions_, latents, network, images, runtime, augment)
        if len(latents) < self.n_clusters:
            raise FitError(
                f"n_samples={len(latents)} should be >= n_clusters={self.n_clusters}; "
                "add images or lower dec.clusters"
            )
        kmeans = KMeans(self.n_clusters, restarts=self.restarts, seed=runtime.seed_for("kmeans"))
        kmeans.fit(latents, runtime.device)
        return kmeans.cluster_centers_, kmeans.labels_

    def _found_again(
        self,
        partitions: list[Partition],
        latents: NDArray[np.float32],
        network: LatentModel,
        images: ImageSet,
        runtime: Runtime,
        augment: Augmentation | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Centres and labels of the first partition that augmented copies fall into alike."""
        from sklearn.metrics import adjusted_rand_score

        def centers_of(partition: Partition) -> NDArray[np.float32]:
            return centroids(latents, partition.labels, int(partition.labels.max()) + 1)

        def agreements() -> Iterator[float]:
            copies = encode(network, images, runtime, augment=augment)
            for partition in partitions[:-1]:
                centers = centers_of(partition)
                ours, theirs = (assign(rows, centers)[0] for rows in (latents, copies))
                yield adjusted_rand_score(ours, theirs)

        partition = partitions[0]
        if augment is not None:
            said = "dec: augmented copies agree with the %d clusters by"
            partition = finest(partitions, agreements(), self.agreement, said)
        centers = centers_of(partition)
        if len(centers) == 1:
            log.info("dec: all images are one cluster")
        return centers, partition.labels

    def predict(self, images: ImageSet, runtime: Runtime) -> NDArray[np.int64]:
        """Pseudo-labels int64 (N,) of any images."""
        return self.assign(encode(self.network_, images, runtime))

    def assign(self, latents: NDArray[np.float32]) -> NDArray[np.int64]:
        """Pseudo-labels int64 (N,) of latents (N, D): argmax_j q_ij."""
        centers = torch.from_numpy(self.centers_)
        q = _soft_assignment_in_parts(torch.from_numpy(latents), centers, self.alpha)
        return q.argmax(dim=1).numpy()
