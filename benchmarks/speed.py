"""Speed, as ratios within one run: a shared machine's clock tells little by itself.

    python benchmarks/speed.py [scoring] [training] [convolution] [kmeans] [map] [--threads 2]

`scoring`: images of 28x28 a second in float32 and bfloat16, beside the authors' way of handing ODIN
one image at a time.
`training`: arithmetic of the classifier's training as a share of this machine's matrix product in
the same precision. `convolution`: 256 maps of 2x2 there and back, beside torch's convolution.
`kmeans`: ours beside scikit-learn's (10 restarts) on 60,000 x 64 points around
20 centres, time and inertia. `map`: seconds of the report's openTSNE map of 20,000 points.
Appends to results/speed.csv.
"""

import os
import time
from dataclasses import replace

import click
import numpy as np
import torch
from records import ROOT, read_rows, write_rows
from torch.utils.flop_counter import FlopCounterMode

from clad import recipes
from clad.config import Config
from clad.data.images import ImageSet
from clad.provenance import commit, hardware
from clad.report.plots import embed
from clad.runtime import Runtime
from clad.stages.augmentation import MILD, Augmentation
from clad.stages.classifier import Classifier
from clad.stages.convolution import Convolution
from clad.stages.fused import Fused
from clad.stages.kmeans import KMeans
from clad.stages.odin import ODIN
from clad.stages.resnet import NETWORKS
from clad.stages.transformations import Transformations

FILE = ROOT / "results" / "speed.csv"


def seconds(work, repeats=3):
    """Of the fastest of some repeats, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def build(runtime, channels, n_classes, stage3):
    """A network as configured, with random weights: what it says does not matter here."""
    with runtime.seeded("benchmark"):
        make = NETWORKS[stage3.network]
        network = make(channels, n_classes, width=stage3.width, stem=stage3.stem)
    return runtime.place(network).eval()


def one_by_one(network, images):
    """ODIN as the released code runs it: a batch of one image, forward, gradient, step, forward."""
    for batch in images.batches(1):
        x = torch.from_numpy(batch).float().div(255).requires_grad_(True)
        logits = network(x) / 1000
        torch.nn.functional.cross_entropy(logits, logits.argmax(dim=1)).backward()
        with torch.no_grad():
            network(x - 1e-4 * x.grad.sign()).div(1000).softmax(dim=1).max()


def scoring(runtime, n=4096):
    """Images a second by each way of scoring."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, 1, 28, 28)).astype(np.uint8)
    images, few = ImageSet.of(pixels), ImageSet.of(pixels[:128])
    paper = build(runtime, 1, 10, recipes.load(recipes.preset("paper", "mnist")).classifier)
    default = build(runtime, 1, 12, Config().classifier)
    single = len(few) / seconds(lambda: one_by_one(paper, few))
    yield "one by one, ODIN, paper's network", single, "images/s", 1.0
    held_out = np.arange(n) % 8 == 0
    ways = {
        "ODIN, paper's network": (ODIN(), paper),
        "ODIN, default network": (ODIN(), default),
    }
    for method, turns in (("logits", 1), ("logits", 4), ("fused", 4)):
        told = Transformations(turns)
        fused = Fused(method, transformations=told).fit(default, images, held_out, runtime)
        ways[f"{method} over {turns} turns, default network"] = fused, default
    for asked in (runtime, replace(runtime, bfloat16_scores=True)):
        kind = "bfloat16" if asked.bfloat16_scores else "float32"
        for name, (score, network) in ways.items():
            rate = n / seconds(lambda s=score, m=network, r=asked: s.score(m, images, r))
            yield f"{name}, {kind}", rate, "images/s", rate / single


def training(runtime, steps=12):
    """An epoch of the default classifier on 32x32, augmentation and optimizer included; the
    arithmetic counted is the network's alone.
    """
    config = Config()
    batch = config.classifier.batch_size
    told = {"rotations": 4, "mirror": False, "recolour": False, "epochs": 1, "rounds": 1}
    classifier = Classifier(**{**dict(config.classifier), **told})
    chosen = {"flip": True, "brightness": MILD, "contrast": MILD}  # as of most images
    augment = Augmentation(**{**dict(config.augment), **chosen})
    pixels = np.random.default_rng(0).integers(0, 256, (batch * steps, 3, 32, 32), np.uint8)
    images, labels = ImageSet.of(pixels), np.zeros(batch * steps, np.int64)

    network = build(runtime, 3, 4, config.classifier).train()
    with FlopCounterMode(display=False) as counter, runtime.autocast():
        network(torch.rand(batch, 3, 32, 32, device=runtime.device)).sum().backward()
    each = seconds(lambda: classifier.fit(images, labels, 1, runtime, augment=augment)) / steps
    rate = counter.get_total_flops() / each / 1e9
    kind = torch.bfloat16 if runtime.bfloat16 else torch.float32
    a, b = (torch.rand(4096, 4096, device=runtime.device).to(kind) for _ in range(2))
    product = 2 * 4096**3 / seconds(lambda: (a @ b)[0, 0].item(), repeats=5) / 1e9
    yield f"matrix product, {kind}", product, "GFLOP/s", 1.0
    yield "training the classifier", rate, "GFLOP/s", rate / product


def convolution(runtime, batch=128, maps=256):
    """The tiny and small maps that the default network's last blocks see of 32x32 images."""
    for side in (2, 4):
        theirs = torch.nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        x = torch.rand(batch, maps, side, side, device=runtime.device, requires_grad=True)
        times = {}
        for name, layer in (("torch's", theirs), ("ours", Convolution(maps, maps))):
            runtime.place(layer)

            def step(layer=layer, x=x):
                with runtime.autocast():
                    # under it the first operation rounds, as the layer before does in training
                    layer(x.to(torch.get_autocast_dtype(x.device.type))).float().sum().backward()
                return layer.weight.grad[0, 0, 0, 0].item()

            times[name] = seconds(step, repeats=20)
            ratio = times["torch's"] / times[name]
            yield f"convolution of {side}x{side} maps, {name}", 1000 * times[name], "ms", ratio


def kmeans(_, n=60_000, d=64, k=20):
    """Both on the same points; a ratio over 1 is faster, and of inertia better under 1.001."""
    from sklearn.cluster import KMeans as Theirs

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(k, d))
    points = (centres[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(np.float32)
    start = time.perf_counter()
    theirs = Theirs(k, n_init=10, random_state=0).fit(points)
    middle = time.perf_counter()
    ours = KMeans(k).fit(points)
    end = time.perf_counter()
    yield "scikit-learn's k-means", middle - start, "s", 1.0
    yield "our k-means", end - middle, "s", (middle - start) / (end - middle)
    yield "inertia, ours / theirs", ours.inertia_ / theirs.inertia_, "", 1.0


def tsne_map(_, n=20_000, d=32, k=10):
    """The map of a report with that many images."""
    rng = np.random.default_rng(0)
    points = (
        rng.normal(size=(k, d))[rng.integers(k, size=n)] * 3 + rng.normal(size=(n, d))
    ).astype(np.float32)
    start = time.perf_counter()
    embed(points, 0, n_jobs=torch.get_num_threads())
    yield f"openTSNE map of {n}", time.perf_counter() - start, "s", 1.0


PARTS = {
    **{"scoring": scoring, "training": training, "convolution": convolution},
    **{"kmeans": kmeans, "map": tsne_map},
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--threads", default=2, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(parts, threads, device):
    """Measure and keep."""
    runtime = Runtime.choose(device=device, threads=threads)
    rows = read_rows(FILE)
    for part in parts or PARTS:
        for what, value, unit, ratio in PARTS[part](runtime):
            click.echo(f"{what:40s} {value:10.4g} {unit:9s} {ratio:7.3f}")
            rows.append(
                {
                    **{"part": part, "what": what, "value": f"{value:.5g}", "unit": unit},
                    **{"ratio": f"{ratio:.4f}", "hardware": hardware(device)},
                    **{"load": f"{os.getloadavg()[0]:.1f}", "torch": torch.__version__},
                    **{"commit": commit()},
                }
            )
    write_rows(FILE, rows)


if __name__ == "__main__":
    main()
