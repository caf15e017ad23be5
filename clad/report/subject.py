"""What a report is about: scored images and the model that scored them, read from their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad import exhibits
from clad.artifact import read_bundle
from clad.calibration import Calibration, read_calibration
from clad.config import Config
from clad.errors import DataError
from clad.exhibits import Exhibits
from clad.metrics import score_vector
from clad.runtime import log
from clad.scorefile import read_scores
from clad.threshold import Guarantee, Rule

COLUMNS = ("path", "score", "cluster")  # a score file needs at least these


@dataclass(frozen=True, eq=False)
class Subject:
    """N images with their scores, and everything known of the model.

    ``names``: N texts. ``scores``, ``p_values``: float64 (N,); ``flagged``: bool (N,), decided;
    ``clusters``: int64 (N,), predicted. ``anomalous``: bool (N,), the truth, and ``labels``: N
    texts, where known. ``shown``: thumbnails and latents, ``heatmaps``: thumbnails, each of some of
    the images, by name. ``calibrating``: the images are the calibration images themselves.
    """

    title: str
    names: Sequence[str]
    scores: NDArray[np.float64]
    p_values: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    clusters: NDArray[np.int64]
    calibration: Calibration
    rule: Rule
    guarantee: Guarantee
    config: Config
    facts: Mapping[str, Any]
    anomalous: NDArray[np.bool_] | None = None
    labels: Sequence[str] | None = None
    shown: Exhibits | None = None
    heatmaps: Exhibits | None = None
    gallery: Exhibits | None = None
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    calibrating: bool = False

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fitted_on(self) -> str:
        """What the model's clusters are of."""
        return "images" if self.config.tiles.size is None else "tiles"


def of_run(folder: Path) -> Subject:
    """The test images of a run's folder.

    Raises DataError or ModelError where scores.csv, metrics.json or the model is damaged, or they
    are not of one run.
    """
    metrics = _read_metrics(folder / "metrics.json")
    columns = read_scores(folder / "scores.csv")
    rows = len(columns["path"]) if "path" in columns else 0
    if rows != metrics["n_test"]:
        raise DataError(
            f"{folder / 'scores.csv'}: {rows} rows, but metrics.json says {metrics['n_test']}; "
            "the file is cut off or of another run: run again with --fresh"
        )
    model = folder / "model"
    title = "{dataset} {scenario}, {preset} preset, seed {seed}".format(**metrics)
    return _of_scores(
        model, columns, folder / "scores.csv", exhibits.read_scored(folder / "exhibits"),
        title=title, facts=metrics,
    )  # fmt: skip


def of_scores(model: Path, file: Path) -> Subject:
    """The images of a file that ``clad score`` wrote with ``model``, without thumbnails.

    Raises DataError where the file is damaged, and ModelError where the model is.
    """
    return _of_scores(model, read_scores(file), file, None, title=f"{file.name}, {model}")


def of_model(model: Path) -> Subject:
    """The calibration images of a model: normal ones that it was not fitted on."""
    calibration, _ = read_calibration(model)
    columns: dict[str, list[Any]] = {
        "path": list(calibration.names),
        "score": calibration.scores.tolist(),
        "cluster": calibration.clusters.tolist(),
    }
    shown = exhibits.read_calibration(model)
    return _of_scores(
        model, columns, model, shown, title=f"{model}: calibration images", calibrating=True
    )


def _of_scores(
    model: Path,
    columns: Mapping[str, list[Any]],
    source: Path,
    shown: Exhibits | None,
    *,
    title: str,
    facts: Mapping[str, Any] | None = None,
    calibrating: bool = False,
) -> Subject:
    """Decisions and p-values are the model's, as its threshold is now."""
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise DataError(f"{source}: no column {missing[0]!r}; give a file that clad score wrote")
    calibration, config = read_calibration(model)
    rule = calibration.rule(config.threshold)
    scores = score_vector(columns["score"], f"{source}: score")
    clusters = _integers(columns["cluster"], f"{source}: cluster")
    flagged = rule.predict(scores, clusters).astype(bool)
    then = columns.get("anomaly")
    if then is not None and (flagged != _integers(then, f"{source}: anomaly").astype(bool)).any():
        log.warning(
            "%s: decided with another threshold than %s has now; the page shows the latter",
            *(source, model),
        )
    truth = columns.get("truth")
    return Subject(
        title=title,
        names=columns["path"],
        scores=scores,
        p_values=rule.p_values(scores, clusters),
        flagged=flagged,
        clusters=clusters,
        calibration=calibration,
        rule=rule,
        guarantee=calibration.guarantee(rule),
        config=config,
        facts=facts or read_bundle(model, only=()).document.get("facts", {}),
        anomalous=None if truth is None else _integers(truth, f"{source}: truth") == 1,
        labels=columns.get("label"),
        shown=shown,
        gallery=exhibits.read_gallery(model),
        curves=exhibits.read_curves(model),
        calibrating=calibrating,
    )


def _integers(column: list[Any], what: str) -> NDArray[np.int64]:
    if not all(type(value) is int and value >= 0 for value in column):
        raise DataError(f"{what} should be whole numbers >= 0")
    return np.array(column, np.int64)


def _read_metrics(path: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(path.read_bytes())
        if {"dataset", "scenario", "preset", "seed", "n_test"} <= set(metrics):
            return dict(metrics)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError):
        pass
    raise DataError(f"{path}: not the metrics of a run, or cut off; run again with --fresh")
