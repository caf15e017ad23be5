"""Scoring speed on 28x28 images, as a ratio to scoring one by one, measured in one run.

The authors' released code hands ODIN one image at a time; this times that beside CLAD's batches,
with the same network (ResNet-18, width 64, torchvision stem), on the same images.

    python benchmarks/scoring.py [--images 4096] [--threads 2]
"""

import platform
import time

import click
import numpy as np
import torch

from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.classifier import ResNet18
from clad.stages.neighbours import Neighbours
from clad.stages.odin import ODIN


def one_by_one(network: ResNet18, images: ImageSet) -> None:
    """A batch of one image: forward, gradient of the input, step, forward."""
    for batch in images.batches(1):
        x = torch.from_numpy(batch).float().div(255).requires_grad_(True)
        logits = network(x) / 1000
        torch.nn.functional.cross_entropy(logits, logits.argmax(dim=1)).backward()
        with torch.no_grad():
            network(x - 1e-4 * x.grad.sign()).div(1000).softmax(dim=1).max()


def rate(work, n: int, repeats: int = 3) -> float:
    """Images a second, the best of some repeats after a warm-up."""
    work()
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return n / best


@click.command()
@click.option("--images", "n", default=4096, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(n: int, threads: int) -> None:
    """Print images a second and the ratio."""
    runtime = Runtime.choose(device="cpu", threads=threads)
    pixels = np.random.default_rng(0).integers(0, 256, (n, 1, 28, 28)).astype(np.uint8)
    images, few = ImageSet.of(pixels), ImageSet.of(pixels[:128])

    def build(width: int, stem: str, n_classes: int) -> ResNet18:
        with runtime.seeded("benchmark"):
            network = ResNet18(1, n_classes, width=width, stem=stem)
        return runtime.place(network).eval()

    paper, default = build(64, "torchvision", 10), build(32, "small-stride", 12)
    single = rate(lambda: one_by_one(paper, few), len(few))
    odin = ODIN(1000, 1e-4)
    batched = rate(lambda: odin.score(paper, images, runtime), n)
    smaller = rate(lambda: odin.score(default, images, runtime), n)
    near = Neighbours(rotations=4, limit=5000).fit(default, images, runtime)
    neighbours = rate(lambda: near.score(default, images, runtime), n)

    print(f"{platform.machine()}, {threads} threads, torch {torch.__version__}, {n} images 28x28")
    print(f"one by one, paper's network        {single:8.0f} images/s")
    for name, value in (
        ("ODIN, paper's network", batched),
        ("ODIN, default network", smaller),
        ("neighbours over 4 rotations, default", neighbours),
    ):
        print(f"{name:34s} {value:8.0f} images/s, {value / single:5.1f} x")


if __name__ == "__main__":
    main()
