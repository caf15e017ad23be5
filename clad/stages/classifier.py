"""Stage 3: a ResNet on the pseudo-labels, images -> logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from clad.data.images import ImageSet
from clad.runtime import Runtime, log
from clad.stages.augmentation import Augmentation
from clad.stages.graph import GraphClustering, finest, united
from clad.stages.kmeans import assign
from clad.stages.layers import rows_of
from clad.stages.muon import Muon
from clad.stages.resnet import NETWORKS, STRIDES, Network, ResNet, Stem
from clad.stages.transformations import Transformations, shared_targets
from clad.training import Checkpoints, train

Optimizer = Literal["adamw", "muon"]

# ``epochs="auto"``: as many pixels of the stem's map are made as of 200,000 images of 32 x 32 with
# ``small-stride``, in no fewer and no more epochs than these.
SHOWN = 200_000 * 16 * 16
FEWEST, MOST = 5, 60
SLANT = 20.0  # largest turn, in degrees, that leaves what an image shows the same


class Classifier:
    """Trains a ResNet to tell the pseudo-labels apart: cross-entropy, AdamW or Muon.

    With ``rotations`` of 2 or 4 it must tell the turn of each image too, with ``mirror`` whether it
    is mirrored, and with ``recolour`` whether red and blue are exchanged: an image is changed at
    random by one of T ``transformations`` and its class is label * T + their number. What it learns
    then depends on the images' content where the clusters do not (Gidaris et al. 2018, Golan and
    El-Yaniv 2018).

    ``epochs="auto"`` shows it what the stem makes ``SHOWN`` pixels of, in ``FEWEST`` to ``MOST``
    epochs. They are shared out among ``rounds``: ``fit`` is the first, and each ``refine`` after it
    trains the same trunk on, maybe with other labels, such as clusters of its own features that
    augmented copies have too (adjusted Rand index of at least ``agreement``), or other
    transformations. ``schedule`` spans them all, and begins anew where the classes do.
    """

    def __init__(
        self,
        *,
        network: Network = "resnet18",
        stem: Stem = "torchvision",
        width: int = 64,
        epochs: int | Literal["auto"] = 100,
        batch_size: int = 128,
        optimizer: Optimizer = "adamw",
        learning_rate: float = 1e-4,
        weight_decay: float = 0.0,
        schedule: str = "constant",
        rotations: int = 1,
        mirror: bool = False,
        recolour: bool = False,
        rounds: int = 1,
        agreement: float = 0.0,
    ) -> None:
        self.rotations = rotations
        self.mirror = mirror
        self.recolour = recolour
        self.rounds = rounds
        self.agreement = agreement
        self.network: Network = network
        self.stem: Stem = stem
        self.width = width
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer: Optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule

    def fit(
        self,
        images: ImageSet,
        labels: NDArray[np.int64],
        n_classes: int,
        runtime: Runtime,
        checkpoints: Checkpoints | None = None,
        *,
        augment: Augmentation | None = None,
    ) -> Classifier:
        """Train on images and their pseudo-labels int64 (N,) in [0, n_classes): the first round.

        ``augment`` changes every image each time it is shown. Sets ``network_``, ``losses_`` (one
        an epoch) and ``transformations_``, what it tells beside the cluster.
        """
        self.losses_: list[float] = []
        self.transformations_ = Transformations(self.rotations, self.mirror, self.recolour)
        self._round = self._since = 0
        self.network_ = self._network(images, n_classes, runtime)
        self.network_.standardize.adapt(images)
        return self._train(images, labels, runtime, checkpoints, augment)

    def refine(
        self,
        images: ImageSet,
        labels: NDArray[np.int64],
        n_classes: int,
        runtime: Runtime,
        checkpoints: Checkpoints | None = None,
        *,
        augment: Augmentation | None = None,
        alike: NDArray[np.bool_] | None = None,
        transformations: Transformations | None = None,
    ) -> Classifier:
        """Train on for another round: the same trunk, and a new head where the classes are others.

        ``losses_`` goes on. ``alike``: bool (K, T), the transformations that leave each cluster
        looking the same; those are not to be told any more. ``transformations``: others to tell.
        """
        self._round += 1
        runtime = replace(runtime, seed=runtime.seed_for("round", self._round))
        told = transformations or self.transformations_
        if told != self.transformations_ or not np.array_equal(labels, self._labels):
            self.transformations_ = told
            self._since = self._round
            self.network_.head = self._network(images, n_classes, runtime).head
        checkpoints = checkpoints and checkpoints.part(f"round-{self._round}")
        return self._train(images, labels, runtime, checkpoints, augment, alike)

    def find_again(
        self,
        graph: GraphClustering,
        features: NDArray[np.float32],
        images: ImageSet,
        augment: Augmentation,
        runtime: Runtime,
    ) -> NDArray[np.int64] | None:
        """The finest clusters int64 (N,) in ``graph`` that augmented copies of the images have too.

        Communities that are classes are found again; those of lighting, or of chance, are not. None
        where there are none. Those that exchange images where these are turned a little are one,
        such as upright and slanted ones. ``features`` (N, F) are those that the graph is of.
        """
        if graph.n_clusters_ == 1:
            return None
        asked = images.take(graph.asked_)
        copies = self.transform(asked, runtime, augment=augment)
        agreements = graph.agreements(copies, asked.groups)
        said = "classifier: clusters of augmented copies agree with the %d new ones by"
        found = finest(graph.partitions_, agreements, self.agreement, said).labels
        if found.any():
            slanted = self.transform(asked, runtime, augment=Augmentation(rotation=SLANT))
            nearest = graph.asked_[assign(slanted, features[graph.asked_])[0]]
            found = united(found, graph.asked_, found[nearest])
            log.info("classifier: %d clusters, slanted ones with upright ones", found.max() + 1)
        if found.any():
            return found
        log.info("classifier: the labels stay")
        return None

    def believe(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float32]:
        """Log-probabilities float32 (N, T, T): image i, changed by t, is changed by s."""
        network, transformations = self.network_.eval(), self.transformations_
        n = len(transformations)

        def believed(x: Tensor) -> Tensor:
            with runtime.autocast():
                changed = [network.features(transformations.apply(x, t)) for t in range(n)]
            logits = network.head(torch.stack(changed, dim=1))
            each = logits.log_softmax(dim=2).unflatten(2, (-1, n))
            return each.logsumexp(dim=2).flatten(1)

        rows = rows_of(believed, images, runtime, "turns", batch_size=512)
        return rows.reshape(len(images), n, n)

    def _network(self, images: ImageSet, n_classes: int, runtime: Runtime) -> ResNet:
        with runtime.seeded("classifier", "weights"):
            n_outputs = n_classes * len(self.transformations_)
            make = NETWORKS[self.network]
            return make(images.shape[0], n_outputs, width=self.width, stem=self.stem)

    def epochs_of(self, images: ImageSet) -> list[int]:
        """How many epochs each round has, one at least; fewer rounds where epochs are fewer."""
        epochs = self.epochs
        if epochs == "auto":
            pixels = len(images) * images.shape[1] * images.shape[2] / STRIDES[self.stem] ** 2
            epochs = int(np.clip(round(SHOWN / pixels), FEWEST, MOST))
        rounds = min(self.rounds, epochs)
        return [len(range(i, epochs, rounds)) for i in range(rounds)]

    def _train(
        self,
        images: ImageSet,
        labels: NDArray[np.int64],
        runtime: Runtime,
        checkpoints: Checkpoints | None,
        augment: Augmentation | None,
        alike: NDArray[np.bool_] | None = None,
    ) -> Classifier:
        network, self._labels = self.network_, labels
        transformations = self.transformations_
        runtime.place(network)
        targets = torch.from_numpy(labels).to(runtime.device)
        shared = None
        if alike is not None and alike[:, 1:].any():
            shared = shared_targets(alike, transformations).to(runtime.device)

        def loss(positions: NDArray[np.int64], generator: torch.Generator) -> Tensor:
            x, target = runtime.floats(images.read(positions)), targets[positions]
            if augment is not None:
                x = augment(x, generator)
            if len(transformations) > 1:
                which = torch.randint(len(transformations), (len(x),), generator=generator)
                which = which.to(x.device)
                x = transformations.apply_each(x, which)
                target = target * len(transformations) + which
            if shared is not None:
                target = shared[target]
            with runtime.autocast():
                logits = network(x)
            return F.cross_entropy(logits.float(), target)

        optimizer = self._make_optimizer(network)
        epochs = self.epochs_of(images)
        done, now = sum(epochs[self._since : self._round]), epochs[self._round]
        whole = sum(epochs[self._since :])
        self.losses_ += train(
            "classifier",
            network,
            optimizer,
            loss,
            len(images),
            epochs=now,
            batch_size=self.batch_size,
            schedule=self.schedule,
            share=(done / whole, (done + now) / whole),
            runtime=runtime,
            checkpoints=checkpoints,
        )
        return self

    def _make_optimizer(self, network: ResNet) -> torch.optim.Optimizer:
        settings: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        settings["fused"] = True
        if self.optimizer == "adamw":
            return torch.optim.AdamW(network.parameters(), **settings)
        first = network.trunk[0]  # sees pixels: few and of a scale of their own
        kernels = [
            module.weight
            for module in network.modules()
            if isinstance(module, nn.Conv2d) and module is not first
        ]
        turned = {id(kernel) for kernel in kernels}
        others = [weight for weight in network.parameters() if id(weight) not in turned]
        return Muon(others, kernels, **settings)

    def transform(
        self,
        images: ImageSet,
        runtime: Runtime,
        batch_size: int = 512,
        *,
        augment: Augmentation | None = None,
    ) -> NDArray[np.float32]:
        """Unit-length penultimate features float32 (N, F) of all images, upright.

        ``augment``: of augmented copies.
        """
        network = self.network_.eval()
        generator = runtime.generator("copies")

        def features(x: Tensor) -> Tensor:
            x = x if augment is None else augment(x, generator)
            with runtime.autocast():
                response = network.features(x)
            return F.normalize(response, dim=1)

        return rows_of(features, images, runtime, "features", batch_size)
