"""100,000 images scored in one run, a hundredth of them corrupt: in how much memory, how fast.

    python benchmarks/load.py [--images 100000]

Writes the images (digits, shifted and dimmed) to a temporary folder, fits a small model, gives
`clad score --on-bad skip` and watches its memory. Writes results/load.csv; exit status 1 where a
good image is not scored, a bad one not listed, or memory passes the limit or keeps growing.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image
from records import ROOT, write_rows

from clad import CLAD
from clad.data.benchmarks import load
from clad.provenance import commit, versions
from clad.runtime import track
from clad.scorefile import read_scores

SIDE = 28
LIMIT = 2 * 2**30  # bytes
GROWTH = 100 * 2**20  # of the later half over the earlier one, where it should be flat


def digits():
    """uint8 (N, 28, 28)."""
    images = load("digits").train.images.read()[:, 0]
    return np.stack([np.asarray(Image.fromarray(i).resize((SIDE, SIDE))) for i in images])


def write(folder, n):
    """n files; returns the names of those that are corrupt."""
    rng, source = np.random.default_rng(0), digits()
    corrupt = set(rng.choice(n, n // 100, replace=False).tolist())
    for i in track(range(n), "write", unit="image"):
        image = np.roll(source[rng.integers(len(source))], rng.integers(-3, 4, 2), (0, 1))
        image = (image * rng.uniform(0.5, 1)).astype(np.uint8)
        path = folder / f"{i:06}.png"
        Image.fromarray(image).save(path, compress_level=1)
        if i in corrupt:
            path.write_bytes(path.read_bytes()[: rng.integers(0, 60)])
    return {f"{i:06}.png" for i in corrupt}


def watch(command):
    """Exit status, seconds, and the resident bytes every half second."""
    start, seen = time.perf_counter(), []
    process = subprocess.Popen(command)
    pages = Path(f"/proc/{process.pid}/statm")
    while process.poll() is None:
        seen.append(int(pages.read_text().split()[1]) * resource.getpagesize())
        time.sleep(0.5)
    return process.returncode, time.perf_counter() - start, np.array(seen)


@click.command()
@click.option("--images", "n", default=100_000, show_default=True)
def main(n):
    """Score them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        settings = {"classifier": {"epochs": 1, "width": 16}, "autoencoder": {"epochs": 2}}
        CLAD(settings).fit(digits()).save(folder / "model")
        corrupt = write(folder / "images", n)
        out = folder / "scores.csv"
        command = [Path(sys.executable).with_name("clad"), "score", str(folder / "model")]
        command += [str(folder / "images"), "-o", str(out), "--on-bad", "skip", "--quiet"]
        status, seconds, memory = watch(command)
        scored = set(read_scores(out)["path"]) if out.exists() else set()
        listing = out.with_suffix(".skipped.csv")
        listed = set(read_scores(listing)["path"]) if listing.exists() else set()
    good = {f"{i:06}.png" for i in range(n)} - corrupt
    quarter = len(memory) // 4  # the start loads libraries
    early, late = np.median(memory[quarter : 2 * quarter]), np.median(memory[-quarter:])
    row = {
        **{"images": n, "corrupt": len(corrupt), "scored": len(scored), "listed": len(listed)},
        **{"seconds": round(seconds, 1), "images_per_second": round(n / seconds)},
        **{"peak_mib": round(memory.max() / 2**20), "growth_mib": round((late - early) / 2**20)},
        **{"torch": versions()["torch"], "commit": commit()},
    }
    write_rows(ROOT / "results" / "load.csv", [row])
    for key, value in row.items():
        click.echo(f"{key}: {value}")
    right = status == 0 and scored == good and listed == corrupt
    sys.exit(not (right and memory.max() < LIMIT and late - early < GROWTH))


if __name__ == "__main__":
    main()
