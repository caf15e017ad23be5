"""The command ``clad`` itself: its subcommands, errors and interruptions."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any, NoReturn

import click

from clad import __version__
from clad.cli.bench import ablate, bench, table
from clad.cli.data import data
from clad.cli.detector import fit, info, score
from clad.cli.monitor import monitor
from clad.cli.report import report
from clad.cli.review import review
from clad.cli.run import run
from clad.cli.sign import sign, verify
from clad.cli.threshold import threshold
from clad.errors import CladError

log = logging.getLogger("clad")


class Group(click.Group):
    """Turns the package's errors into one line and exit status 2, an interruption into 130."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        signal.signal(signal.SIGTERM, _terminated)
        try:
            return super().invoke(ctx)
        except CladError as error:
            log.debug("traceback", exc_info=True)
            click.echo(f"Error: {error}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("Interrupted. The same command goes on from the last checkpoint.", err=True)
            sys.exit(130)


def _terminated(_number: int, _frame: Any) -> NoReturn:
    click.echo("Terminated. The same command goes on from the last checkpoint.", err=True)
    sys.exit(143)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="clad")
def main() -> None:
    """Tell anomalous images from normal ones: no labels, and normal may be many things at once."""


for command in (
    run,
    fit,
    score,
    info,
    threshold,
    review,
    report,
    monitor,
    sign,
    verify,
    bench,
    ablate,
    table,
    data,
):
    main.add_command(command)
