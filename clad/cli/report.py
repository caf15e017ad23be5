"""``clad report``: a run, a model or a benchmark as one page to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clad.cli.options import device_option, reporting

if TYPE_CHECKING:
    from clad.data.images import ImageSet
    from clad.data.large import LargeImages
    from clad.exhibits import Exhibits
    from clad.report.subject import Subject


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default="report.html",
    show_default=True,
    help="The page to write.",
)
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    help="A file that clad score wrote with this model.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="The images of --scores once more, for thumbnails and the map.",
)
@click.option(
    "--heatmaps",
    type=click.Path(path_type=Path),
    help="A folder of PNGs named as the images are, to show beside them.",
)
@device_option
@click.option("--quiet", is_flag=True, help="Only errors; no progress.")
def report(
    source: Path,
    out: Path,
    scores: Path | None,
    images: Path | None,
    heatmaps: Path | None,
    device: str,
    quiet: bool,
) -> None:
    """Show SOURCE as one page without network: the folder of a run, a model or a benchmark, or a
    file of results.

    Everything is read from what clad run, fit, score and bench saved; nothing is trained.
    """
    from clad.artifact import make_folder
    from clad.errors import DataError

    if images is not None and scores is None:
        raise click.UsageError("--images goes with --scores")
    results = source if source.is_file() else source / "results.jsonl"
    run, model, bench = (
        path.is_file() for path in (source / "metrics.json", source / "manifest.json", results)
    )
    if scores is not None and not model:
        raise click.UsageError("--scores goes with the folder of a model")
    if heatmaps is not None and not (run or scores):
        raise click.UsageError("--heatmaps goes with a run or --scores")
    with reporting(quiet):
        if not (run or model or bench):
            raise DataError(
                f"{source}: no run (metrics.json), no model (manifest.json) and no benchmark "
                "(results.jsonl) here; give the folder that clad run, fit or bench wrote, or a "
                "file of results"
            )
        make_folder(out.parent)
        if bench:
            _bench(source, results, out)
        else:
            _scored(source, out, run, scores, images, heatmaps, device, quiet)
    if not quiet:
        click.echo(f"written to {out}: open it in a browser")


def _bench(source: Path, results: Path, out: Path) -> None:
    from clad.benchmark.report import write_bench_report
    from clad.benchmark.results import read

    write_bench_report(out, source, read(results))


def _scored(
    source: Path,
    out: Path,
    run: bool,
    scores: Path | None,
    images: Path | None,
    heatmaps: Path | None,
    device: str,
    quiet: bool,
) -> None:
    from dataclasses import replace

    from clad.report import subject
    from clad.report.heatmaps import read_heatmaps
    from clad.report.scored import write_report

    if run:
        found = subject.of_run(source)
    elif scores is not None:
        found = subject.of_scores(source, scores)
        if images is not None:
            found = replace(found, shown=_shown(source, images, found, device, quiet))
    else:
        found = subject.of_model(source)
    if heatmaps is not None:
        found = replace(found, heatmaps=read_heatmaps(heatmaps, found.names))
    write_report(out, found)


def _shown(model: Path, images: Path, found: Subject, device: str, quiet: bool) -> Exhibits:
    """Thumbnails and latents of those images that have a score."""
    import numpy as np

    from clad import exhibits
    from clad.detector import Detector
    from clad.errors import DataError

    detector = Detector.load(model, device=device, progress=not quiet)
    scored = set(found.names)

    def parts() -> Iterator[ImageSet | LargeImages]:
        for part, _ in detector.read_parts(images, on_bad="skip"):
            yield part.take(np.array([name in scored for name in part.names], bool))

    shown = exhibits.of_images(detector, parts())
    if not shown.names:
        raise DataError(f"{images}: none of its images is in the file of scores")
    return shown
