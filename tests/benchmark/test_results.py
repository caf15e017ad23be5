"""Results files: every finished row survives a kill, whatever line it cut."""

import json

import pytest

from clad.benchmark import results
from clad.errors import DataError


def row(seed=0, **changes):
    one = {"dataset": "digits", "scenario": "CUR", "method": "ocsvm", "seed": seed, "setting": "a"}
    return {**one, "error": None, "auroc": 0.5, **changes}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.jsonl"


def test_rows_come_back_and_the_latest_of_a_cell_counts(path):
    for each in (row(0), row(1, error="boom"), row(1), row(0, setting="b")):
        results.append(path, each)
    assert results.read(path) == [row(0), row(1), row(0, setting="b")]


def test_points_of_an_ablation_run_under_two_settings_are_not_mixed():
    """Of clusters = 2, seed 0 was run again under setting "c"; all else differs in something."""
    two, four = {"dec.clusters": 2}, {"dec.clusters": 4}
    rows = [
        row(0, sweep=two),
        row(1, sweep=two),
        row(0, sweep=four, setting="b"),
        row(0, sweep=two, scenario="STR"),
        row(0, sweep=two, setting="c", auroc=0.9),
    ]
    assert results.latest_points(rows) == [rows[4], *rows[1:4]]


def test_a_line_that_a_kill_cut_off_is_set_aside(path, caplog):
    results.append(path, row(0))
    results.append(path, row(1))
    whole = path.read_text()
    path.write_text(whole[:-20])
    assert results.read(path) == [row(0)]
    assert "results.jsonl: line 2 is cut off" in caplog.text
    results.mend(path)
    assert (path.parent / "results.jsonl.broken").read_text() == whole.splitlines()[1][:-19]
    results.append(path, row(2))
    assert results.read(path) == [row(0), row(2)]


def test_a_row_without_its_newline_is_no_row_to_append_to(path):
    """The kill fell between the row and its newline: the next row must not join its line."""
    path.write_text(json.dumps(row(0)))
    results.mend(path)
    results.append(path, row(1))
    assert results.read(path) == [row(1)]
    results.mend(path)
    assert results.read(path) == [row(1)]


def test_other_broken_lines_are_errors(path):
    path.write_text("nonsense\n" + json.dumps(row(0)) + "\n")
    with pytest.raises(DataError, match=r"results\.jsonl: line 1 is no row of results"):
        results.read(path)
    path.write_text('{"seed": 0}\n' + json.dumps(row(0)) + "\n")
    with pytest.raises(DataError, match="line 1 is no row"):
        results.read(path)
    with pytest.raises(DataError, match="absent"):
        results.read(path.parent / "absent.jsonl")
