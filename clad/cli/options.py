"""Options and output that several commands share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clad.calibration import Cost
    from clad.data.folder import BadFile

F = TypeVar("F", bound=Callable[..., Any])
log = logging.getLogger("clad")


def output_options(command: F) -> F:
    """``--quiet`` and ``--json``."""
    command = click.option("--quiet", is_flag=True, help="Only errors; no progress.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(
        command
    )


def config_options(command: F) -> F:
    """``--config``, ``--seed`` and ``--set``."""
    for option in (
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="STAGE.KEY=VALUE",
            help="Change one key of the configuration; may be given again.",
        ),
        click.option("--seed", type=click.IntRange(min=0), help="Seed of every random choice."),
        click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            help="A YAML file in the place of the preset's.",
        ),
    ):
        command = option(command)
    return command


data_root_option = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Where prepared data lives (default: $CLAD_DATA, else the user's cache folder).",
)
on_bad_option = click.option(
    "--on-bad",
    type=click.Choice(["error", "skip"]),
    default="error",
    show_default=True,
    help="What a file that is no readable image does.",
)
first_frame_option = click.option(
    "--first-frame", is_flag=True, help="Take the first frame of an animation or multi-page file."
)
budget_option = click.option(
    "--budget",
    metavar="TIME",
    help="Time for training, such as 90s, 5m or 1h: chooses epochs and width (budget).",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, ..."
)


def warn_bad(bad: list[BadFile], listed: Path | None = None) -> None:
    """Say how many files were skipped and which."""
    if bad:
        where = f", listed in {listed}" if listed else ""
        log.warning("%d unreadable files skipped%s", len(bad), where)
        for item in bad:
            log.info("skipped %s: %s", item.path, item.reason)


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """Columns under their heads, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in [head, *rows]:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join([row[0].ljust(len(first)), *rest]))


def print_costs(costs: list[Cost]) -> None:
    """What other false-alarm rates would cost: counts on labelled images, and their shares."""

    def share(part: int, whole: int) -> str:
        return f"{part} ({100 * part / whole:.1f}%)"

    rows = [
        [
            f"{100 * c.alpha:g}%",
            f"{c.threshold:.6g}",
            share(c.false_alarms, c.normals),
            share(c.missed, c.anomalies),
        ]
        for c in costs
    ]
    print_table(["alpha", "threshold", "false alarms", "missed anomalies"], rows)


@contextmanager
def reporting(quiet: bool) -> Iterator[None]:
    """Log lines and bars on standard error while the work is done; with ``quiet`` only errors."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.setLevel(logging.ERROR if quiet else logging.INFO)
    bars = logging.getLogger("clad.progress")
    before = log.level, log.propagate, bars.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    bars.setLevel(logging.ERROR if quiet else logging.NOTSET)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]
        bars.setLevel(before[2])
