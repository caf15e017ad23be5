"""Small defects on large images: how many are found, at which false-alarm rate, where, how fast.

    python benchmarks/inspection.py [--variant boards] [--side 2048] [--images FOLDER]

``boards``: circuit boards drawn from a seed (clad/data/boards.py), 100 normal ones to fit and
calibrate on, 50 normal and 50 with one defect of 5x5, 20x20, 100x100 or 500x100 pixels to test.
``mosaic``: the same numbers with real texture, mosaics of CIFAR-10's ships, the defects patches of
its animals (needs CLAD_DATA). The same images shrunk to 256x256, without tiles, stand beside.
``--larger``: the model of 2048 pixels on a tenth as many images of 5120, calibrated anew with ten.

``--crowded``: that model on boards with twelve defects each of 5x5 and of 20x20, of which many more
are found or missed than on the boards with one.
``--picture``: docs/tiles.png, a defect of each size and where that model's map puts it.
``--time MODEL --images FILE``: what scoring one image takes, in a process that does nothing else.

Rows in results/inspection.csv, inspection_crowded.csv and inspection_cost.csv.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image
from records import ROOT, peak_memory, read_rows, write_rows
from tqdm import tqdm

from clad import CLAD
from clad.data.benchmarks import load
from clad.data.boards import board, crowded, defective
from clad.data.mosaics import Mosaics
from clad.metrics import auroc
from clad.provenance import commit
from clad.report.overlays import boxes, overlay
from clad.scoremap import ScoreMap

FILE, CROWDED, COST = (
    ROOT / "results" / f"inspection{name}.csv" for name in ("", "_crowded", "_cost")
)
SIZES = {"5x5": (5, 5), "20x20": (20, 20), "100x100": (100, 100), "500x100": (500, 100)}
SMALL, EACH = ("5x5", "20x20"), 12  # of a crowded board
# seeds; no image is in two parts
FIRST = {"train": 0, "normal": 30_000, "defective": 40_000, "crowded": 50_000}
BINS, REACH = 2**16, 30.0  # of log-odds, from so far under the threshold to so far above
TILED = {
    "tiles": {"size": 64, "samples": 1500},
    "autoencoder": {"epochs": 3, "batch_size": 128},
    "dec": {"epochs": 3},
    "classifier": {"epochs": 4},
}
WHOLE = {
    "images": {"size": (256, 256)},
    "autoencoder": {"epochs": 15, "batch_size": 16},
    "dec": {"epochs": 3},
    "classifier": {"epochs": 15, "batch_size": 16},
}


@dataclass
class Pictures:
    """A part's files, in order; for defective ones the true pixels and the size's name."""

    files: list[Path]
    masks: list[Path]
    sizes: list[str]


def ships() -> Mosaics:
    """Mosaics of CIFAR-10's ships, patches of its animals."""
    cifar = load("cifar10")
    of = {name: cifar.train.labels == i for i, name in enumerate(cifar.classes)}
    animals = of["cat"] | of["deer"] | of["dog"] | of["frog"] | of["horse"]
    images = cifar.train.images
    return Mosaics.of(images.take(of["ship"]), images.take(animals))


def draw(folder: Path, variant: str, side: int, part: str, n: int) -> Pictures:
    """Write what is not there yet: a TIFF an image, a PNG a mask."""
    source = ships() if variant == "mosaic" else None
    here = folder / f"{variant}-{side}"
    here.mkdir(parents=True, exist_ok=True)
    found = Pictures([], [], [])
    names = list(SIZES)
    for i in tqdm(range(n), f"{part} {side}", disable=None):
        seed, name = FIRST[part] + i, names[i % len(names)]
        file, mask = here / f"{part}-{i:03}.tif", here / f"{part}-{i:03}.mask.png"
        if not file.exists():
            if part == "defective":
                make = source.defective if source else defective
                made = make(side, seed, SIZES[name])
                image, truth = made.image, made.mask
                Image.fromarray(truth).save(mask)
            else:
                image = (source.normal if source else board)(side, seed)
            Image.fromarray(image).save(file)
        found.files.append(file)
        if part == "defective":
            found.masks.append(mask)
            found.sizes.append(name)
    return found


class Truth:
    """Pixel AUROC and boxes, gathered image by image."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.low, self.high = threshold - REACH, threshold + REACH
        self.counts = np.zeros((2, BINS))  # of normal and of defective pixels, by score
        self.boxed: list[bool] = []

    def add(self, found, mask) -> None:
        """One image's map; ``mask`` bool (H, W), or None where all is normal."""
        step = found.step
        share = (found.values.clip(self.low, self.high) - self.low) / (self.high - self.low)
        place = (share * (BINS - 1)).astype(np.int64)
        defect = np.zeros(place.shape)
        if mask is not None:
            down, right = -mask.shape[0] % step, -mask.shape[1] % step
            padded = np.pad(mask, ((0, down), (0, right)))
            h, w = padded.shape
            defect = padded.reshape(h // step, step, w // step, step).sum(axis=(1, 3))
            self.boxed.append(
                any(
                    mask[box.top : box.bottom, box.left : box.right].any()
                    for box in boxes(found, self.threshold)
                )
            )
        for kind, weight in enumerate((step**2 - defect, defect)):
            self.counts[kind] += np.bincount(place.ravel(), weight.ravel(), BINS)

    def auroc(self) -> float:
        """Probability that a defective pixel scores above a normal one, ties counted half."""
        normal, defect = self.counts / self.counts.sum(axis=1, keepdims=True)
        return float((defect * (np.cumsum(normal) - normal / 2)).sum())


def judge(detector, normal: Pictures, bad: Pictures, maps: bool) -> dict[str, object]:
    """What one detector finds among the test images."""
    files = [*normal.files, *bad.files]
    masks = [None] * len(normal.files) + bad.masks
    truth = Truth(detector.threshold_)

    def keep(position, found):
        mask = masks[position]
        truth.add(found, None if mask is None else np.asarray(Image.open(mask)))

    start = time.perf_counter()
    measured = detector.measure([str(file) for file in files], keep if maps else None)
    seconds = (time.perf_counter() - start) / len(files)
    scores = detector.decide([measured])
    flagged, n = scores.anomaly.astype(bool), len(normal.files)
    sizes = np.array(bad.sizes)
    row = {
        "seed": detector.config_.seed,
        "n_calibration": len(detector.calibration_),
        "alpha": detector.config_.threshold.alpha,
        "threshold": f"{detector.threshold_:.5g}",
        "false_alarms": f"{flagged[:n].sum()}/{n}",
        **{name: f"{flagged[n:][sizes == name].sum()}/{(sizes == name).sum()}" for name in SIZES},
        "auroc": f"{auroc(scores.score, np.arange(len(files)) >= n):.4f}",
        "pixel_auroc": f"{truth.auroc():.4f}" if maps else "",
        "boxed": f"{sum(truth.boxed)}/{len(truth.boxed)}" if maps else "",
        "seconds_an_image": f"{seconds:.2f}",
    }
    np.savez(  # for looking closer
        bad.files[0].parent / f"scores-{'tiles' if maps else 'whole'}.npz",
        **{"score": scores.score, "calibration": detector.calibration_.scores},
    )
    return row


def save_row(file: Path, **values: object) -> None:
    """Add a row to the results and print it."""
    rows = read_rows(file)
    row = {k: str(v) for k, v in values.items()}
    row |= {"threads": os.environ.get("OMP_NUM_THREADS", ""), "load": f"{os.getloadavg()[0]:.1f}"}
    row |= {"commit": str(commit())}
    click.echo(json.dumps(row, indent=1))
    write_rows(file, [*rows, row])


def crowd(folder: Path, n: int) -> tuple[list[Path], list[np.ndarray]]:
    """Files of crowded boards of 2048 pixels, drawn where they are not there yet; their labels."""
    here = folder / "boards-2048"
    here.mkdir(parents=True, exist_ok=True)
    files = [here / f"crowded-{i:03}.tif" for i in range(n)]
    marks = [file.with_suffix(".labels.png") for file in files]
    sizes = [SIZES[name] for name in SMALL] * EACH
    for i in tqdm(range(n), "crowded 2048", disable=None):
        if not files[i].exists():
            made = crowded(2048, FIRST["crowded"] + i, sizes)
            Image.fromarray(made.labels).save(marks[i])
            Image.fromarray(made.image).save(files[i])
    return files, [np.asarray(Image.open(mark)) for mark in marks]


def found_in_crowds(detector, files: list[Path], labels: list[np.ndarray]) -> dict[str, str]:
    """How many defects of each size have a cell of the map over the threshold."""
    found: dict[str, list[bool]] = {name: [] for name in SMALL}

    def keep(position, shown):
        truth = labels[position]
        over = np.kron(shown.values > detector.threshold_, np.ones((shown.step, shown.step), bool))
        hit = set(truth[over[: truth.shape[0], : truth.shape[1]]])
        for i in range(EACH * len(SMALL)):
            found[SMALL[i % len(SMALL)]].append(i + 1 in hit)

    detector.measure([str(file) for file in files], keep)
    return {name: f"{sum(each)}/{len(each)}" for name, each in found.items()}


def time_one(model: str, image: str) -> None:
    """Load a model, score one image with it, and keep a row of seconds and peak memory."""
    detector = CLAD.load(model, device="cpu")
    maps: dict[int, ScoreMap] = {}
    start, used = time.perf_counter(), time.process_time()
    detector.measure([image], maps.__setitem__)
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    peak = peak_memory() / 2**20
    height, width = maps[0].size
    row = {"width": width, "height": height, "seconds": f"{seconds:.1f}"}
    save_row(COST, **row, cpu_seconds=f"{cpu:.1f}", peak_mib=f"{peak:.0f}")


def picture(detector, bad: Pictures, file: Path, side: int = 240, gap: int = 6) -> None:
    """One defect of each size and its map below, all four ``side`` pixels wide in the picture."""
    first = [bad.sizes.index(name) for name in SIZES]
    maps = {}
    detector.measure([str(bad.files[i]) for i in first], maps.__setitem__)
    low = float(detector.calibration_.scores.min())
    canvas = Image.new("RGB", (len(first) * (side + gap) - gap, 2 * side + gap), "white")
    for column, i in enumerate(first):
        image, mask = (np.asarray(Image.open(f)) for f in (bad.files[i], bad.masks[i]))
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        width = 3 * side if max(np.ptp(rows), np.ptp(columns)) > side else side
        step = maps[column].step
        top, left = (
            int(np.clip((line[0] + line[-1] - width) // 2, 0, length - width)) // step * step
            for line, length in zip((rows, columns), image.shape, strict=True)
        )
        part = image[top : top + width, left : left + width]
        place = np.s_[top // step : (top + width) // step, left // step : (left + width) // step]
        shown = ScoreMap(maps[column].values[place], step, (width, width))
        listed = boxes(shown, detector.threshold_)
        below = overlay(part[None], shown, low, detector.threshold_, listed)
        for row, made in enumerate((Image.fromarray(part), below)):
            made = made.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
            canvas.paste(made, (column * (side + gap), row * (side + gap)))
    canvas.save(file, optimize=True)


@click.command()
@click.option("--variant", type=click.Choice(["boards", "mosaic"]), default="boards")
@click.option("--side", default=2048, show_default=True)
@click.option("--train", "n_train", default=100, show_default=True)
@click.option("--test", "n_test", default=50, show_default=True, help="Normal, and as many bad.")
@click.option("--seed", default=0, show_default=True, help="Of the fit; the images stay.")
@click.option("--images", type=click.Path(path_type=Path), default="inspection", show_default=True)
@click.option("--larger", is_flag=True, help="The model there is, on 5120 pixels.")
@click.option("--crowded", "crowds", is_flag=True, help="That model, on 16 crowded boards.")
@click.option("--whole/--no-whole", default=True, help="Also without tiles, at 256x256.")
@click.option("--picture", "drawn", is_flag=True, help="Draw docs/tiles.png with that model.")
@click.option("--time", "model", help="Only time this model on the image of --images.")
def main(variant, side, n_train, n_test, seed, images, larger, crowds, whole, drawn, model) -> None:
    """Draw the images, fit, score, and keep a row a method."""
    if model:
        time_one(model, str(images))
        return
    folder = images / f"{variant}-{side}-model"
    if drawn:
        bad = draw(images, variant, side, "defective", n_test)
        picture(CLAD.load(folder, device="cpu"), bad, ROOT / "docs" / "tiles.png")
        return
    if crowds:
        detector = CLAD.load(folder, device="cpu", progress=True)
        found = found_in_crowds(detector, *crowd(images, 16))
        facts = {"seed": detector.config_.seed, "alpha": detector.config_.threshold.alpha}
        save_row(CROWDED, **facts, threshold=f"{detector.threshold_:.5g}", **found)
        return
    if larger:
        detector, side = CLAD.load(folder, device="cpu", progress=True), 5120
        train = draw(images, variant, side, "train", n_train // 10)
        normal, bad = (
            draw(images, variant, side, part, n_test // 10) for part in ("normal", "defective")
        )
        detector.set_threshold(method="quantile")  # ten allow no alpha of 5%
        detector.calibrate([str(f) for f in train.files])
        detector.set_threshold(method="conformal", alpha=0.1)
        found = judge(detector, normal, bad, True)
        save_row(FILE, variant=variant, side=side, method="tiles", n_fit=0, minutes="", **found)
        return
    train = draw(images, variant, side, "train", n_train)
    normal, bad = (draw(images, variant, side, part, n_test) for part in ("normal", "defective"))
    for method, config in (("tiles", TILED), *([("whole 256x256", WHOLE)] if whole else [])):
        start = time.perf_counter()
        detector = CLAD(config | {"seed": seed}, progress=True).fit([str(f) for f in train.files])
        minutes = (time.perf_counter() - start) / 60
        click.echo(f"{method}: {detector.seconds_}")
        if method == "tiles":
            detector.save(folder)
        found = judge(detector, normal, bad, method == "tiles")
        n_fit = len(detector.fit_images_)
        save_row(
            FILE,
            variant=variant,
            side=side,
            method=method,
            n_fit=n_fit,
            minutes=f"{minutes:.1f}",
            **found,
        )


if __name__ == "__main__":
    main()
