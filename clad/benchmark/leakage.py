"""Which class splits of a benchmark are well posed, before any detector is trained."""

from __future__ import annotations

from typing import Any

import numpy as np

from clad.data.labelled import Benchmark
from clad.data.scenarios import scenario, scenario_names
from clad.data.splits import make_task
from clad.metrics import class_leakage

COMPONENTS = 50


def leakage(benchmark: Benchmark) -> list[dict[str, Any]]:
    """A row for each anomalous class of each scenario: ``metrics.class_leakage`` in the test.

    Features are the first principal components of the pixels: no training, no method's own taste.
    """
    from sklearn.decomposition import PCA

    rows = []
    for name in scenario_names(benchmark.name):
        task = make_task(benchmark, scenario(benchmark.name, name, benchmark.classes))
        pixels = task.test.read().reshape(len(task.test), -1).astype(np.float32) / 255.0
        components = min(COMPONENTS, *pixels.shape)
        features = PCA(components, random_state=0).fit_transform(pixels)
        answers = task.answers
        labels = [answers.classes[i] for i in answers.test_labels]
        for kind, share in class_leakage(features, answers.test_anomalous, labels).items():
            rows.append({"scenario": name, "class": kind, "leakage": share})
    return rows
