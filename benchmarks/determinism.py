"""The same fit again and again, and the same fit with other threads, precision or device.

    python benchmarks/determinism.py

Ten fits on the digits with one setting must give ten identical models and scores; then how far the
scores move with two threads, with bfloat16, with the instructions of an older CPU (sums in another
order, as on any other device) and, where there is one, on a GPU. Each fit is a process of its own.
Writes results/determinism.csv; exit status 1 where two of the ten differ.
"""

import hashlib
import json
import os
import subprocess
import sys

import click
import numpy as np
import torch
from records import ROOT, write_rows
from scipy.stats import spearmanr

from clad import CLAD, recipes
from clad.benchmark.experiment import evaluate
from clad.config import build
from clad.data.benchmarks import load
from clad.data.scenarios import scenario
from clad.data.splits import make_task
from clad.provenance import commit, versions

RUNS = 10
BASE = {"threads": 1, "precision": "float32", "device": "cpu"}
OTHERS = {
    "2 threads": {"threads": 2},
    "bfloat16": {"precision": "bfloat16"},
    "AVX2 instructions": {},
    "GPU": {"device": "cuda"},
}
OLDER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def fit(runtime):
    """A digest of everything learnt, and the test images' scores."""
    digits = load("digits")
    task = make_task(digits, scenario("digits", "CUR", digits.classes))
    values = recipes.merge(
        recipes.read_values(recipes.preset("default", "digits")), {"runtime": {**BASE, **runtime}}
    )
    result = evaluate(task, build(values), checkpoints=None, progress=False)
    detector: CLAD = result.detector
    learnt = hashlib.sha256()
    for arrays in detector.model_.bundle().arrays.values():
        for name in sorted(arrays):
            learnt.update(np.ascontiguousarray(arrays[name]).data)
    scores = result.scores.score
    learnt.update(scores.data)
    return {
        "digest": learnt.hexdigest(),
        "scores": scores.tolist(),
        "auroc": result.metrics["auroc"],
        "false_alarm_rate": result.metrics["false_alarm_rate"],
    }


def in_a_process(runtime, environment=None):
    """``fit`` in a fresh Python."""
    command = [sys.executable, __file__, "--child", json.dumps(runtime)]
    environment = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


@click.command()
@click.option("--child", hidden=True)
def main(child):
    """Fit and compare."""
    if child is not None:
        click.echo(json.dumps(fit(json.loads(child))))
        return
    same = [in_a_process({}) for _ in range(RUNS)]
    first, different = same[0], len({run["digest"] for run in same})
    about = {"torch": versions()["torch"], "commit": commit()}
    rows = [_row(f"{RUNS} runs, 1 thread, float32, CPU", different, first, first, about)]
    for name, runtime in OTHERS.items():
        if name == "GPU" and not torch.cuda.is_available():
            click.echo("GPU: none here")
            continue
        other = in_a_process(runtime, OLDER if name.startswith("AVX2") else None)
        rows.append(_row(name, None, other, first, about))
    write_rows(ROOT / "results" / "determinism.csv", rows)
    for row in rows:
        click.echo(", ".join(f"{key} {value}" for key, value in row.items()))
    sys.exit(different > 1)


def _row(name, different, run, first, about):
    ours, theirs = np.array(run["scores"]), np.array(first["scores"])
    return {
        "what": name,
        "different_digests": "" if different is None else different,
        "rank_correlation": round(float(spearmanr(ours, theirs).statistic), 4),
        "auroc": round(run["auroc"], 4),
        "false_alarm_rate": round(run["false_alarm_rate"], 4),
        **about,
    }


if __name__ == "__main__":
    main()
