"""Run folders: one scenario, one configuration and everything that came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clad import exhibits, review
from clad.artifact import (
    locked,
    make_folder,
    read_bundle,
    write_atomic,
    write_json,
)
from clad.benchmark.experiment import Result, evaluate
from clad.checkpoints import CheckpointFolder
from clad.config import Config
from clad.data.labelled import Benchmark
from clad.data.scenarios import Scenario
from clad.data.splits import Answers, make_task
from clad.errors import ModelError
from clad.provenance import fingerprint, log, log_file
from clad.report.pictures import draw
from clad.scorefile import columns_of, file_columns, write_scores

MODEL_FACTS = (
    *("n_fit", "n_calibration", "seconds", "health"),
    *("device", "versions", "commit", "fingerprint"),
)


def folder_for(
    out: Path | None, recipe: str, config: Config, scenario: Scenario, *, several: bool
) -> Path:
    """Where a run is written: ``out`` (a folder a scenario in it, where there are several)."""
    name = scenario.name.replace(":", "-").replace(",", "-")
    if out is not None:
        return out / name if several else out
    return Path("runs") / f"{scenario.dataset}-{name}-{recipe}-seed{config.seed}"


def run(
    benchmark: Benchmark,
    scenario: Scenario,
    config: Config,
    folder: Path,
    recipe: str,
    *,
    fresh: bool,
    progress: bool,
) -> dict[str, Any]:
    """Run one scenario into ``folder``; returns what metrics.json holds and ``out``.

    A folder that holds this very run already (same task, configuration and version) is read
    back; one where it was interrupted is gone on with; ``fresh`` starts over.
    """
    task = make_task(benchmark, scenario)
    make_folder(folder)
    with locked(folder), log_file(folder / "run.log"):
        name = f"{scenario.dataset} {scenario.name} {recipe}"
        identity = fingerprint(config, task.train, task.test, name=name)
        checkpoints = CheckpointFolder(folder / "checkpoints", identity)
        if fresh:
            checkpoints.clear()
        elif (done := _finished(folder, identity)) is not None:
            log.info("%s holds this run already; --fresh starts over", folder)
            checkpoints.clear()  # it may have been cut off just before
            return done
        log.info("%s %s -> %s", scenario.dataset, scenario.name, folder)
        result = evaluate(task, config, checkpoints=checkpoints, progress=progress)
        metrics = {
            "dataset": scenario.dataset,
            "scenario": scenario.name,
            "preset": recipe,
            "seed": config.seed,
            **result.metrics,
            "fingerprint": identity,
        }
        _write(folder, config, task.answers, result, metrics)
        checkpoints.clear()
    return {**metrics, "out": str(folder)}


def _finished(folder: Path, identity: str) -> dict[str, Any] | None:
    """What metrics.json holds, where it and the model beside it are of this very run."""
    try:
        metrics = json.loads((folder / "metrics.json").read_bytes())
        facts = read_bundle(folder / "model").document.get("facts", {})
    except (OSError, ValueError, ModelError):
        return None
    # The model is replaced before metrics.json: between the two they are of different runs.
    same = isinstance(metrics, dict) and (
        metrics.get("fingerprint") == facts.get("fingerprint") == identity
    )
    return {**metrics, "out": str(folder)} if same else None


def _write(
    folder: Path, config: Config, answers: Answers, result: Result, metrics: dict[str, Any]
) -> None:
    """Everything a run leaves; metrics.json last, since it says that the rest is there."""
    result.detector.save(folder / "model", {key: metrics[key] for key in MODEL_FACTS})
    review.keep(folder / "model", review.of_fitted(result.detector))
    exhibits.keep_fitted(folder / "model", result.detector)
    exhibits.keep_scored(folder / "exhibits", exhibits.of_images(result.detector, [result.test]))
    columns = columns_of(file_columns(result.test), result.scores)
    columns["label"] = [answers.classes[i] for i in answers.test_labels]
    columns["truth"] = answers.test_anomalous.astype(int).tolist()
    write_scores(folder / "scores.csv", columns)
    write_scores(folder / "thresholds.csv", _columns(metrics["trade_off"]))
    write_atomic(folder / "config.yaml", config.to_yaml().encode())
    title = "{dataset} {scenario}, {preset} preset".format(**metrics)
    draw(folder, result.detector, result.test, result.scores, answers.test_anomalous, title)
    write_json(folder / "metrics.json", metrics)


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}
