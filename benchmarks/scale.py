"""Cost against the number of images: one epoch of each stage, and scoring, of generated images.

    python benchmarks/scale.py [--images 1000,10000,100000,1000000]

Images of 32x32x3 (blobs of a few kinds in noise) lie in a .npy file that is memory-mapped. Each
number of them has a process of its own: the default recipe with one epoch a stage, then the scores
of as many images. Seconds of each stage, seconds for 1,000 images, and the peak of memory are rows
of results/scale.csv; exit status 1 where memory passes 4 GB, or where 1,000 images cost more than
three times what they cost in the run before (from 10,000 on; fewer are mostly what is loaded).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from records import ROOT, peak_memory, read_rows, write_rows

from clad.provenance import commit, hardware
from clad.runtime import track

FILE = ROOT / "results" / "scale.csv"
SIDE, KINDS, PART = 32, 6, 10_000
LIMIT, STEEPEST = 4e9, 3.0  # bytes; growth of the cost of an image that is still called linear
ONE_EPOCH = {
    "autoencoder": {"epochs": 1},
    "dec": {"epochs": 1},
    "classifier": {"epochs": 1},
}
STAGES = ("data", "autoencoder", "dec", "classifier", "score", "calibration")


def write(path, n):
    """uint8 (n, 32, 32, 3): each kind has a colour and a place, each image a shift and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    colours, places = rng.uniform(60, 200, (KINDS, 3)), rng.uniform(8, 24, (KINDS, 2))
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (n, SIDE, SIDE, 3))
    for start in track(range(0, n, PART), "write", unit="image", unit_scale=PART):
        m = min(PART, n - start)
        kind = rng.integers(KINDS, size=m)
        at = places[kind] + rng.normal(0, 2, (m, 2))
        blob = np.exp(-((y - at[:, :1, None]) ** 2 + (x - at[:, 1:, None]) ** 2) / 60)
        shown = blob[..., None] * colours[kind][:, None, None] + rng.normal(
            30, 8, (m, SIDE, SIDE, 3)
        )
        images[start : start + m] = shown.clip(0, 255).astype(np.uint8)
    images.flush()


def fit_and_score(path):
    """In a process of its own: seconds of each stage and of scoring, and the peak of memory."""
    from clad import CLAD

    detector = CLAD(ONE_EPOCH, progress=True).fit(path)
    start = time.perf_counter()
    detector.decision_function(path)
    seconds = {**detector.seconds_, "scoring": time.perf_counter() - start}
    print(json.dumps({"seconds": seconds, "peak": peak_memory()}))


@click.command()
@click.option("--images", "numbers", default="1000,10000,100000,1000000", show_default=True)
@click.option("--of", "path", hidden=True, help="Fit and score this file, and say what it took.")
def main(numbers, path):
    """Measure each."""
    if path:
        fit_and_score(path)
        return
    good, before = True, None
    for n in map(int, numbers.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            images = Path(folder) / "images.npy"
            write(images, n)
            command = [sys.executable, __file__, "--of", str(images)]
            said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        seconds, peak = said["seconds"], said["peak"]
        each = 1000 * sum(seconds.values()) / n
        row = {
            "images": n,
            **{stage: f"{seconds.get(stage, 0):.1f}" for stage in (*STAGES, "scoring")},
            **{"of_1000": f"{each:.2f}", "peak_mib": round(peak / 2**20)},
            **{"hardware": hardware("cpu"), "load": f"{os.getloadavg()[0]:.1f}"},
            "commit": commit(),
        }
        write_rows(FILE, [*read_rows(FILE), row])
        click.echo(", ".join(f"{key} {value}" for key, value in row.items()))
        good &= peak < LIMIT and (before is None or each < STEEPEST * before)
        before = each if n >= 10_000 else None
    sys.exit(not good)


if __name__ == "__main__":
    main()
