"""``clad threshold``: look at a model's threshold, compare it with others, change it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clad.cli.options import (
    device_option,
    first_frame_option,
    on_bad_option,
    output_options,
    print_costs,
    print_table,
    reporting,
    warn_bad,
)

if TYPE_CHECKING:
    from clad.calibration import Calibration, Labelled, Trial
    from clad.config import Config
    from clad.exhibits import Exhibits
    from clad.review import Suspects


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--method", help="conformal, conformal-pac, mondrian, bh, pot, quantile, ...")
@click.option("--alpha", type=float, help="The false-alarm rate to keep, in (0, 1).")
@click.option("--delta", type=float, help="conformal-pac: its chance of failing, in (0, 1).")
@click.option("--whisker", type=float, help="iqr: interquartile ranges over the quartile.")
@click.option("--value", type=float, help="The threshold itself (method manual).")
@click.option(
    "--calibrate",
    "images",
    type=click.Path(path_type=Path),
    help="Normal images to calibrate with, that the model has not been fitted on.",
)
@click.option("--add", is_flag=True, help="Keep the old calibration images beside the new ones.")
@click.option("--compare", is_flag=True, help="Every rule side by side, with a plot.")
@click.option(
    "--scores",
    "score_file",
    type=click.Path(path_type=Path),
    help="Scores with a column truth (0, 1), as clad run writes: what each threshold costs, "
    "and their ROC in roc.png.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default="thresholds.png",
    show_default=True,
    help="The plot of --compare; roc.png of --scores is written beside it.",
)
@on_bad_option
@first_frame_option
@device_option
@output_options
def threshold(
    model: Path,
    method: str | None,
    alpha: float | None,
    delta: float | None,
    whisker: float | None,
    value: float | None,
    images: Path | None,
    add: bool,
    compare: bool,
    score_file: Path | None,
    out: Path,
    on_bad: str,
    first_frame: bool,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Show, compare or change the threshold of MODEL; nothing is trained.

    With --compare or --scores the model stays as it is; the other options change it.
    """
    from clad import config as configuration
    from clad import exhibits, review
    from clad.artifact import locked
    from clad.calibration import read_calibration, write_calibration
    from clad.recipes import merge

    if value is not None and method not in (None, "manual"):
        raise click.UsageError(f"--value is the threshold itself; it excludes --method {method}")
    if add and images is None:
        raise click.UsageError("--add goes with --calibrate IMAGES")
    if images is not None and (compare or score_file):
        raise click.UsageError("--compare and --scores change nothing; give --calibrate before")
    settings = {
        "method": "manual" if value is not None else method,
        **{"alpha": alpha, "delta": delta, "whisker": whisker, "value": value},
    }
    given = {key: item for key, item in settings.items() if item is not None}
    with reporting(quiet):
        calibration, config = read_calibration(model)
        before = calibration.rule(config.threshold).threshold_
        values = merge(config.model_dump(), {"threshold": given})
        config = configuration.build(values, "clad threshold")
        if compare or score_file:
            labelled = _labelled(score_file) if score_file else None
            _compare(calibration, config, labelled, compare, out, quiet, as_json)
            return
        if given or images:
            with locked(model):
                suspects = {}
                if images:
                    new, worst, shown = _measure(model, images, on_bad, first_frame, device, quiet)
                    kept = review.read(model).get("calibration") if add else None
                    suspects = {"calibration": kept.joined(worst) if kept else worst}
                    earlier = exhibits.read_calibration(model) if add else None
                    shown = earlier.joined(shown) if earlier else shown
                    calibration = calibration.joined(new) if add else new
                calibration.rule(config.threshold)  # refused before anything is written
                write_calibration(model, calibration, config)
                if suspects:
                    review.keep(model, suspects)
                    exhibits.keep_calibration(model, shown)
    rule = calibration.rule(config.threshold)
    stated = calibration.guarantee(rule)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "model": str(model),
                    "method": config.threshold.method,
                    "threshold": rule.threshold_,
                    "before": before,
                    "guarantee": asdict(stated),
                }
            )
        )
    elif not quiet:
        was = f" (was {before:.6g})" if rule.threshold_ != before else ""
        click.echo(f"{config.threshold.method} threshold {rule.threshold_:.6g}{was}")
        click.echo(stated.text)


def _measure(
    model: Path, images: Path, on_bad: str, first_frame: bool, device: str, quiet: bool
) -> tuple[Calibration, Suspects, Exhibits]:
    """Score new normal images; what of them ``clad review`` and ``clad report`` show."""
    from clad import exhibits
    from clad.detector import Detector
    from clad.review import most_suspicious

    detector = Detector.load(model, device=device, progress=not quiet)
    found, bad = detector.read(images, on_bad=on_bad, first_frame=first_frame)
    warn_bad(bad)
    calibration = detector.calibration_from(found)
    shown = exhibits.of_images(detector, [found])
    return calibration, most_suspicious(found, calibration.scores), shown


def _labelled(path: Path) -> Labelled:
    """Scores, clusters and truth of a score file."""
    import numpy as np

    from clad.errors import DataError
    from clad.metrics import score_vector
    from clad.scorefile import read_scores

    columns = read_scores(path)
    for name in ("score", "cluster", "truth"):
        if name not in columns:
            raise DataError(
                f"{path}: no column {name!r}; the cost of a threshold needs labelled scores "
                "(truth: 1 for an anomaly, 0 for a normal image)"
            )
    truth = np.asarray(columns["truth"])
    if not np.isin(truth, (0, 1)).all() or len(np.unique(truth)) < 2:
        raise DataError(f"{path}: column 'truth' should hold 0 and 1, both of them")
    scores = score_vector(columns["score"], f"{path}: score")
    return scores, np.asarray(columns["cluster"], np.int64), truth.astype(bool)


def _compare(
    calibration: Calibration,
    config: Config,
    labelled: Labelled | None,
    compare: bool,
    out: Path,
    quiet: bool,
    as_json: bool,
) -> None:
    """Tables and plots of what rules promise and do, and of what thresholds cost."""
    from clad.calibration import trade_off, try_rules

    trials, costs, curve = [], [], out.with_name("roc.png")
    if compare:
        from clad.report.thresholds import compare_rules

        trials = try_rules(calibration, config.threshold, labelled)
        compare_rules(
            out, calibration.scores, trials, config.threshold.method, config.threshold.alpha
        )
    if labelled:
        from clad.report.plots import roc

        scores, _, truth = labelled
        costs = trade_off(calibration, scores, truth)
        roc(curve, scores, truth, calibration.rule(config.threshold).threshold_)
    if as_json:
        found = {"rules": [asdict(t) for t in trials], "costs": [asdict(c) for c in costs]}
        click.echo(json.dumps(found))
    elif not quiet:
        if trials:
            _print_trials(trials, labelled is not None)
            click.echo(f"plot written to {out}")
        if costs:
            print_costs(costs)
            click.echo(f"ROC curve with the threshold on it written to {curve}")


def _print_trials(trials: list[Trial], labelled: bool) -> None:
    head = ["rule", "threshold", "promised", "90% interval", "on folds"]
    head += ["false alarms", "detected"] if labelled else []
    rows = []
    for t in trials:
        if t.threshold is None:
            rows.append([t.method, *["-"] * (len(head) - 1)])
            continue
        between = f"{_percent(t.low)} to {_percent(t.high)}" if t.low is not None else "-"
        rows.append([t.method, f"{t.threshold:.6g}", _percent(t.promised), between])
        rows[-1].append(_percent(t.measured))
        rows[-1] += [_percent(t.false_alarms), _percent(t.detected)] if labelled else []
    print_table(head, rows)
    for t in trials:
        if t.reason:
            click.echo(f"{t.method}: {t.reason}")
    click.echo(
        "on folds: false alarms on calibration images that the rule was not fitted on; "
        "promised -: no guarantee"
    )


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f}%"
