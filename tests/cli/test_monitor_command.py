"""``clad monitor``: exit status 0 while nothing has drifted, 1 where it has, 2 for errors."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clad.cli import main


@pytest.fixture
def clad(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def scored(clad, model, task, as_pngs, tmp_path):
    """Normal digits in two score files, and anomalies in a third."""
    truth = task.answers.test_anomalous
    for name, chosen in (
        ("a", np.flatnonzero(~truth)[:100]),
        ("b", np.flatnonzero(~truth)[100:200]),
        ("odd", np.flatnonzero(truth)[:100]),
    ):
        as_pngs(task.test.read(chosen)[:, 0], tmp_path / name)
        result = clad("score", model, name, "-o", f"{name}.csv", "--quiet")
        assert result.exit_code == 0, result.output
    return tmp_path


def test_normal_images_are_no_drift(clad, model, scored):
    before = (model / "manifest.json").read_bytes()
    result = clad("monitor", model, "a.csv", "b.csv")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "no drift found (level 0.01)"
    assert " of 200 over the threshold; " in result.stdout
    for name in ("flags", "scores", "clusters", "brightness", "size", "mode"):
        assert any(line.startswith(name) for line in result.stdout.splitlines())
    assert (model / "manifest.json").read_bytes() == before


def test_anomalies_are(clad, model, scored):
    result = clad("monitor", model, "odd.csv")
    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    assert last.startswith("flags")
    assert "--calibrate NEW_NORMALS" in last
    said = clad("monitor", model, "odd.csv", "--json")
    assert said.exit_code == 1
    assert "flags" in json.loads(said.stdout)["drifted"]
    quiet = clad("monitor", model, "odd.csv", "--quiet")
    assert (quiet.exit_code, quiet.output) == (1, "")


def test_other_sizes_are(clad, model, scored):
    with Path("a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with Path("big.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "width": 640} for row in rows)
    said = json.loads(clad("monitor", model, "big.csv", "--json").stdout)
    assert said["drifted"] == ["size"]
    (size,) = (each for each in said["checks"] if each["name"] == "size")
    assert size["seen"] == "8 x 640: 0%, now 100%"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.csv"], "absent.csv: cannot be read"),
        (["a.txt"], "choose one"),
        (["empty.csv"], "empty.csv: holds no scores"),
        (["other.csv"], "other.csv: no column 'score'"),
        ([], "Missing argument"),
        (["other.csv", "--level", "0"], "--level"),
    ],
)
def test_what_cannot_be_monitored(clad, model, words, said):
    Path("empty.csv").write_text("")
    Path("other.csv").write_text("path\na.png\n")
    result = clad("monitor", model, *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_no_model_no_monitor(clad):
    result = clad("monitor", "absent", "a.csv")
    assert result.exit_code == 2
    assert "absent: no model here" in result.stderr


def test_monitoring_needs_no_torch(scored, model):
    code = (
        "import sys\nfrom clad.cli import main\n"
        f"main(['monitor', {str(model)!r}, 'a.csv'], standalone_mode=False)\n"
        "assert not {'torch', 'sklearn', 'matplotlib'} & set(sys.modules), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=scored)
