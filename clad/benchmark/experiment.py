"""One run: a task and a configuration -> a fitted detector, its scores and how good they are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad import metrics
from clad.calibration import trade_off
from clad.checkpoints import CheckpointFolder
from clad.config import Config
from clad.data.images import ImageSet
from clad.data.splits import Task
from clad.detector import Scores
from clad.errors import ConfigError
from clad.model import Model
from clad.pipeline import CLAD
from clad.provenance import commit, hardware, versions
from clad.stages.fused import Fused


@dataclass(frozen=True, eq=False)
class Result:
    """A finished run: what pictures and files are made of."""

    detector: CLAD
    test: ImageSet
    scores: Scores
    metrics: dict[str, Any]


def evaluate(
    task: Task, config: Config, *, checkpoints: CheckpointFolder | None, progress: bool
) -> Result:
    """Fit on the task's training images, score its test images, then look at the answers.

    Raises ConfigError for tiles: the benchmarks' images are small and stay whole.
    """
    if config.tiles.size is not None:
        raise ConfigError("tiles.size is for clad fit and clad score; here images stay whole")
    start = time.perf_counter()
    detector = CLAD(config, progress=progress).fit(task.train, checkpoints=checkpoints)
    scoring = time.perf_counter()
    said = detector.measure(task.test)
    scores = detector.decide([said])
    end = time.perf_counter()

    answers = task.answers
    hidden = answers.train_labels[detector.fit_positions_]
    quality = metrics.evaluate(
        scores.score, answers.test_anomalous, detector.threshold_, scores.anomaly
    )
    seconds = {**detector.seconds_, "scoring": end - scoring, "total": end - start}
    guarantee = detector.guarantee_
    assert isinstance(detector.model_, Model)
    measured: dict[str, Any] = {
        **quality,
        "auroc_interval": metrics.auroc_interval(scores.score, answers.test_anomalous),
        "auroc_by_class": metrics.per_class_auroc(
            scores.score, answers.test_anomalous, [answers.classes[i] for i in answers.test_labels]
        ),
        "auroc_by_part": {
            name: metrics.auroc(part, answers.test_anomalous) for name, part in said.parts.items()
        },
        "auroc_without_part": _without_each(
            detector.model_.fused, said.parts, answers.test_anomalous
        ),
        "trade_off": [
            asdict(cost)
            for cost in trade_off(detector.calibration_, scores.score, answers.test_anomalous)
        ],
        "threshold": detector.threshold_,
        "alpha": config.threshold.alpha,
        "guarantee": guarantee.text,
        "n_fit": len(detector.fit_images_),
        "n_calibration": len(detector.calibration_images_),
        "n_test": len(task.test),
        "clusters": detector.n_clusters_,
        "health": [str(finding) for finding in detector.health_],
        "nmi": metrics.nmi(hidden, detector.clusters_),
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "device": detector.runtime_.device,
        "hardware": hardware(detector.runtime_.device),
        "versions": versions(),
        "commit": commit(),
    }
    return Result(detector, task.test, scores, measured)


def _without_each(
    fused: Fused | None, parts: Mapping[str, NDArray[np.float64]], anomalous: NDArray[np.bool_]
) -> dict[str, float]:
    """The AUROC that each part of a fused score left out leaves; of any other score nothing."""
    if fused is None or fused.method != "fused":
        return {}
    return {name: metrics.auroc(fused.join(parts, name), anomalous) for name in fused.parts_}
