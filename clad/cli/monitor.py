"""``clad monitor``: do the images in use still look like those the threshold was set with?"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from clad.cli.options import output_options, reporting


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("scores", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--level",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="How often to alarm where nothing has changed.",
)
@output_options
def monitor(
    model: Path, scores: tuple[Path, ...], level: float, quiet: bool, as_json: bool
) -> None:
    """Compare SCORES, files that clad score wrote, with the calibration of MODEL.

    Exit status 0: no drift found; 1: something drifted. The model is never changed.
    """
    from clad.calibration import read_calibration
    from clad.errors import DataError
    from clad.monitor import check
    from clad.scorefile import read_scores

    with reporting(quiet):
        calibration, config = read_calibration(model)
        rule = calibration.rule(config.threshold)
        files = [read_scores(path) for path in scores]
        shared = set.intersection(*(set(columns) for columns in files))
        if "score" not in shared:
            raise DataError(f"{', '.join(map(str, scores))}: no column 'score'")
        together = {
            name: [value for columns in files for value in columns[name]] for name in shared
        }
        checks = check(calibration, rule, together, level)
    drifted = [each.name for each in checks if each.drifted]
    if as_json:
        found = {"drifted": drifted, "level": level, "checks": [asdict(each) for each in checks]}
        click.echo(json.dumps(found))
    elif not quiet:
        for each in checks:
            p = "" if each.p_value is None else f"p = {each.p_value:.2g}"
            verdict = "DRIFT" if each.drifted else ""
            click.echo(f"{each.name:<10}  {p:<11}  {verdict:<5}  {each.seen}")
        if drifted:
            click.echo(
                f"{', '.join(drifted)}: not as at calibration (level {level:g}). Look at the "
                "flagged images; if they are normal, recalibrate: clad threshold "
                f"{model} --calibrate NEW_NORMALS, or fit again"
            )
        else:
            click.echo(f"no drift found (level {level:g})")
    if drifted:
        sys.exit(1)
