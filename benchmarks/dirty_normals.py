"""What a few hidden anomalies among the normal images do: a measured curve and its picture.

    CLAD_DATA=... python benchmarks/dirty_normals.py [--seeds 3]

MNIST, scenario CUR: 2,000 training images and 400 calibration images, of which 0, 1, 5 or 10% are
digits of anomalous classes, in one part or in both (a user's folder). False alarms and detections
at alpha 5% on 4,000 test images, AUROC, and the share of the hidden anomalies that stand among the
2h images with the highest scores, h being their number: what clad review would show.

A row a seed and condition in results/dirty_normals.csv; rows that are there are not made again.
docs/dirty_normals.png is drawn from all of them.
"""

import click
import numpy as np
from records import ROOT, rows_of, write_rows
from tqdm import tqdm

from clad import CLAD, metrics
from clad.data.benchmarks import load
from clad.data.images import ImageSet
from clad.data.scenarios import scenario
from clad.data.splits import make_task
from clad.provenance import commit
from clad.report.canvas import ANOMALY, INK, NEUTRAL, NORMAL, picture

N_FIT, N_CALIBRATION, N_TEST, ALPHA = 2000, 400, 4000, 0.05
SHARES = (0.0, 0.01, 0.05, 0.1)
CONFIG = {
    "calibration": {"minimum": N_CALIBRATION, "fraction": 0.01},
    "autoencoder": {"epochs": 10, "batch_size": 128},
    "dec": {"epochs": 5, "restarts": 2},
    "classifier": {"epochs": 5, "width": 16, "batch_size": 64},
    "threshold": {"alpha": ALPHA},
}
FILE = ROOT / "results" / "dirty_normals.csv"
PARTS = {"both": INK, "training alone": NORMAL, "calibration alone": ANOMALY}


def mixed(normals, anomalies, n, share, rng):
    """n images, the anomalies' share among them in random places."""
    h = round(share * n)
    good, bad = rng.permutation(len(normals))[: n - h], rng.permutation(len(anomalies))[:h]
    array = np.concatenate([normals.read(good), anomalies.read(bad)])
    names = [f"n{i}" for i in good] + [f"a{i}" for i in bad]
    order = rng.permutation(n)
    return ImageSet.of(array[order], [names[i] for i in order])


def listed(images, scores):
    """Share of the hidden anomalies (names in a) among the 2h highest scores; None without any."""
    hidden = np.array([name.startswith("a") for name in images.names])
    h = int(hidden.sum())
    return float(hidden[np.argsort(-scores)[: 2 * h]].sum() / h) if h else ""


def one_seed(task, anomalies, seed):
    """A row for each share and part."""
    rng = np.random.default_rng(seed)
    normal = rng.permutation(len(task.train))
    spare, normals = task.train.take(normal[:4000]), task.train.take(normal[4000:])
    chosen = rng.choice(len(task.test), N_TEST, replace=False)
    test, truth = task.test.take(chosen), task.answers.test_anomalous[chosen]
    clean = None
    for share in SHARES:
        images = mixed(normals, anomalies, N_FIT + N_CALIBRATION, share, rng)
        detector = CLAD({**CONFIG, "seed": seed}).fit(images)
        clean = clean or detector
        scores = detector.decision_function(test)
        found = {
            "in training": listed(detector.fit_images_, detector.decision_scores_),
            "in calibration": listed(detector.calibration_images_, detector.calibration_.scores),
        }

        def row(part, scores, threshold, share=share, **found):
            quality = metrics.evaluate(scores, truth, threshold)
            kept = ("auroc", "false_alarm_rate", "detection_rate")
            return {
                **{"seed": seed, "share": share, "part": part},
                **{key: f"{quality[key]:.4f}" for key in kept},
                **{
                    f"listed {key}": found.get(key, "") for key in ("in training", "in calibration")
                },
            }

        yield row("both", scores, detector.threshold_, **found)
        if share:
            detector.calibrate(mixed(spare, anomalies, N_CALIBRATION, 0.0, rng))
            yield row("training alone", scores, detector.threshold_)
            clean.calibrate(mixed(spare, anomalies, N_CALIBRATION, share, rng))
            yield row("calibration alone", clean.decision_function(test), clean.threshold_)


def draw(rows):
    """False alarms and detections against the share of hidden anomalies, a line a part."""
    panels = {"false_alarm_rate": "False alarms", "detection_rate": "Anomalies detected"}
    with picture(ROOT / "docs" / "dirty_normals.png", 8.5, 3.8) as figure:
        for ax, (key, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
            for shift, (part, colour) in zip((-0.08, 0, 0.08), PARTS.items(), strict=True):
                groups = [
                    [100 * float(r[key]) for r in rows if float(r["share"]) == share]
                    if share == 0
                    else [
                        100 * float(r[key])
                        for r in rows
                        if float(r["share"]) == share and r["part"] == part
                    ]
                    for share in SHARES
                ]
                ax.errorbar(
                    100 * np.array(SHARES) + shift,
                    [np.mean(g) for g in groups],
                    [np.std(g, ddof=1) for g in groups],
                    color=colour,
                    marker="o",
                    capsize=3,
                    label=f"hidden in {part}",
                )
            ax.set(title=title, xlabel="% hidden anomalies", ylabel="% of test images")
            ax.set_ylim(bottom=0)
            ax.set_xticks([0, 1, 5, 10])
        figure.axes[0].axhline(100 * ALPHA, color=NEUTRAL, linestyle=":", linewidth=1)
        figure.axes[1].legend(loc="lower left")


def table(rows):
    """Markdown: mean and standard deviation over seeds, in percent."""

    def cell(group, key):
        values = 100 * np.array([float(r[key]) for r in group if r[key] != ""])
        return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}" if len(values) else ""

    keys = ("auroc", "false_alarm_rate", "detection_rate", "listed in training")
    keys = (*keys, "listed in calibration")
    lines = [
        "| hidden | in | AUROC | false alarms | detected | listed: training | calibration |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for share in SHARES:
        for part in PARTS:
            group = [r for r in rows if float(r["share"]) == share and r["part"] == part]
            if group:
                cells = [cell(group, key) for key in keys]
                lines.append(
                    f"| {100 * share:g}% | {part if share else ''} | {' | '.join(cells)} |"
                )
    return "\n".join(lines)


@click.command()
@click.option("--seeds", default=3, show_default=True)
def main(seeds: int) -> None:
    """Run the seeds that are missing, print the table, draw the picture."""
    mnist = load("mnist")
    chosen = scenario("mnist", "CUR", mnist.classes)
    task = make_task(mnist, chosen)
    codes = [mnist.classes.index(label) for label in chosen.anomalous]
    anomalies = mnist.train.images.take(np.isin(mnist.train.labels, codes))
    setting = repr((N_FIT, N_CALIBRATION, N_TEST, CONFIG)).replace(",", ";")
    rows = rows_of(FILE, setting)
    done = {int(row["seed"]) for row in rows}
    for seed in tqdm([s for s in range(seeds) if s not in done], unit="seed"):
        made = one_seed(task, anomalies, seed)
        rows += [{**row, "commit": commit(), "setting": setting} for row in made]
        write_rows(FILE, rows)
    click.echo(table(rows))
    draw(rows)


if __name__ == "__main__":
    main()
