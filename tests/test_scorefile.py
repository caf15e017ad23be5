"""Score files: every bit of a float comes back, odd file names too, the ending says the format."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from clad.data.images import ImageSet
from clad.detector import Scores
from clad.errors import CladError, ConfigError, DataError, MissingExtraError
from clad.scorefile import check_ending, columns_of, file_columns, read_scores, write_scores

NAMES = ["a.png", 'sub/comma, "quoted".png', "two\nlines.png", "größe.png"]
SCORES = Scores(
    score=np.array([0.1, -1e-300, 1 / 3, 1e17]),
    p_value=np.array([1.0, 0.5, 1 / 7, 0.01]),
    anomaly=np.array([0, 0, 0, 1]),
    cluster=np.array([2, 1, 0, 2]),
    confidence=np.array([0.9, 0.8, 0.7, 1 / 3]),
)
IMAGES = ImageSet.of(np.full((4, 1, 4, 6), 51, np.uint8), NAMES)
COLUMNS = [
    *("path", "score", "p_value", "anomaly", "cluster", "confidence"),
    *("brightness", "width", "height", "mode"),
]


def read(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        return parquet.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    kinds = (str, float, float, int, int, float, float, int, int, str)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{k: kind(row[k]) for k, kind in zip(row, kinds, strict=True)} for row in rows]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_what_is_written_comes_back_to_the_bit(tmp_path, ending):
    path = tmp_path / f"scores{ending}"
    columns = columns_of(file_columns(IMAGES), SCORES)
    assert list(columns) == COLUMNS
    write_scores(path, columns)
    rows = read(path)
    assert list(rows[0]) == COLUMNS
    for name, expected in columns.items():
        assert [row[name] for row in rows] == expected
    assert read_scores(path) == columns
    assert (columns["brightness"][0], columns["width"][0], columns["mode"][0]) == (0.2, 6, "L")
    assert os.listdir(tmp_path) == [path.name], "no temporary file is left"  # noqa: PTH208


def test_csv_is_plain(tmp_path):
    write_scores(tmp_path / "s.csv", {"path": ["a.png"], "score": [0.5]})
    assert (tmp_path / "s.csv").read_bytes() == b"path,score\na.png,0.5\n"


def test_an_ending_in_capitals_is_the_same(tmp_path):
    check_ending(Path("S.CSV"))
    write_scores(tmp_path / "S.JSONL", {"path": ["a"]})
    assert (tmp_path / "S.JSONL").read_text() == '{"path": "a"}\n'


@pytest.mark.parametrize("name", ["scores.txt", "scores", "scores.csv.gz", ".csv"])
def test_an_unknown_ending_is_an_error(name):
    with pytest.raises(ConfigError, match=r"written as \.csv, \.jsonl, \.parquet; choose one"):
        check_ending(Path(name))


def test_parquet_without_pyarrow_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    check_ending(Path("scores.csv"))
    with pytest.raises(MissingExtraError, match=r"pip install 'clad\[parquet\]'"):
        check_ending(Path("scores.parquet"))


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_name_that_is_no_utf8_is_written_all_the_same(tmp_path, ending):
    """Linux lets a file be named by any bytes; Python reads b'caf\\xe9.png' as a lone surrogate."""
    name = os.fsdecode(b"caf\xe9.png")
    path = tmp_path / f"s{ending}"
    write_scores(path, {"path": [name], "score": [0.5]})
    if ending == ".csv":
        assert path.read_bytes().splitlines()[1] == b"caf\xe9.png,0.5"
    else:
        expected = name if ending == ".jsonl" else "caf\ufffd.png"
        assert read(path)[0]["path"] == expected


def test_columns_of_unequal_length_write_nothing(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        write_scores(tmp_path / "s.csv", {"path": ["a", "b"], "score": [1.0]})
    assert not any(tmp_path.iterdir())


def test_an_old_file_survives_a_failed_write(tmp_path, monkeypatch):
    path = tmp_path / "s.csv"
    write_scores(path, {"path": ["old"]})

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clad.artifact.os.fsync", full)
    with pytest.raises(CladError, match=r"s\.csv: cannot be written \(No space left on device\)"):
        write_scores(path, {"path": ["new"]})
    assert path.read_text() == "path\nold\n"
    assert [each.name for each in tmp_path.iterdir()] == ["s.csv"]


def test_names_that_look_like_numbers_stay_names(tmp_path):
    write_scores(tmp_path / "s.csv", {"path": ["0017"], "score": [1.0], "label": ["3"]})
    assert read_scores(tmp_path / "s.csv") == {"path": ["0017"], "score": [1.0], "label": ["3"]}


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("s.txt", "", ConfigError, "choose one"),
        ("absent.csv", None, DataError, "cannot be read"),
        ("s.csv", "", DataError, "holds no scores"),
        ("s.csv", "path,score\n", DataError, "holds no scores"),
        ("s.csv", "path,score\na,1\nb\n", DataError, "row 2 is broken or short"),
        ("s.csv", "path,score\na,1,9\n", DataError, "row 1 is broken or short"),
        ("s.jsonl", '{"path": "a", "score": 1}\n{"path": "b"', DataError, "not a file of scores"),
        ("s.jsonl", '{"path": "a", "score": 1}\n[2]\n', DataError, "row 2 is broken"),
        ("s.parquet", "PAR1", DataError, "not a file of scores"),
    ],
)
def test_what_is_no_score_file(tmp_path, name, content, error, said):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=said) as caught:
        read_scores(path)
    assert name in str(caught.value)
