"""A cell of a benchmark: one scenario, one method, one seed -> a row of results."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from clad import metrics
from clad.baselines.contract import Baseline
from clad.baselines.methods import BASELINES
from clad.baselines.oracle import Oracle
from clad.benchmark.experiment import evaluate
from clad.config import Config
from clad.data.images import ImageSet
from clad.data.inputs import as_image_set
from clad.data.labelled import Benchmark
from clad.data.scenarios import Scenario
from clad.data.splits import Task, fit_calibration_split, make_task
from clad.provenance import commit, hardware, log, versions
from clad.runtime import Runtime
from clad.threshold import Conformal

CLAD = {"clad": "default", "clad:paper": "paper"}  # methods that are a preset of ours
ORACLE = "oracle-labelled"  # the upper bound: it is told the hidden labels
METHODS = (*CLAD, *BASELINES, ORACLE)


@dataclass(frozen=True)
class Cell:
    """What is to be run. ``config``: CLAD's; a baseline takes the image form, the split and alpha.

    Cells of other settings or commits are other cells: their rows are never averaged.
    """

    scenario: Scenario
    method: str
    config: Config

    @cached_property
    def setting(self) -> str:
        """Everything but scenario and seed that decides the result, as 12 hex digits."""
        settings = self.config.model_copy(update={"seed": 0}).model_dump_json()
        text = repr((self.method, settings, versions()["clad"], commit()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def key(self) -> tuple[Any, ...]:
        """As ``results.KEY``."""
        one = self.scenario
        return one.dataset, one.name, self.method, self.config.seed, self.setting


def run_cell(cell: Cell, benchmark: Benchmark, *, progress: bool) -> dict[str, Any]:
    """The cell's row; of one that fails, its error."""
    dataset, scenario, method, seed, setting = cell.key
    row = {
        **{"dataset": dataset, "scenario": scenario, "method": method},
        **{"seed": seed, "setting": setting, "error": None},
    }
    try:
        task = make_task(benchmark, cell.scenario)
        if method in CLAD:
            found = evaluate(task, cell.config, checkpoints=None, progress=progress).metrics
        else:
            found = _evaluate_baseline(task, cell, progress=progress)
    except Exception as error:  # whatever it is, the other cells go on
        log.warning("%s %s %s seed %d: %s", dataset, scenario, method, seed, error)
        log.debug("traceback", exc_info=True)
        return {**row, "error": f"{type(error).__name__}: {error}", "commit": commit()}
    return {**row, **found}


def _evaluate_baseline(task: Task, cell: Cell, *, progress: bool) -> dict[str, Any]:
    """Fit on the very images that CLAD would be fitted on, then look at the answers."""
    config = cell.config
    runtime = Runtime.choose(seed=config.seed, progress=progress, **dict(config.runtime))
    start = time.perf_counter()
    train, test = (
        as_image_set(part, size=config.images.size, channels=config.images.channels)[0]
        for part in (task.train, task.test)
    )
    part = config.calibration
    fit_images, held_out = fit_calibration_split(
        train, part.fraction, part.minimum, runtime.seed_for("split")
    )
    method = _fitted(cell.method, fit_images, train, task, runtime)
    fitted = time.perf_counter()
    rule = Conformal(alpha=config.threshold.alpha).fit(method.score(held_out, runtime))
    scores = method.score(test, runtime)
    end = time.perf_counter()
    answers = task.answers
    labels = [answers.classes[i] for i in answers.test_labels]
    return {
        **metrics.evaluate(scores, answers.test_anomalous, rule.threshold_),
        "auroc_interval": metrics.auroc_interval(scores, answers.test_anomalous),
        "auroc_by_class": metrics.per_class_auroc(scores, answers.test_anomalous, labels),
        "threshold": rule.threshold_,
        "alpha": rule.alpha,
        "n_fit": len(fit_images),
        "n_calibration": len(held_out),
        "n_test": len(test),
        "seconds": {
            name: round(value, 3)
            for name, value in (
                ("fit", fitted - start),
                ("scoring", end - fitted),
                ("total", end - start),
            )
        },
        "device": runtime.device,
        "hardware": hardware(runtime.device),
        "versions": versions(),
        "commit": commit(),
    }


def _fitted(
    name: str, fit_images: ImageSet, train: ImageSet, task: Task, runtime: Runtime
) -> Baseline | Oracle:
    if name == ORACLE:
        chosen = np.isin(train.index, fit_images.index)
        return Oracle().fit(fit_images, task.answers.train_labels[chosen], runtime)
    return BASELINES[name]().fit(fit_images, runtime)
