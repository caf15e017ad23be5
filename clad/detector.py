"""A trained detector: scores, decisions, its threshold, and its folder on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from clad import config as configuration
from clad.artifact import Bundle, read_bundle, write_bundle
from clad.attribution import attributions
from clad.calibration import GROUP, Calibration, Trial, try_rules
from clad.config import Config
from clad.configurable import Configurable
from clad.data.folder import BadFile
from clad.data.groups import digests
from clad.data.images import ImageSet
from clad.data.inputs import as_image_set, in_parts
from clad.data.large import LargeImages, large_parts, read_large
from clad.data.synthetic import synthesise
from clad.errors import DataError, NotFittedError
from clad.model import Measured, Model, joined
from clad.recipes import merge
from clad.runtime import Runtime
from clad.scoremap import Keep
from clad.stages.transformations import Transformations
from clad.threshold import Guarantee, Rule
from clad.tiled import TiledModel

D = TypeVar("D", bound="Detector")
Images = ImageSet | LargeImages
SYNTHETIC = 500  # anomalies made from calibration images, at most


class Scorer(Protocol):
    """What a detector asks of its model: of whole images, or of tiles of large ones."""

    @property
    def config(self) -> Config:
        """The configuration, with numbers for what was chosen in training."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images, or tiles, that the networks take."""

    @property
    def centers(self) -> NDArray[np.float32]:
        """float32 (K, D), of the clusters."""

    @property
    def transformations(self) -> Transformations:
        """What stage 3 tells beside the cluster."""

    def measure(self, images: Any, runtime: Runtime, *, fitted: bool = False) -> Measured:
        """Score images."""

    def latents(self, images: Any, runtime: Runtime) -> NDArray[np.float32]:
        """Latents float32 (N, D)."""

    def has_seen(self, images: Any) -> NDArray[np.bool_]:
        """bool (N,): which images it was fitted on."""

    def bundle(self) -> Bundle:
        """As arrays and JSON."""


@dataclass(frozen=True)
class Scores:
    """A detector's answer for N images, a row each.

    ``score``: float64, higher = more anomalous. ``p_value``: float64, the share of held-out normals
    that score as high. ``anomaly``: int64 0 / 1. ``cluster``: int64, the predicted pseudo-label.
    ``confidence``: float64, ODIN's.
    """

    score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    anomaly: NDArray[np.int64]
    cluster: NDArray[np.int64]
    confidence: NDArray[np.float64]


class Detector(Configurable):
    """Networks, a calibration and a threshold: everything that needs no training."""

    config_: Config
    runtime_: Runtime
    model_: Scorer
    calibration_: Calibration
    rule_: Rule
    threshold_: float
    guarantee_: Guarantee
    calibration_images_: ImageSet | LargeImages

    # -- answering ------------------------------------------------------------------------------

    def score_images(self, X: Any) -> Scores:
        """Everything the detector says of each image."""
        return self.decide([self.measure(X)])

    def measure(self, X: Any, keep: Keep | None = None) -> Measured:
        """Scores without a decision, for a part of the images.

        ``keep(position, map)`` is handed each image's map: of a tiled model where it is anomalous,
        of any other which pixels its score hangs on.
        """
        self._rule()
        images: Any = self._conform(X)
        if isinstance(self.model_, TiledModel):
            return self.model_.measure(images, self.runtime_, keep=keep)
        if isinstance(self.model_, Model) and keep is not None:
            for i, found in enumerate(attributions(self.model_, images, self.runtime_)):
                keep(i, found)
        return self.model_.measure(images, self.runtime_)

    def decide(self, parts: Sequence[Measured]) -> Scores:
        """What the detector says of images measured in one or more parts, all of them together."""
        return decided(self._rule(), joined(parts))

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Anomaly scores float64 (N,), higher = more anomalous."""
        return self.score_images(X).score

    def predict(self, X: Any) -> NDArray[np.int64]:
        """1 for an anomaly, 0 for a normal image, int64 (N,)."""
        return self.score_images(X).anomaly

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """float64 (N, 2): the p-value as a normal image, and one minus it."""
        p = self.score_images(X).p_value
        return np.stack([p, 1.0 - p], axis=1)

    def latents(self, X: Any) -> NDArray[np.float32]:
        """Stage 1 and 2's latents float32 (N, D)."""
        self._rule()
        return self.model_.latents(self._conform(X), self.runtime_)

    # -- the threshold ----------------------------------------------------------------------------

    def calibrate(self: D, X: Any, *, add: bool = False) -> D:
        """Set the threshold anew from normal images that the detector has not been fitted on.

        ``add``: they join the calibration images there are, else they replace them. Raises
        DataError where some were fitted on: scores of those promise too few false alarms.
        """
        images = self._conform(X)
        new = self.calibration_from(images)
        self._decide(self.calibration_.joined(new) if add else new)
        self.calibration_images_ = images
        return self

    def calibration_from(self, X: Any) -> Calibration:
        """What a calibration with these images would be; see ``calibrate``."""
        images = self._conform(X)
        self._rule()
        seen = self.model_.has_seen(images)
        if seen.any():
            few = ", ".join(np.array(images.names)[seen][:5])
            raise DataError(
                f"{seen.sum()} of {len(images)} calibration images were fitted on ({few}"
                f"{', ...' if seen.sum() > 5 else ''}); leave them out"
            )
        measured = self.model_.measure(images, self.runtime_)
        counts = self.calibration_.train_counts
        return self._calibration(images, measured.score, measured.cluster, counts)

    def set_threshold(self: D, **settings: Any) -> D:
        """Change keys of the threshold's configuration, such as ``method`` or ``alpha``.

        Nothing is trained or scored. Raises ConfigError and DataError, and then changes nothing.
        """
        self._rule()
        values = merge(self.config_.model_dump(), {"threshold": settings})
        return self._decide(self.calibration_, configuration.build(values, "set_threshold"))

    def compare_thresholds(self) -> list[Trial]:
        """What every rule would make of the calibration images."""
        self._rule()
        return try_rules(self.calibration_, self.config_.threshold)

    def _decide(self: D, calibration: Calibration, config: Config | None = None) -> D:
        config = config or self.config_
        rule = calibration.rule(config.threshold)  # may fail, and then nothing has changed
        self.config_, self.calibration_, self.rule_ = config, calibration, rule
        self.threshold_ = rule.threshold_
        self.guarantee_ = calibration.guarantee(rule)
        return self

    def _calibration(
        self,
        images: Images,
        scores: NDArray[np.float64],
        clusters: NDArray[np.int64],
        train_counts: NDArray[np.int64],
        out_of_fold: NDArray[np.float64] | None = None,
    ) -> Calibration:
        """What is kept of these images; ``out_of_fold``: synthetic scores of the folds' models."""
        return Calibration(
            scores=scores,
            clusters=clusters,
            train_counts=train_counts,
            synthetic=(
                self._synthetic(self.model_, images, scores) if out_of_fold is None else out_of_fold
            ),
            brightness=images.brightness,
            sizes=images.sizes,
            digests=digests(images),
            names=images.names,
            modes=images.modes,
            groups=len(images) if images.groups is None else len(np.unique(images.groups)),
            cross=out_of_fold is not None,
        )

    def _synthetic(
        self, model: Scorer, images: Any, scores: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scores of anomalies made of these images, whose own are ``scores``."""
        n = min(len(images), SYNTHETIC)
        if isinstance(model, TiledModel):
            return model.synthetic(images, scores, n, self.runtime_)
        made = synthesise(images, n, self.runtime_.seed_for("synthetic"))
        return model.measure(made, self.runtime_).score

    # -- keeping --------------------------------------------------------------------------------

    def save(self, folder: str | Path, facts: Mapping[str, Any] | None = None) -> None:
        """Write the detector as a folder of safetensors + JSON; ``facts`` go into its document."""
        self._rule()
        bundle, kept = self.model_.bundle(), self.calibration_
        document = {
            **bundle.document,
            "config": self.config_.model_dump(mode="json"),  # with the threshold as it is now
            GROUP: kept.document(),
            "facts": dict(facts or {}),
        }
        write_bundle(Path(folder), Bundle({**bundle.arrays, GROUP: kept.arrays()}, document))

    @classmethod
    def load(
        cls: type[D], folder: str | Path, *, device: str = "auto", progress: bool = False
    ) -> D:
        """Read a detector; it works on any device, whatever it was trained on.

        Raises ModelError where a file is missing, damaged, of another format or of another shape.
        """
        bundle = read_bundle(Path(folder))
        values = merge(bundle.document.get("config", {}), {"runtime": {"device": device}})
        self = cls(configuration.build_saved(values, f"{folder}/manifest.json"), progress=progress)
        self.config_ = self._resolve()
        self.runtime_ = self._choose_runtime(self.config_)
        kind: type[Model | TiledModel] = Model if self.config_.tiles.size is None else TiledModel
        self.model_ = kind.of(bundle, folder, self.runtime_)
        self.facts_ = bundle.document["facts"]
        return self._decide(Calibration.of(bundle, folder))

    # -- pieces -----------------------------------------------------------------------------------

    def _choose_runtime(self, config: Config) -> Runtime:
        return Runtime.choose(seed=config.seed, progress=self.progress, **dict(config.runtime))

    @property
    def shape_(self) -> tuple[int, int, int]:
        """(C, H, W) of the images that the networks take."""
        return self._trained().shape

    @property
    def n_clusters_(self) -> int:
        """How many clusters stage 2 found."""
        return len(self._trained().centers)

    def _trained(self) -> Scorer:
        if not hasattr(self, "model_"):
            raise NotFittedError("this CLAD is not fitted yet: call fit, or CLAD.load a model")
        return self.model_

    def _conform(self, X: Any) -> Images:
        return self.read(X)[0]

    def read(
        self, source: Any, *, on_bad: str = "error", first_frame: bool = False
    ) -> tuple[Images, list[BadFile]]:
        """Images as the model takes them, and the files left out (``on_bad="skip"``)."""
        options: Any = {**self._form(), "on_bad": on_bad, "first_frame": first_frame}
        return (as_image_set if self._whole else read_large)(source, **options)

    def read_parts(
        self, source: Any, *, on_bad: str = "error", first_frame: bool = False
    ) -> Iterator[tuple[Images, list[BadFile]]]:
        """As ``read``, some images at a time: memory holds no more of them."""
        options: Any = {**self._form(), "on_bad": on_bad, "first_frame": first_frame}
        return (in_parts if self._whole else large_parts)(source, **options)

    @property
    def stages_(self) -> Model:
        """The model of an image, or of a tile."""
        model: Any = self._trained()
        return model.stages if isinstance(model, TiledModel) else model

    @property
    def _whole(self) -> bool:
        """Whether the model takes images whole, not in tiles."""
        return not isinstance(self._trained(), TiledModel)

    def _form(self) -> dict[str, Any]:
        """What images must be brought to, or be."""
        channels, height, width = self.shape_
        if self._whole:
            return {"size": (height, width), "channels": channels}
        convert = self.config_.images.channels is not None
        return {"channels": channels, "convert": convert, "smallest": height}

    def _rule(self) -> Rule:
        if not hasattr(self, "rule_"):
            raise NotFittedError("this CLAD has no threshold yet: call fit, or CLAD.load a model")
        return self.rule_


def decided(rule: Rule, measured: Measured) -> Scores:
    """What the rule makes of the networks' answer."""
    scores, clusters = measured.score, measured.cluster
    return Scores(
        score=scores,
        p_value=rule.p_values(scores, clusters),
        anomaly=rule.predict(scores, clusters),
        cluster=clusters,
        confidence=measured.confidence,
    )
