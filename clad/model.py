"""What the four stages learn: networks and clusters that give an image its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clad import config as configuration
from clad.artifact import Bundle, load_weights
from clad.config import Config
from clad.data.groups import DIGEST, Digestible, digests
from clad.data.images import ImageSet
from clad.errors import ModelError
from clad.runtime import Runtime, memory_advice
from clad.stages.autoencoder import ConvolutionalAutoencoder
from clad.stages.fused import COLOURED, NORMAL, PARTS, TEXTURED, Fused
from clad.stages.layers import LatentModel, encode
from clad.stages.neighbours import Neighbours
from clad.stages.odin import ODIN, log_confidence
from clad.stages.patches import PatchFeatures
from clad.stages.resnet import NETWORKS, ResNet, stem_for
from clad.stages.transformations import Transformations

KIND = "clad"  # what a model's document says it is
TEXTURES = ("texture-second", "texture-third")  # tensors: of which map


@dataclass(frozen=True, eq=False)
class Measured:
    """What the networks say of N images: no threshold, no decision.

    ``score``: float64 (N,), higher = more anomalous. ``cluster``: int64 (N,), predicted.
    ``confidence``: float64 (N,), of the classifier at ODIN's temperature; with ODIN's perturbation
    where ODIN is the score. ``parts``: float64 (N,) by name, the scores that a fused one is made of
    and those that come with them.
    """

    score: NDArray[np.float64]
    cluster: NDArray[np.int64]
    confidence: NDArray[np.float64]
    parts: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def joined(parts: Sequence[Measured]) -> Measured:
    """The parts as one, in order."""
    score, cluster, confidence = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("score", "cluster", "confidence")
    )
    names = parts[0].parts
    return Measured(
        score,
        cluster,
        confidence,
        {name: np.concatenate([part.parts[name] for part in parts]) for name in names},
    )


@dataclass(frozen=True, eq=False)
class Model:
    """The trained stages for images of ``shape`` (C, H, W).

    ``centers``: float32 (K, D), of the clusters in latent space. ``seen``: uint8 (n_fit, 16),
    digests of the images fitted on.
    """

    config: Config
    shape: tuple[int, int, int]
    transformations: Transformations
    autoencoder: LatentModel
    centers: NDArray[np.float32]
    classifier: ResNet
    neighbours: Neighbours | None
    fused: Fused | None
    seen: NDArray[np.uint8]

    def measure(self, images: ImageSet, runtime: Runtime, *, fitted: bool = False) -> Measured:
        """Score images; ``fitted``: they are those fitted on, each no neighbour of its own."""
        with memory_advice("scoring: out of memory; give fewer images at a time"):
            if self.fused is not None:
                own = self.fused.kept_ if fitted else None
                score, logits, parts = self.fused.score(self.classifier, images, runtime, own)
                cluster = self._cluster(logits.argmax(axis=1))
                log_s = log_confidence(torch.from_numpy(logits), self.odin.temperature)
                return Measured(score, cluster, log_s.exp().numpy(), parts)
            odin = self.odin.score(self.classifier, images, runtime)
            score = odin.scores
            if self.neighbours is not None:
                own = self.neighbours.kept_ if fitted else None
                score = self.neighbours.score(self.classifier, images, runtime, own)
        return Measured(score, self._cluster(odin.classes), odin.confidence)

    @property
    def odin(self) -> ODIN:
        """ODIN with the numbers that were given or chosen."""
        return ODIN(**dict(self.config.odin))

    def _cluster(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        return classes // len(self.transformations)

    def latents(self, images: ImageSet, runtime: Runtime) -> NDArray[np.float32]:
        """Stage 1 and 2's latents float32 (N, D)."""
        return encode(self.autoencoder, images, runtime)

    def has_seen(self, images: Digestible) -> NDArray[np.bool_]:
        """bool (N,): which images it was fitted on, by every pixel."""
        known = {row.tobytes() for row in self.seen}
        return np.array([row.tobytes() in known for row in digests(images)], dtype=bool)

    # -- on disk --------------------------------------------------------------------------------

    def bundle(self) -> Bundle:
        """As arrays and JSON."""
        arrays: dict[str, dict[str, NDArray[Any]]] = {
            "autoencoder": {**_weights(self.autoencoder, "network."), "centers": self.centers},
            "classifier": _weights(self.classifier),
            "seen": {"digests": self.seen},
        }
        if self.neighbours is not None:
            arrays["neighbours"] = {
                "features": self.neighbours.features_,
                "scales": self.neighbours.scales_,
            }
        if self.fused is not None:
            arrays["fused"] = {
                name: getattr(self.fused, f"{name}_")
                for name in ("features", "places", "scales", "weights", "degrees")
            }
            if self.fused.whitening_ is None:
                arrays["fused"] |= dict(zip(TEXTURES, self.fused.textures_, strict=True))
            else:
                (textures,) = self.fused.textures_
                arrays["fused"] |= {"textures": textures, "whitening": self.fused.whitening_}
            if "patches" in self.fused.parts_:
                arrays["patches"] = {
                    "known": self.fused.patches_,
                    "whitening": self.fused.patch_whitening_,
                    **_weights(self.fused.dictionary_),
                }
            if self.fused.colours_ is not None:
                arrays["colours"] = _weights(self.fused.colours_)
        document = {
            "kind": KIND,
            "config": self.config.model_dump(mode="json"),
            "shape": list(self.shape),
            "clusters": len(self.centers),
            "rotations": self.transformations.rotations,
            "mirrored": self.transformations.mirrored,
            "recoloured": self.transformations.recoloured,
        }
        return Bundle(arrays, document)

    @classmethod
    def of(cls, bundle: Bundle, source: str | Path, runtime: Runtime) -> Model:
        """The model in a bundle, on the runtime's device; ``source`` is for errors.

        Raises ModelError where it is none, or a weight is missing or of another shape.
        """
        arrays, document = bundle.arrays, bundle.document
        if document.get("kind") != KIND:
            raise ModelError(
                f"{source}: not a trained model (a checkpoint, perhaps); see 'clad fit'"
            )
        config = configuration.build_saved(document.get("config", {}), f"{source}/manifest.json")
        stage1, stage3 = config.autoencoder, config.classifier
        if "auto" in dict(config.odin).values():
            raise ModelError(f"{source}: describes no trained model (odin: auto was not chosen)")
        try:
            channels, height, width = document["shape"]
            clusters = document["clusters"]
            transformations = Transformations(
                document["rotations"],
                document.get("mirrored", False),
                document.get("recoloured", False),
            )
            with torch.device("meta"):  # takes no memory: the numbers may be anything yet
                autoencoder = ConvolutionalAutoencoder(
                    stage1.architecture, (channels, height, width), stage1.latent_dim
                )
                n_outputs = clusters * len(transformations)
                stem = stem_for(stage3.stem, height, width)
                make = partial(NETWORKS[stage3.network], width=stage3.width, stem=stem)
                classifier = make(channels, n_outputs)
                colours = make(channels, 2) if "colours" in arrays else None
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{source}: describes no possible model ({error})") from None

        centers = bundle.array(
            "autoencoder", "centers", "float32", (clusters, stage1.latent_dim), source
        )
        weights = {
            name.removeprefix("network."): value
            for name, value in arrays["autoencoder"].items()
            if name != "centers"
        }
        load_weights(autoencoder, weights, f"{source}: autoencoder")
        load_weights(classifier, arrays.get("classifier", {}), f"{source}: classifier")
        if colours is not None:
            load_weights(colours, arrays["colours"], f"{source}: colours")
        for network in filter(None, (autoencoder, classifier, colours)):
            runtime.place(network).eval()

        neighbours = fused = None
        method = config.score.method
        if method == "neighbours":
            neighbours = make_neighbours(config, transformations, runtime)
            neighbours.features_ = bundle.array(
                "neighbours",
                "features",
                "float32",
                (transformations.rotations, None, classifier.head.in_features),
                source,
            )
            neighbours.scales_ = bundle.array("neighbours", "scales", "float64", (2,), source)
        elif method != "odin":
            shape = (channels, height, width)
            fused = _fused_of(bundle, source, config, shape, transformations, runtime, colours)
        return cls(
            config=config,
            shape=(channels, height, width),
            transformations=transformations,
            autoencoder=autoencoder,
            centers=centers,
            classifier=classifier,
            neighbours=neighbours,
            fused=fused,
            seen=bundle.array("seen", "digests", "uint8", (None, DIGEST), source),
        )


def make_neighbours(
    config: Config, transformations: Transformations, runtime: Runtime
) -> Neighbours:
    """The neighbour score as configured, not yet fitted."""
    return Neighbours(
        transformations=transformations,
        limit=config.score.limit,
        seed=runtime.seed_for("neighbours"),
    )


def make_fused(config: Config, transformations: Transformations, runtime: Runtime) -> Fused:
    """The score that ``score.method`` names, not yet fitted."""
    return Fused(
        config.score.method,  # type: ignore[arg-type]
        transformations=transformations,
        limit=config.score.limit,
        seed=runtime.seed_for("neighbours"),
    )


def _fused_of(
    bundle: Bundle,
    source: str | Path,
    config: Config,
    shape: tuple[int, int, int],
    transformations: Transformations,
    runtime: Runtime,
    colours: ResNet | None,
) -> Fused:
    """The fused score in a bundle.

    That of format 2 has no patches, and its parts weigh alike; up to format 7 tails were normal,
    up to format 8 texture was whitened.
    """
    fused = make_fused(config, transformations, runtime)
    fused.colours_ = colours
    patches = bundle.arrays.get("patches")
    if patches is None:
        fused.parts_ = PARTS[:-1]
    else:
        fused.parts_ = PARTS if colours is None else COLOURED
    n_parts, penultimate = len(fused.parts_), 8 * config.classifier.width
    arrays = bundle.arrays.get("fused", {})
    features = arrays.get("features", np.empty((0, 0)))
    kept = features.shape[1] if features.ndim > 1 else 0
    rows = transformations.rotations, kept
    for name, dtype, wanted in (
        ("features", "float32", (*rows, penultimate)),
        ("places", "float64", (n_parts,)),
        ("scales", "float64", (n_parts,)),
    ):
        setattr(fused, f"{name}_", bundle.array("fused", name, dtype, wanted, source))
    if "whitening" in arrays:
        n = penultimate * 3 // 4  # two for each of width + 2 * width maps
        fused.whitening_ = bundle.array("fused", "whitening", "float32", (n, n), source)
        fused.textures_ = [bundle.array("fused", "textures", "float32", (*rows, n), source)]
    else:
        fused.whitening_ = None
        network = NETWORKS[config.classifier.network]
        widths = [config.classifier.width * network.CHANNELS[i] for i in TEXTURED]
        fused.textures_ = [
            bundle.array("fused", tensor, "float32", (*rows, n), source)
            for tensor, n in zip(TEXTURES, widths, strict=True)
        ]
    fused.degrees_ = np.array([NORMAL])
    if "degrees" in arrays:
        fused.degrees_ = bundle.array("fused", "degrees", "float64", (1,), source)
    if patches is None:
        fused.weights_ = np.ones(n_parts)
        return fused
    fused.weights_ = bundle.array("fused", "weights", "float64", (n_parts,), source)
    words = len(np.atleast_1d(patches.get("words", 0)))
    fused.patches_ = bundle.array("patches", "known", "float32", (kept, words), source)
    fused.patch_whitening_ = bundle.array("patches", "whitening", "float32", (words, words), source)
    fused.dictionary_ = PatchFeatures(words, shape)
    weights = {name: patches[name] for name in patches if name not in ("known", "whitening")}
    load_weights(fused.dictionary_, weights, f"{source}: patches")
    fused.dictionary_.to(runtime.device)
    return fused


def _weights(network: torch.nn.Module, prefix: str = "") -> dict[str, NDArray[Any]]:
    return {k: v.detach().cpu().numpy() for k, v in network.state_dict(prefix=prefix).items()}
