"""Run folders: named, finished once, gone on with, never mixed up; where a number came from."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from clad import metrics, provenance
from clad.artifact import locked
from clad.benchmark import runs
from clad.benchmark.experiment import evaluate
from clad.config import build
from clad.data.benchmarks import load
from clad.data.images import ImageSet
from clad.data.scenarios import Scenario, custom, scenario
from clad.errors import CladError
from clad.provenance import commit, fingerprint, versions


@pytest.fixture
def digits():
    return load("digits")


@pytest.fixture
def curves(digits):
    return scenario("digits", "CUR", digits.classes)


@pytest.fixture(scope="module")
def evaluated():
    """``evaluate``, the detector of each seed trained once."""
    known = {}

    def once(task, config, **options):
        if config.seed not in known:
            known[config.seed] = evaluate(task, config, **{**options, "checkpoints": None})
        return known[config.seed]

    return once


@pytest.fixture
def start(digits, curves, tiny, tmp_path, monkeypatch, evaluated):
    """Run the tiny scenario into tmp_path/run without pictures; counts the trainings."""
    trained = []

    def counted(*args, **kwargs):
        trained.append(1)
        return evaluated(*args, **kwargs)

    monkeypatch.setattr(runs, "draw", lambda *_: None)
    monkeypatch.setattr(runs, "evaluate", counted)

    def run(**options):
        config = build({**tiny, "seed": options.pop("seed", 0)})
        fresh = options.pop("fresh", False)
        folder = tmp_path / "run"
        return runs.run(digits, curves, config, folder, "tiny", fresh=fresh, progress=False)

    run.trained = trained
    return run


@pytest.mark.parametrize(
    ("out", "several", "expected"),
    [
        (None, False, "runs/digits-one-class-3-default-seed7"),
        (None, True, "runs/digits-one-class-3-default-seed7"),
        ("there", False, "there"),
        ("there", True, "there/one-class-3"),
    ],
)
def test_folders_are_named_after_the_run(digits, out, several, expected):
    chosen = scenario("digits", "one-class:3", digits.classes)
    out = None if out is None else Path(out)
    config = build({"seed": 7})
    folder = runs.folder_for(out, "default", config, chosen, several=several)
    assert folder == Path(expected)


def test_folders_of_own_choices_differ(digits):
    names = {
        runs.folder_for(None, "default", build({}), custom("digits", n, digits.classes), several=0)
        for n in (["0", "3"], ["0"], ["3"])
    }
    assert len(names) == 3


def test_the_measurement_is_what_the_scores_say(task, tiny):
    result = evaluate(task, build(tiny), checkpoints=None, progress=False)
    truth, found = task.answers.test_anomalous, result.metrics
    assert found["auroc"] == metrics.auroc(result.scores.score, truth)
    assert found["false_alarm_rate"] == result.scores.anomaly[~truth].mean()
    assert found["detection_rate"] == result.scores.anomaly[truth].mean()
    assert found["n_fit"] + found["n_calibration"] == len(task.train)
    assert found["n_test"] == len(task.test)
    hidden = task.answers.train_labels[result.detector.fit_positions_]
    assert found["nmi"] == metrics.nmi(hidden, result.detector.clusters_)
    assert set(found["auroc_by_class"]) == set("1245679")
    alone = result.detector.measure(task.test).parts
    assert set(alone) == {"logits", "energy", "turns", "features", "texture", "patches"}
    assert found["auroc_by_part"] == {k: metrics.auroc(v, truth) for k, v in alone.items()}
    fused = result.detector.model_.fused
    assert set(found["auroc_without_part"]) == {"logits", "features", "texture", "patches"}
    fused.weights_[1] = 0
    assert found["auroc_without_part"]["features"] == metrics.auroc(fused.join(alone), truth)
    seconds = found["seconds"]
    assert {"autoencoder", "dec", "classifier", "calibration", "scoring", "total"} <= set(seconds)
    assert seconds["total"] >= sum(v for k, v in seconds.items() if k != "total") - 0.01
    json.dumps(found, allow_nan=False)


def test_a_finished_run_is_read_back(start, tmp_path):
    first = start()
    assert start() == first
    assert len(start.trained) == 1
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert start(fresh=True)["fingerprint"] == first["fingerprint"]
    assert len(start.trained) == 2


def test_checkpoints_that_a_finished_run_left_are_cleared(start, tmp_path):
    """As after a disk that was full when all but the last sync was done."""
    start()
    (tmp_path / "run" / "checkpoints" / "dec").mkdir(parents=True)
    start()
    assert len(start.trained) == 1
    assert not (tmp_path / "run" / "checkpoints").exists()


def spoil_metrics(folder):
    (folder / "metrics.json").write_text("{")


def another_metrics(folder):
    (folder / "metrics.json").write_text("[1]")


def lose_model(folder):
    shutil.rmtree(folder / "model")


def damage_model(folder):
    (path,) = folder.glob("model/classifier*")
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [spoil_metrics, another_metrics, lose_model, damage_model])
def test_a_run_that_is_not_whole_is_done_again(start, tmp_path, harm):
    first = start()
    harm(tmp_path / "run")
    again = start()
    assert len(start.trained) == 2
    assert again["auroc"] == first["auroc"]


def test_metrics_of_one_run_beside_the_model_of_another_count_for_neither(
    start, tmp_path, monkeypatch
):
    """A second run, of another seed, is cut off after its model and before its metrics.json."""
    start()

    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_scores", cut_off)
        with pytest.raises(KeyboardInterrupt):
            start(seed=1)
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["seed"] == 0
    assert start()["seed"] == 0
    assert len(start.trained) == 3, "seed 0's metrics.json stands beside seed 1's model"


def test_two_runs_in_one_folder_are_one_too_many(start, tmp_path):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"), pytest.raises(CladError, match="another run is using this"):
        start()
    assert not start.trained


def test_an_unwritable_folder_shows_before_training(digits, curves, tiny, tmp_path, untrained):
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "run"):
        with pytest.raises(CladError, match="not a folder that can be written to"):
            runs.run(digits, curves, build(tiny), folder, "tiny", fresh=False, progress=False)


def test_a_scenario_with_an_unknown_class_is_refused(digits, tiny, tmp_path, untrained):
    wrong = Scenario("digits", "mine", ("0", "dog"), ("1",))
    with pytest.raises(CladError, match="unknown class of digits 'dog'"):
        runs.run(digits, wrong, build(tiny), tmp_path, "tiny", fresh=False, progress=False)


# -- provenance -----------------------------------------------------------------------------------


def test_a_fingerprint_changes_with_whatever_decides_the_weights(task, tiny):
    config = build(tiny)
    images = task.train
    ours = fingerprint(config, images)
    assert fingerprint(build(tiny), images) == ours
    assert fingerprint(build({**tiny, "seed": 1}), images) != ours
    assert fingerprint(config, images.take(np.arange(len(images))[::-1])) != ours
    assert fingerprint(config, images, images) != ours
    pixels = images.read()
    assert fingerprint(config, ImageSet.of(pixels.copy())) == ours
    pixels[0, 0, 0, 0] ^= 1
    assert fingerprint(config, ImageSet.of(pixels)) != ours


def test_versions_name_what_the_numbers_depend_on():
    found = versions()
    assert {"python", "clad", "torch", "numpy"} <= set(found)
    assert found["torch"] != "absent"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit, and a package lying somewhere in it."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "results").mkdir()
    for path in (tmp_path / "file", tmp_path / "results" / "rows.csv"):
        path.write_text("one")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True, capture_output=True)

    def lies_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))

    return lies_in


def test_the_commit_is_the_checkouts(checkout, tmp_path):
    checkout(tmp_path / "clad")
    head = commit()
    assert len(head) == 40
    assert set(head) <= set("0123456789abcdef")
    (tmp_path / "results" / "rows.csv").write_text("two")
    assert commit() == head, "rows that were measured are no other code"
    (tmp_path / "file").write_text("two")
    assert commit() == f"{head}-dirty"


def test_an_installed_package_does_not_claim_its_users_commit(checkout, tmp_path):
    checkout(tmp_path / ".venv" / "lib" / "site-packages" / "clad")
    assert commit() is None


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "clad" / "provenance.py"))
    assert commit() is None
    monkeypatch.setenv("PATH", "")
    assert commit() is None
