"""The same fit again and again, and the same fit with other threads, precision or device.

    python benchmarks/determinism.py [--runs 10] [--jobs 1]

Ten fits on the digits with one setting must give ten identical models and scores; then how far the
scores move with two threads, with bfloat16, with the instructions of an older CPU (sums in another
order, as on any other device) and, where there is one, on a GPU, where ten must be identical too;
and where the first model, trained in float32, only scores in bfloat16.
Each fit is a process of its own. Replaces this machine's rows of results/determinism.csv; exit
status 1 where two of ten differ.
"""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import click
import numpy as np
import torch
from records import ROOT, read_rows, write_rows
from scipy.stats import spearmanr

from clad import CLAD, metrics, recipes
from clad.benchmark.experiment import evaluate
from clad.config import build
from clad.data.benchmarks import load
from clad.data.scenarios import scenario
from clad.data.splits import make_task
from clad.provenance import commit, hardware, versions

FILE = ROOT / "results" / "determinism.csv"
BASE = {"threads": 1, "precision": "float32", "device": "cpu"}
OTHERS = {
    "2 threads": {"threads": 2},
    "bfloat16": {"precision": "bfloat16"},
    "AVX2 instructions": {},
}
ON_GPU = {"GPU": {"device": "cuda"}, "GPU, bfloat16": {"device": "cuda", "precision": "bfloat16"}}
OLDER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def fit(runtime):
    """A digest of everything learnt and the test images' scores, and such of bfloat16 scores."""
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

    def seen(scores):
        digest, quality = learnt.copy(), _quality(detector, scores, task)
        digest.update(scores.score.data)
        return {"digest": digest.hexdigest(), "scores": scores.score.tolist(), **quality}

    detector.runtime_ = replace(detector.runtime_, bfloat16_scores=True)
    rounded = detector.decide([detector.measure(task.test)])
    return {**seen(result.scores), "rounded": seen(rounded)}


def _quality(detector, scores, task):
    found = metrics.evaluate(
        scores.score, task.answers.test_anomalous, detector.threshold_, scores.anomaly
    )
    return {name: found[name] for name in ("auroc", "false_alarm_rate")}


def machine():
    """Its processor, and its GPU."""
    processor, _, _ = hardware("cpu").rpartition(", ")
    return processor + (f", {hardware('cuda')}" if torch.cuda.is_available() else "")


def in_a_process(runtime, environment=None):
    """``fit`` in a fresh Python."""
    command = [sys.executable, __file__, "--child", json.dumps(runtime)]
    environment = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


@click.command()
@click.option("--runs", default=10, show_default=True, help="Fits that must be identical.")
@click.option("--jobs", default=1, show_default=True, help="Fits at a time.")
@click.option("--child", hidden=True)
def main(runs, jobs, child):
    """Fit and compare."""
    if child is not None:
        click.echo(json.dumps(fit(json.loads(child))))
        return
    on_gpu = ON_GPU if torch.cuda.is_available() else {}
    if not on_gpu:
        click.echo("GPU: none here")
    with ThreadPoolExecutor(jobs) as pool:
        same = [pool.submit(in_a_process, {}) for _ in range(runs)]
        others = {
            name: [pool.submit(in_a_process, runtime, OLDER if name.startswith("AVX2") else None)]
            for name, runtime in OTHERS.items()
        }
        others |= {
            name: [pool.submit(in_a_process, runtime) for _ in range(runs)]
            for name, runtime in on_gpu.items()
        }
        measured = {f"{runs} runs, 1 thread, float32, CPU": same, **others}
        measured = {name: [one.result() for one in fits] for name, fits in measured.items()}
    first = measured[f"{runs} runs, 1 thread, float32, CPU"][0]
    measured["the first model, bfloat16 scores"] = [first["rounded"]]
    rows = [_row(name, fits, first) for name, fits in measured.items()]
    kept = [row for row in read_rows(FILE) if row["machine"] != rows[0]["machine"]]
    write_rows(FILE, kept + rows)
    for row in rows:
        click.echo(", ".join(f"{key} {value}" for key, value in row.items()))
    sys.exit(any(row["different_digests"] > 1 for row in rows))


def _row(name, fits, first):
    ours, theirs = np.array(fits[0]["scores"]), np.array(first["scores"])
    return {
        "what": name,
        "runs": len(fits),
        "different_digests": len({run["digest"] for run in fits}),
        "rank_correlation": round(float(spearmanr(ours, theirs).statistic), 4),
        "auroc": round(fits[0]["auroc"], 4),
        "false_alarm_rate": round(fits[0]["false_alarm_rate"], 4),
        "torch": versions()["torch"],
        "commit": commit(),
        "machine": machine(),
    }


if __name__ == "__main__":
    main()
