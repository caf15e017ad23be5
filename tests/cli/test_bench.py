"""``clad bench`` and ``clad table`` on the embedded digits."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clad.baselines.principal_components import PCANeighbours, PCAReconstruction
from clad.benchmark import plan
from clad.cli import main
from clad.data.benchmarks import load
from clad.data.images import ImageSet

FAST = ["bench", "digits", "--methods", "pca-reconstruction,pca-neighbours", "--seeds", "2"]


@pytest.fixture
def clad(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


def rows():
    return [json.loads(line) for line in Path("bench/results.jsonl").read_text().splitlines()]


def test_every_scenario_method_and_seed_once(clad, monkeypatch):
    result = clad(*FAST)
    assert result.exit_code == 0, result.output
    assert len(rows()) == 3 * 2 * 2
    assert {(r["scenario"], r["method"], r["seed"]) for r in rows()} == {
        (scenario, method, seed)
        for scenario in ("CUR", "STR", "MIX")
        for method in ("pca-reconstruction", "pca-neighbours")
        for seed in (0, 1)
    }
    assert "12 cells in bench/results.jsonl" in result.stdout
    words = ["bench", "digits", "--scenarios", "all", *FAST[2:]]
    assert {row["command"] for row in rows()} == {" ".join(["clad", *words])}

    def never(*_args):
        raise AssertionError("run again")

    monkeypatch.setattr(PCANeighbours, "score", never)
    monkeypatch.setattr(PCAReconstruction, "score", never)
    again = clad(*FAST)
    assert again.exit_code == 0
    assert again.stdout == result.stdout
    assert len(rows()) == 12


def test_held_out_training_images_are_tested_with_and_test_images_are_not(clad, monkeypatch):
    words = ["bench", "digits", "--scenarios", "CUR", "--methods", "pca-neighbours", "--seeds", "1"]
    assert clad(*words).exit_code == 0
    asked = [*words, "--held-out", "0.25"]
    result = clad(*asked)
    assert result.exit_code == 0, result.output
    of_test, held = rows()
    assert held["dataset"] == "digits, 0.25 of training held out"
    assert held["command"] == " ".join(["clad", *asked[:8], "--held-out", "0.25"])
    assert held["n_fit"] < of_test["n_fit"]
    assert "| digits, 0.25 of training held out | CUR" in result.stdout

    def black(name, root):
        found = load(name, root)
        images = ImageSet.of(np.zeros((len(found.test), *found.test.images.shape), np.uint8))
        return replace(found, test=replace(found.test, images=images))

    monkeypatch.setattr(plan, "load", black)
    plan._opened.cache_clear()
    assert clad(*asked, "-o", "again").exit_code == 0
    plan._opened.cache_clear()
    (again,) = map(json.loads, Path("again/results.jsonl").read_text().splitlines())
    assert again["auroc"] == held["auroc"] > 0.9


def test_a_kill_loses_the_cell_it_was_in(clad, monkeypatch):
    score, calls = PCANeighbours.score, []

    def interrupted(self, images, runtime):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return score(self, images, runtime)

    with monkeypatch.context() as patch:
        patch.setattr(PCANeighbours, "score", interrupted)
        assert clad(*FAST, "--scenarios", "CUR").exit_code == 130
    assert len(rows()) == 3
    path = Path("bench/results.jsonl")
    path.write_text(path.read_text()[:-30])
    result = clad(*FAST, "--scenarios", "CUR")
    assert result.exit_code == 0, result.output
    assert "set aside in bench/results.jsonl.broken" in result.stderr
    assert len(rows()) == 4


def test_a_failing_cell_is_named_and_tried_again(clad, monkeypatch):
    def fail(*_args):
        raise ValueError("by hand")

    words = [*FAST[:4], "--seeds", "1", "--scenarios", "CUR"]
    words[3] = "pca-reconstruction,pca-neighbours"
    with monkeypatch.context() as patch:
        patch.setattr(PCANeighbours, "score", fail)
        result = clad(*words)
    assert result.exit_code == 1
    assert "failed: digits CUR pca-neighbours seed 0: ValueError: by hand" in result.stdout
    assert "pca-reconstruction" in result.stdout
    assert clad(*words).exit_code == 0


def test_tables_of_what_was_run(clad):
    clad(*FAST, "--scenarios", "CUR,STR")
    shown = clad("table", "bench")
    assert shown.exit_code == 0, shown.output
    assert "| digits     | CUR" in shown.stdout
    csv = clad("table", "bench/results.jsonl", "--format", "csv", "--metric", "fpr95")
    assert csv.stdout.splitlines()[0] == "data set,normal,pca-reconstruction,pca-neighbours"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "digit"], "did you mean 'digits'?"),
        (["bench", "digits", "--scenarios", "CUT"], "unknown scenario of digits 'CUT'; known are"),
        (["bench", "digits", "--methods", "svm"], "unknown method 'svm'; known are clad, pca"),
        (["bench", "digits", "--seeds", "0"], "--seeds"),
        (["bench", "digits", "--set", "dec.cluster=3"], "did you mean 'clusters'?"),
        (["bench", "digits", "--held-out", "0.7"], "--held-out"),
        (["table", "absent"], "absent: cannot be read"),
        (["table", "bench", "--metric", "auc"], "unknown column 'auc'; known are"),
    ],
)
def test_mistakes_show_before_anything_is_run(clad, words, said):
    Path("bench").mkdir()
    Path("bench/results.jsonl").write_text("")
    result = clad(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert Path("bench/results.jsonl").read_text() == ""


@pytest.fixture
def own(tmp_path, task):
    """A benchmark of one's own: arrays as a course hands them out."""
    test = task.test.take(np.arange(120))
    np.save(tmp_path / "trainingset.npy", task.train.read().transpose(0, 2, 3, 1))
    np.save(tmp_path / "testingset.npy", test.read().transpose(0, 2, 3, 1))
    np.save(tmp_path / "labels.npy", task.answers.test_anomalous[:120].astype(int))
    file = tmp_path / "mine.yaml"
    file.write_text("train: trainingset.npy\ntest: testingset.npy\nlabels: labels.npy\n")
    return file


def test_a_benchmark_of_ones_own(clad, own, task):
    result = clad("bench", own, "--methods", "pca-neighbours", "--seeds", "1")
    assert result.exit_code == 0, result.output
    (row,) = rows()
    assert (row["dataset"], row["scenario"]) == ("mine", "all")
    assert row["n_test"] == 120
    assert row["auroc"] > 0.9
    shown = clad("table", "bench")
    assert "| mine" in shown.stdout
    text = own.parent / "labels.txt"
    text.write_text("\n".join(map(str, task.answers.test_anomalous[:120].astype(int))))
    own.write_text(own.read_text().replace("labels.npy", "labels.txt"))
    assert clad("bench", own, "--methods", "pca-neighbours", "--seeds", "1").exit_code == 0
    assert len(rows()) == 1, "the same cell"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("train:", "trian:"), "unknown key in .*mine.yaml 'trian'.* did you mean 'train'"),
        (("labels: labels.npy\n", ""), "the key 'labels' is missing"),
        (("labels.npy", "absent.npy"), "labels: .*absent.npy cannot be read"),
        (("labels.npy", "trainingset.npy"), r"labels: \(321, 8, 8, 1\) for 120 test images"),
        (("train: trainingset.npy", "train: 3"), "train should be text, got 3"),
        (("train: ", "- "), "cannot be read"),
    ],
)
def test_a_wrong_benchmark_file(clad, own, change, message):
    own.write_text(own.read_text().replace(*change))
    result = clad("bench", own)
    assert result.exit_code == 2
    assert re.search(message, result.output), result.output


def test_a_file_has_no_anomalies_to_hold_out(clad, own):
    result = clad("bench", own, "--held-out", "0.2")
    assert result.exit_code == 2
    assert "mine.yaml: holds no anomalies to train on" in result.stderr


def test_scores_as_a_course_wants_them(clad, own, model):
    result = clad(
        "score", model, own.parent / "testingset.npy", "-o", "k.csv", "--format", "kaggle"
    )
    assert result.exit_code == 0, result.output
    head, *lines = Path("k.csv").read_text().splitlines()
    assert head == "ID,score"
    assert [line.split(",")[0] for line in lines] == [str(i) for i in range(120)]


def test_ablate_sweeps_plots_and_goes_on(clad, tmp_path, set_tiny):
    file = tmp_path / "small.yaml"
    keys = {k: v for a in set_tiny[1::2] for k, v in [a.split("=")]}
    fixed = "".join(f"  {k}: {v}\n" for k, v in keys.items() if k != "dec.clusters")
    file.write_text(
        f"dataset: digits\nscenarios: [CUR]\nfixed:\n{fixed}sweep:\n  dec.clusters: [2, 4]\n"
    )
    result = clad("ablate", file)
    assert result.exit_code == 0, result.output
    out = Path("ablations/small")
    found = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [row["sweep"] for row in found] == [{"dec.clusters": 2}, {"dec.clusters": 4}]
    assert [row["clusters"] for row in found] == [2, 4]
    assert {row["command"] for row in found} == {f"clad ablate {file}"}
    assert (out / "small.png").read_bytes().startswith(b"\x89PNG")
    assert "2 cells in" in result.stdout
    assert clad("ablate", file).exit_code == 0
    assert len((out / "results.jsonl").read_text().splitlines()) == 2
    assert clad("ablate", file, "--held-out", "0.25", "-o", "held").exit_code == 0
    held = [json.loads(line) for line in Path("held/results.jsonl").read_text().splitlines()]
    assert [row["sweep"] for row in held] == [row["sweep"] for row in found]
    assert {row["dataset"] for row in held} == {"digits, 0.25 of training held out"}
    assert {row["command"] for row in held} == {f"clad ablate {file} --held-out 0.25"}
    assert held[0]["n_fit"] < found[0]["n_fit"]
    wrong = clad("ablate", tmp_path / "absent.yaml")
    assert wrong.exit_code == 2
    assert "absent.yaml: cannot be read" in wrong.output
