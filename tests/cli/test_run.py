"""``clad run`` on the embedded digits, from the words typed to the files written."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clad.benchmark import runs
from clad.benchmark.experiment import evaluate
from clad.cli import main
from clad.config import Config
from clad.metrics import auroc
from clad.recipes import load
from clad.stages.classifier import Classifier

ROOT = Path(__file__).parents[2]
PICTURES = ("scores", "roc", "latents", "clusters", "most_anomalous", "overview")
KEYS = {
    *("dataset", "scenario", "preset", "seed", "auroc", "aupr_anomaly", "aupr_normal", "fpr95"),
    *("f1", "false_alarm_rate", "detection_rate", "threshold", "alpha", "n_fit", "n_calibration"),
    *("n_test", "clusters", "nmi", "seconds", "device", "versions", "commit"),
}
RATES = (
    *("auroc", "aupr_anomaly", "aupr_normal", "fpr95", "f1", "false_alarm_rate"),
    *("detection_rate", "alpha", "nmi"),
)


def clad(*words):
    """One command as typed; standard output and error are kept apart."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        return CliRunner().invoke(main, [str(word) for word in words])
    finally:
        signal.signal(signal.SIGTERM, before)


def weights(folder):
    return sorted(path.name for path in (folder / "model").glob("*.safetensors"))


@pytest.fixture(scope="module")
def done(set_tiny, tmp_path_factory):
    """One whole run, pictures and all: its result and its folder."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    return clad("run", "digits", *set_tiny, "--out", folder), folder


@pytest.fixture
def quick(monkeypatch, tmp_path, set_tiny):
    """``clad run digits`` with tiny settings in an empty working folder, without pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "draw", lambda *_: None)
    return lambda *words: clad("run", "digits", *set_tiny, *words)


def test_a_run_ends_with_a_table(done):
    result, folder = done
    assert result.exit_code == 0, result.output
    head, row, _, _, *costs, threshold, written = result.stdout.splitlines()
    assert head.split("  ")[0].strip() == "scenario"
    for column in ("AUROC", "false alarms", "detected", "autoencoder s", "total s"):
        assert column in head
    assert row.startswith("digits CUR")
    assert row.count("%") == 3
    assert len(row) == len(head)
    assert "5% false alarms promised" in threshold
    assert written == f"written to {folder}"
    costly, cheap = costs[1:][0].split(), costs[-1].split()
    assert (costly[0], cheap[0]) == ("2%", "50%"), "the rates that 64 calibration images allow"
    assert int(costly[2]) < int(cheap[2]), "false alarms"
    assert int(costly[4]) > int(cheap[4]), "missed anomalies"
    assert "autoencoder ..." in result.stderr


def test_a_run_leaves_all_its_files(done):
    _, folder = done
    files = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    pictures = {f"{name}.png" for name in PICTURES}
    tables = {"metrics.json", "scores.csv", "thresholds.csv"}
    assert files == pictures | tables | {"config.yaml", "exhibits", "model", "run.log"}
    assert {path.suffix for path in (folder / "model").iterdir()} == {".safetensors", ".json"}
    assert "autoencoder" in (folder / "run.log").read_text()


def test_metrics_hold_what_the_issue_asks(done):
    metrics = json.loads((done[1] / "metrics.json").read_text())
    assert set(metrics) >= KEYS
    for rate in RATES:
        assert 0 <= metrics[rate] <= 1, rate
    assert metrics["dataset"] == "digits"
    assert metrics["scenario"] == "CUR"
    assert metrics["preset"] == "default"
    assert metrics["n_fit"] + metrics["n_calibration"] == 321
    assert metrics["n_test"] == 719
    assert metrics["clusters"] == 3
    assert all(value >= 0 for value in metrics["seconds"].values())


def test_the_scores_give_the_same_figures(done):
    folder = done[1]
    metrics = json.loads((folder / "metrics.json").read_text())
    with (folder / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("path", "score", "p_value", "anomaly", "cluster", "confidence"),
        *("brightness", "width", "height", "mode", "label", "truth"),
    ]
    score = np.array([float(row["score"]) for row in rows])
    truth = np.array([row["truth"] == "1" for row in rows])
    flagged = np.array([row["anomaly"] == "1" for row in rows])
    assert len(rows) == metrics["n_test"]
    assert {row["label"] for row in rows if row["truth"] == "0"} == {"0", "3", "8"}
    assert auroc(score, truth) == metrics["auroc"]
    np.testing.assert_array_equal(flagged, score > metrics["threshold"])
    assert flagged[~truth].mean() == metrics["false_alarm_rate"]
    assert flagged[truth].mean() == metrics["detection_rate"]


def test_the_configuration_is_written_as_resolved(done):
    config = load(done[1] / "config.yaml")
    assert isinstance(config, Config)
    assert config.dec.clusters == 3
    assert config.classifier.width == 16
    assert config.calibration.fraction == 0.2, "from configs/digits.yaml"


def test_the_same_command_again_trains_nothing(done, set_tiny, untrained):
    first, folder = done
    again = clad("run", "digits", *set_tiny, "--out", folder)
    assert again.exit_code == 0, again.output
    assert again.stdout == first.stdout
    assert f"{folder} holds this run already; --fresh starts over" in again.stderr
    fresh = clad("run", "digits", *set_tiny, "--out", folder, "--fresh")
    assert str(fresh.exception) == "a stage was trained"


def test_json_and_quiet(done, set_tiny):
    _, folder = done
    result = clad("run", "digits", *set_tiny, "--out", folder, "--json", "--quiet")
    assert result.exit_code == 0
    assert result.stderr == ""
    metrics = json.loads((folder / "metrics.json").read_text())
    assert json.loads(result.stdout) == {**metrics, "out": str(folder)}


def test_quiet_says_nothing_on_standard_error_while_it_works(quick):
    result = quick("--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "digits CUR" in result.stdout
    assert Path("runs/digits-CUR-default-seed0/metrics.json").is_file(), "the default folder"


def test_all_scenarios_get_a_folder_each(quick, monkeypatch):
    known = []

    def once(*args, **kwargs):  # the folders matter here, not what is learnt
        known.append(known[0] if known else evaluate(*args, **kwargs))
        return known[0]

    monkeypatch.setattr(runs, "evaluate", once)
    result = quick("--scenario", "all", "--out", "out", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [each["scenario"] for each in found] == ["CUR", "STR", "MIX"]
    assert sorted(path.name for path in Path("out").iterdir()) == ["CUR", "MIX", "STR"]
    assert {each["out"] for each in found} == {"out/CUR", "out/STR", "out/MIX"}
    assert len(known) == 3
    assert quick("--scenario", "all", "--out", "out").stdout.count("digits ") == 3
    assert len(known) == 3


@pytest.mark.parametrize(
    ("words", "name", "normal"),
    [
        (["--normal", "0, 3"], "normal-0-3", "03"),
        (["--scenario", "one-class:3"], "one-class-3", "3"),
    ],
)
def test_own_choices_of_normal(quick, words, name, normal):
    result = quick(*words, "--seed", 4)
    assert result.exit_code == 0, result.output
    folder = Path("runs") / f"digits-{name}-default-seed4"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics["auroc_by_class"]) == set("0123456789") - set(normal)
    assert metrics["seed"] == 4


def test_a_configuration_file_takes_the_presets_place(quick, tmp_path):
    (tmp_path / "mine.yaml").write_text("threshold:\n  alpha: 0.2\nscenarios:\n  STR: {seed: 9}\n")
    result = quick("--config", "mine.yaml", "--scenario", "STR", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["preset"], found["alpha"], found["seed"]) == ("mine", 0.2, 9)
    assert found["out"] == "runs/digits-STR-mine-seed9"


# -- interrupted ----------------------------------------------------------------------------------


def cut_off(*_args, **_kwargs):
    raise KeyboardInterrupt


def terminate(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)


@pytest.mark.parametrize(
    ("stop", "status", "word"), [(cut_off, 130, "Interrupted"), (terminate, 143, "Terminated")]
)
def test_an_interrupted_run_goes_on_to_the_same_model(quick, done, monkeypatch, stop, status, word):
    """Stopped before stage 3; stages 1 and 2 are taken from their checkpoints."""
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "fit", stop)
        result = quick("--out", "run")
    assert result.exit_code == status
    assert result.stderr.splitlines()[-1] == (
        f"{word}. The same command goes on from the last checkpoint."
    )
    assert "Traceback" not in result.output
    assert not Path("run/metrics.json").exists()
    assert sorted(path.name for path in Path("run/checkpoints").iterdir()) == [
        "autoencoder",
        "dec",
    ]
    again = quick("--out", "run")
    assert again.exit_code == 0, again.output
    assert "autoencoder: resumed after epoch 1 of 1" in again.stderr
    assert weights(Path("run")) == weights(done[1])
    theirs, ours = (Path("run/scores.csv"), done[1] / "scores.csv")
    assert theirs.read_bytes() == ours.read_bytes()
    assert not Path("run/checkpoints").exists()


@pytest.mark.parametrize("words", [["--fresh"], ["--seed", 3], ["--normal", "1"]])
def test_what_another_run_left_behind_is_not_used(quick, monkeypatch, words):
    monkeypatch.setattr(Classifier, "fit", cut_off)
    quick("--out", "run")
    assert "resumed" not in quick("--out", "run", *words).stderr
    assert "resumed" in quick("--out", "run", *(words if words != ["--fresh"] else [])).stderr


def process(words, folder):
    """A process of its own; where ``clad`` lies is told by PYTHONPATH, not by what is installed."""
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(ROOT), *([inherited] if inherited else [])])
    # tests that a shell runs in the background ignore SIGINT, and their children would as well
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from clad.cli import main; main(prog_name='clad')"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_control_c_ends_a_real_process_in_one_line(tmp_path, set_tiny):
    words = ["run", "digits", *set_tiny, "--set", "autoencoder.epochs=1000000", "--out", "run"]
    with process(words, tmp_path) as running:
        try:
            for line in running.stderr:
                if line.startswith("autoencoder"):
                    break
            time.sleep(0.2)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=120)
        finally:
            running.kill()
    assert running.returncode == 130, err
    assert out == ""
    assert err == "Interrupted. The same command goes on from the last checkpoint.\n"


# -- real images ----------------------------------------------------------------------------------

REAL = {
    "mnist": ("MNIST", "CUR"),
    "cifar10": ("cifar10-jpg.zip", "THG"),
    "gtsrb": ("gtsrb-32px.zip", "INST"),
    "tiny_imagenet": ("tiny-imagenet-40.zip", "ANML"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_images_are_imported_and_run(name, tmp_path, set_tiny, monkeypatch):
    file, chosen = REAL[name]
    source = ROOT / ".." / "shared" / "data" / file
    if not source.exists():
        pytest.skip(f"../shared/data/{file} is absent: genuine images stay out of the repository")
    root = ("--data-root", tmp_path / "data")
    imported = clad("data", "import", name, source, *root, "--json", "--quiet")
    assert imported.exit_code == 0, imported.output
    facts = json.loads(imported.stdout)
    assert facts["n_train"] > 1000
    monkeypatch.chdir(tmp_path)
    result = clad("run", name, "--scenario", chosen, *set_tiny, *root, "--out", "run", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert 0 <= found["auroc"] <= 1
    assert all((tmp_path / "run" / f"{picture}.png").is_file() for picture in PICTURES)
    scored = clad("info", "run/model", "--json")
    assert json.loads(scored.stdout)["shape"][1:] == [12, 12]
