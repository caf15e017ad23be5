"""A results file: a JSON object a line, appended to, one for each cell that was run."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clad.artifact import write_atomic
from clad.errors import CladError, DataError

log = logging.getLogger("clad")
KEY = ("dataset", "scenario", "method", "seed", "setting")


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells a cell from all others."""
    return tuple(row[name] for name in KEY)


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add one row and flush it to the disk. Raises CladError where the disk refuses."""
    line = json.dumps(row, allow_nan=False) + "\n"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CladError(f"{path}: cannot be written ({error.strerror or error})") from error


def read(path: Path) -> list[dict[str, Any]]:
    """The rows, of each cell the latest. A last line cut off by a kill is not among them.

    Raises DataError naming the file, and the line where another one is broken.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows[key(row)] = row
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                raise DataError(f"{path}: line {number} is no row of results") from None
            log.warning("%s: line %d is cut off and left out: %.60s", path, number, line)
    return list(rows.values())


def latest_points(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of an ablation's rows, one for each point and seed: that of the last setting run.

    Settings differ from point to point as they must; of one point two are never averaged.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        point = {**row, "setting": row["sweep"]}
        found[json.dumps(key(point))] = row
    return list(found.values())


def mend(path: Path) -> None:
    """Move a last line that a kill cut off into ``<name>.broken``, so that rows can be added."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole, _, rest = text.rpartition("\n")
    if rest:
        broken = path.with_name(path.name + ".broken")
        write_atomic(broken, rest.encode())
        write_atomic(path, (whole + "\n" if whole else "").encode())
        log.warning("%s: the last line was cut off and is set aside in %s", path, broken)
