"""``clad review``: the normal images that a person should look at."""

from __future__ import annotations

import json
from pathlib import Path

import click

from clad.cli.options import output_options, print_table, reporting

SHOWN = 10  # rows a part in the terminal; the page has them all


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default="review.html",
    show_default=True,
    help="The page to write.",
)
@output_options
def review(model: Path, out: Path, quiet: bool, as_json: bool) -> None:
    """Show the most suspicious of the normal images that MODEL was fitted and calibrated on.

    Nothing is removed: you decide which images do not belong.
    """
    from clad.artifact import make_folder
    from clad.calibration import read_calibration
    from clad.errors import ModelError
    from clad.report.review import review_page
    from clad.review import read

    with reporting(quiet):
        calibration, config = read_calibration(model)
        suspects = read(model)
        if not suspects:
            raise ModelError(
                f"{model}: keeps no images for review; clad fit, clad run and "
                "clad threshold --calibrate write models that do"
            )
        rule = calibration.rule(config.threshold)
        make_folder(out.parent)
        guarantee = calibration.guarantee(rule).text
        review_page(out, str(model), suspects, rule.threshold_, guarantee)
    if as_json:
        listed = {
            part: [
                {"name": name, "score": score}
                for name, score in zip(found.names, found.scores.tolist(), strict=True)
            ]
            for part, found in suspects.items()
        }
        click.echo(json.dumps({"page": str(out), "threshold": rule.threshold_, **listed}))
    elif not quiet:
        for part, found in suspects.items():
            rows = [
                [name, f"{score:.6g}", "over" if score > rule.threshold_ else ""]
                for name, score in zip(found.names, found.scores.tolist(), strict=True)
            ]
            head = [f"{part}: highest of {found.total}", "score", "threshold"]
            print_table(head, rows[:SHOWN])
        click.echo(f"written to {out}: look at it")
