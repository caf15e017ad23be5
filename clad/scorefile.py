"""Scores as a file: a row an image, as CSV, JSON lines or Parquet by the file's ending."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clad.artifact import write_atomic
from clad.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from clad.pipeline import Scores

ENDINGS = (".csv", ".jsonl", ".parquet")


def check_ending(path: Path) -> None:
    """Raise ConfigError for an ending that names no format; before any scoring."""
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"{path}: scores are written as {', '.join(ENDINGS)}; choose one")
    if path.suffix.lower() == ".parquet":
        _parquet()


def write_scores(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write equally long columns of plain Python values; floats keep every bit."""
    names = list(columns)
    if path.suffix.lower() == ".parquet":
        arrow, parquet = _parquet()
        sink = io.BytesIO()
        parquet.write_table(arrow.table(dict(columns)), sink)
        write_atomic(path, sink.getvalue())
        return
    rows = zip(*columns.values(), strict=True)
    text = io.StringIO(newline="")
    if path.suffix.lower() == ".jsonl":
        for row in rows:
            text.write(json.dumps(dict(zip(names, row, strict=True)), allow_nan=False) + "\n")
    else:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())


def columns_of(names: list[str], scores: Scores) -> dict[str, list[Any]]:
    """The columns of a score file: the image's path, then everything the detector says of it."""
    columns: dict[str, list[Any]] = {"path": names}
    for field in fields(scores):
        columns[field.name] = getattr(scores, field.name).tolist()
    return columns


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            "writing .parquet needs pyarrow: pip install 'clad[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet
