"""The page of a run: seconds to write it and its size, for 2,000 and 10,000 made-up images.

    python benchmarks/report.py

Photographs are the hard case for thumbnails, so the images are crops of scikit-learn's two, with a
heatmap each; scores are made up, latents are a real autoencoder's. Appends to results/report.csv;
exit status 1 where 2,000 images take 5 MB or more, or 10,000 take 20 s or more.
"""

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from records import ROOT, read_rows, write_rows
from sklearn.datasets import load_sample_images

from clad import CLAD, exhibits
from clad.data.images import ImageSet
from clad.provenance import commit, versions
from clad.report.heatmaps import read_heatmaps
from clad.report.scored import write_report
from clad.report.subject import of_scores
from clad.runtime import track
from clad.scorefile import write_scores

SIDE = 64
PAGES = ((2000, 2000), (10_000, 0))  # images, heatmaps
TINY = {
    "autoencoder": {"epochs": 1},
    "dec": {"clusters": 8, "epochs": 1},
    "classifier": {"epochs": 1, "width": 16},
    "score": {"method": "odin"},
    "calibration": {"minimum": 60},
}


def crops(n, seed):
    """uint8 (n, 64, 64, 3) of photographs."""
    rng, photographs = np.random.default_rng(seed), load_sample_images().images
    made = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for i in range(n):
        photograph = photographs[rng.integers(len(photographs))]
        top, left = (rng.integers(side - 2 * SIDE) for side in photograph.shape[:2])
        made[i] = photograph[top : top + 2 * SIDE : 2, left : left + 2 * SIDE : 2]
    return made


def write_heatmaps(folder, n):
    """Smooth PNGs."""
    from matplotlib import colormaps
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(1)
    for i in track(range(n), "heatmaps", unit="image"):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5)).astype(np.uint8))
        values = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        shown = (255 * colormaps["magma"](values)[..., :3]).astype(np.uint8)
        Image.fromarray(shown).save(folder / f"{i:05}.png")


def page(folder, detector, n, heatmaps):
    """Seconds, those of them computing, and bytes of a page of n images.

    What was saved is read within them.
    """
    here = folder / f"{n}-{heatmaps}"
    here.mkdir()
    images = ImageSet.of(
        np.ascontiguousarray(crops(n, n).transpose(0, 3, 1, 2)), [f"{i:05}.jpg" for i in range(n)]
    )
    rng = np.random.default_rng(n)
    columns = {"path": images.names, "score": rng.normal(size=n).tolist()}
    columns["cluster"] = rng.integers(0, detector.n_clusters_, n).tolist()
    columns["truth"] = rng.integers(0, 2, n).tolist()
    write_scores(here / "scores.csv", columns)
    exhibits.keep_scored(here / "exhibits", exhibits.of_images(detector, [images]))
    write_heatmaps(here / "heatmaps", heatmaps)
    start, computing = time.perf_counter(), time.process_time()
    subject = of_scores(folder / "model", here / "scores.csv")
    subject = replace(subject, shown=exhibits.read_scored(here / "exhibits"))
    if heatmaps:
        subject = replace(subject, heatmaps=read_heatmaps(here / "heatmaps", subject.names))
    write_report(here / "report.html", subject)
    seconds, computed = time.perf_counter() - start, time.process_time() - computing
    return seconds, computed, (here / "report.html").stat().st_size


@click.command()
def main():
    """Measure each."""
    path, good = ROOT / "results" / "report.csv", True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        detector = CLAD(TINY).fit(crops(300, 0))
        detector.save(folder / "model")
        exhibits.keep_fitted(folder / "model", detector)
        for n, heatmaps in PAGES:
            seconds, computed, size = page(folder, detector, n, heatmaps)
            row = {
                **{"images": n, "heatmaps": heatmaps, "seconds": round(seconds, 1)},
                **{"cpu_seconds": round(computed, 1)},
                **{"megabytes": round(size / 1e6, 2), "cpus": os.cpu_count()},
                **{"load": round(os.getloadavg()[0], 1), "commit": commit()},
                **{"matplotlib": _version("matplotlib"), "openTSNE": versions()["openTSNE"]},
            }
            write_rows(path, [*read_rows(path), row])
            click.echo(" ".join(f"{key}={value}" for key, value in row.items()))
            good &= (size < 5e6 or n > 2000) and (seconds < 20 or n > 10_000)
    sys.exit(not good)


def _version(package):
    from importlib.metadata import version

    return version(package)


if __name__ == "__main__":
    main()
