"""``clad fit``, ``clad score`` and ``clad info``: a detector for the user's own images."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from clad.cli.options import (
    budget_option,
    config_options,
    device_option,
    first_frame_option,
    on_bad_option,
    output_options,
    reporting,
    warn_bad,
)


@click.command()
@click.argument("images", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", "model", required=True, type=click.Path(path_type=Path), help="Model folder."
)
@click.option(
    "--tile",
    metavar="PIXELS",
    help="Cut large images into tiles of so many pixels a side, or 'auto' (tiles.size).",
)
@click.option(
    "--overlap", type=float, help="Share of a tile that neighbours share (tiles.overlap)."
)
@config_options
@on_bad_option
@first_frame_option
@budget_option
@click.option("--fresh", is_flag=True, help="Start over where an earlier fit has got to.")
@output_options
def fit(
    images: Path,
    model: Path,
    tile: str | None,
    overlap: float | None,
    config_file: Path | None,
    seed: int | None,
    assignments: tuple[str, ...],
    on_bad: str,
    first_frame: bool,
    budget: str | None,
    fresh: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Learn from normal IMAGES: a folder, a zip, a .npy or a text file of paths."""
    from clad import artifact, exhibits, recipes, review
    from clad.checkpoints import CheckpointFolder
    from clad.pipeline import CLAD
    from clad.provenance import commit, fingerprint, log_file, versions
    from clad.reading import read_for_fit

    given = {"tiles.size": tile, "tiles.overlap": overlap, "budget": budget}
    assignments += tuple(f"{key}={value}" for key, value in given.items() if value is not None)
    with reporting(quiet):
        values = recipes.read_values(config_file) if config_file else {}
        settings = recipes.assemble(values, str(config_file), assignments, seed)
        artifact.make_folder(model)
        with artifact.locked(model), log_file(model / "fit.log"):
            found, bad = read_for_fit(settings, images, on_bad=on_bad, first_frame=first_frame)
            warn_bad(bad)
            checkpoints = CheckpointFolder(model / "checkpoints", fingerprint(settings, found))
            if fresh:
                checkpoints.clear()
            detector = CLAD(settings, progress=not quiet).fit(found, checkpoints=checkpoints)
            facts = {
                "n_fit": len(detector.fit_images_),
                "n_calibration": len(detector.calibration_images_),
                "skipped": [str(item.path) for item in bad],
                "seconds": {k: round(v, 3) for k, v in detector.seconds_.items()},
                "health": [str(finding) for finding in detector.health_],
                "device": detector.runtime_.device,
                "versions": versions(),
                "commit": commit(),
            }
            detector.save(model, facts)
            review.keep(model, review.of_fitted(detector))
            exhibits.keep_fitted(model, detector)
            checkpoints.clear()
    if as_json:
        click.echo(json.dumps({"model": str(model), **_describe(detector), **facts}))
    elif not quiet:
        click.echo(f"threshold {detector.threshold_:.6g}: {detector.guarantee_.text}")
        click.echo(f"written to {model}; next: clad score {model} IMAGES -o scores.csv")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write: .csv, .jsonl or .parquet.",
)
@click.option(
    "--heatmaps",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder for a picture an image of where it is anomalous, and boxes as CSV and JSON.",
)
@on_bad_option
@first_frame_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["all", "kaggle"]),
    default="all",
    show_default=True,
    help="kaggle: the columns ID, from 0 on, and score alone.",
)
@device_option
@output_options
def score(
    model: Path,
    images: Path,
    out: Path,
    heatmaps: Path | None,
    form: str,
    on_bad: str,
    first_frame: bool,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score IMAGES with MODEL: a folder, a zip, a .npy or a text file of paths."""
    from clad.artifact import make_folder
    from clad.pipeline import CLAD
    from clad.scorefile import check_ending, columns_of, file_columns, write_scores

    with reporting(quiet):
        check_ending(out)
        make_folder(out.parent)
        detector = CLAD.load(model, device=device, progress=not quiet)
        drawn = _heatmaps(heatmaps, detector) if heatmaps else None
        measured, bad = [], []
        files: dict[str, list[Any]] = {}
        for found, faults in detector.read_parts(images, on_bad=on_bad, first_frame=first_frame):
            bad += faults
            if len(found):
                keep = partial(drawn.add, found) if drawn else None
                measured.append(detector.measure(found, keep))
            for name, values in file_columns(found).items():
                files.setdefault(name, []).extend(values)
        scores = detector.decide(measured)
        if drawn:
            drawn.close()
        columns = columns_of(files, scores)
        if form == "kaggle":
            columns = {"ID": list(range(len(scores.score))), "score": columns["score"]}
        write_scores(out, columns)
        skipped = out.with_suffix(".skipped" + out.suffix)
        skipped.unlink(missing_ok=True)  # an earlier answer's
        if bad:
            write_scores(
                skipped, {"path": [str(b.path) for b in bad], "reason": [b.reason for b in bad]}
            )
            warn_bad(bad, skipped)
    flagged, total = int(scores.anomaly.sum()), len(scores.score)
    facts = {"images": total, "anomalies": flagged, "skipped": len(bad), "out": str(out)}
    if as_json:
        click.echo(json.dumps({**facts, "threshold": detector.threshold_}))
    elif not quiet:
        also = f", pictures and boxes in {heatmaps}" if heatmaps else ""
        click.echo(
            f"{flagged} of {total} images flagged ({detector.guarantee_.text}); "
            f"written to {out}{also}"
        )


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@output_options
def info(model: Path, quiet: bool, as_json: bool) -> None:
    """What MODEL is: its images, threshold, training and versions."""
    from clad.pipeline import CLAD

    with reporting(quiet):
        detector = CLAD.load(model, device="cpu")
    if as_json:
        click.echo(json.dumps({**_describe(detector), **detector.facts_}))
        return
    described = _describe(detector)
    settings = described.pop("config")
    for key, value in {**described, **detector.facts_}.items():
        click.echo(f"{key}: {value}")
    click.echo("config:")
    for section, value in settings.items():
        click.echo(f"  {section}: {json.dumps(value)}")


def _heatmaps(folder: Path, detector: Any) -> Any:
    from clad.artifact import make_folder
    from clad.report.overlays import Heatmaps

    low = float(detector.calibration_.scores.min())
    return Heatmaps(make_folder(folder), low, detector.threshold_)


def _describe(detector: Any) -> dict[str, Any]:
    return {
        "shape": list(detector.shape_),
        "clusters": detector.n_clusters_,
        "threshold": detector.threshold_,
        "guarantee": detector.guarantee_.text,
        "config": detector.config_.model_dump(mode="json"),
    }
