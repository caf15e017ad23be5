"""Scores as a file: a row an image, as CSV, JSON lines or Parquet by the file's ending."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clad.artifact import write_atomic
from clad.errors import ConfigError, DataError, MissingExtraError

if TYPE_CHECKING:
    from clad.data.images import ImageSet
    from clad.data.large import LargeImages
    from clad.detector import Scores

ENDINGS = (".csv", ".jsonl", ".parquet")
TEXTS = ("path", "mode", "label")  # columns that hold no numbers, whatever they look like


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


def columns_of(files: Mapping[str, list[Any]], scores: Scores) -> dict[str, list[Any]]:
    """The columns of a score file: path, what the detector says, what the file was."""
    columns = {"path": files["path"]}
    for field in fields(scores):
        columns[field.name] = getattr(scores, field.name).tolist()
    return {**columns, **files}


def file_columns(images: ImageSet | LargeImages) -> dict[str, list[Any]]:
    """What the files of images were."""
    return {
        "path": images.names,
        "brightness": images.brightness.tolist(),
        "width": images.sizes[:, 1].tolist(),
        "height": images.sizes[:, 0].tolist(),
        "mode": images.modes,
    }


def read_scores(path: Path) -> dict[str, list[Any]]:
    """The columns of a file that ``write_scores`` wrote, numbers as numbers.

    Raises DataError naming the file, and the line where one is broken; ConfigError for an ending
    that names no format.
    """
    check_ending(path)
    try:
        if path.suffix.lower() == ".parquet":
            columns: dict[str, list[Any]] = _parquet()[1].read_table(path).to_pydict()
        else:
            with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                lines = path.suffix.lower() == ".jsonl"
                columns = _columns(path, map(json.loads, file) if lines else csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except DataError:
        raise
    except (ValueError, csv.Error) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"{path}: not a file of scores ({error})") from None
    if not columns or not next(iter(columns.values())):
        raise DataError(f"{path}: holds no scores")
    return columns


def _columns(path: Path, rows: Iterator[Any]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for line, row in enumerate(rows, 1):
        if line == 1 and isinstance(row, dict):
            columns = {str(name): [] for name in row}
        if not isinstance(row, dict) or set(row) != set(columns) or None in row.values():
            raise DataError(f"{path}: row {line} is broken or short")
        for name, value in row.items():
            columns[name].append(value if name in TEXTS else _number(value))
    return columns


def _number(value: Any) -> Any:
    """A CSV cell as int or float where it is one."""
    for kind in (int, float) if isinstance(value, str) else ():
        with suppress(ValueError):
            return kind(value)
    return value


def _utf8(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return value.encode(errors="surrogateescape").decode(errors="replace")


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError(".parquet needs pyarrow: pip install 'clad[parquet]'") from None
    return pyarrow, pyarrow.parquet
