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
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give the name of a file")
    if path.suffix.lower() == ".parquet":
        _parquet()


def write_scores(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write equally long columns of plain Python values; floats keep every bit."""
    names = list(columns)
    if path.suffix.lower() == ".parquet":
        arrow, parquet = _parquet()
        sink = io.BytesIO()
        # Parquet's text is UTF-8 alone: bytes of a file's name that are none become U+FFFD.
        texts = {k: [_utf8(v) for v in values] for k, values in columns.items()}
        parquet.write_table(arrow.table(texts), sink)
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
    write_atomic(path, text.getvalue().encode(errors="surrogateescape"))


def columns_of(names: list[str], scores: Scores) -> dict[str, list[Any]]:
    """The columns of a score file: the image's path, then everything the detector says of it."""
    columns: dict[str, list[Any]] = {"path": names}
    for field in fields(scores):
        columns[field.name] = getattr(scores, field.name).tolist()
    return columns


def _utf8(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value.encode(errors="surrogateescape").decode(errors="replace")


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(
            "writing .parquet needs pyarrow: pip install 'clad[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet
