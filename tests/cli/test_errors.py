"""Every mistake on the command line: one line that names it, status 2, nothing trained."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clad.artifact import locked
from clad.cli import main
from clad.pipeline import CLAD


@pytest.fixture
def clad(tmp_path, monkeypatch, untrained):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAD_DATA", str(tmp_path / "prepared"))
    before = signal.getsignal(signal.SIGTERM)
    yield lambda *words: CliRunner().invoke(main, [str(word) for word in words])
    signal.signal(signal.SIGTERM, before)


def check(result, message):
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.output
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last


RUN = [
    (["digit"], "unknown data set 'digit'; known are digits, mnist, gtsrb, cifar10, tiny_imagenet"),
    (["digit"], "did you mean 'digits'?"),
    (["mnist"], "mnist is not in"),
    (["mnist"], "run: clad data prepare mnist, or with a copy at hand: clad data import mnist"),
    (["digits", "--scenario", "CUT"], "unknown scenario of digits 'CUT'; known are CUR, STR, MIX"),
    (["digits", "--scenario", "cur"], "did you mean 'CUR'?"),
    (["digits", "--scenario", "one-class:x"], "unknown class of digits 'x'; known are 0, 1, 2"),
    (["digits", "--scenario", "one-class:"], "unknown class of digits ''"),
    (["digits", "--normal", "0,33"], "unknown class of digits '33'; known are 0, 1, 2"),
    (["digits", "--normal", ""], "unknown class of digits ''"),
    (["digits", "--normal", "0,1,2,3,4,5,6,7,8,9"], "every class is normal"),
    (["digits", "--normal", "0", "--scenario", "CUR"], "give --scenario or --normal, not both"),
    (["digits", "--preset", "papr"], "'papr' is not one of 'default', 'paper'"),
    (["digits", "--preset", "paper"], "no paper preset for 'digits'; give --config FILE"),
    (["digits", "--config", "absent.yaml"], "absent.yaml: cannot be read"),
    (["digits", "--config", "."], ".: cannot be read"),
    (["digits", "--config", "broken.yaml"], "broken.yaml: not valid YAML"),
    (["digits", "--config", "list.yaml"], "list.yaml: should be a mapping of sections, got list"),
    (["digits", "--config", "typo.yaml"], "typo.yaml: dec.cluster: unknown key; did you mean"),
    (["digits", "--config", "other.yaml"], "other.yaml: scenarios.STR: threshold.alpha = 2"),
    (["digits", "--seed", "-1"], "-1 is not in the range x>=0"),
    (["digits", "--seed", "one"], "'one' is not a valid integer"),
    (["digits", "--out", "file"], "file: not a folder that can be written to"),
    (["digits", "--out", "file/deeper"], "file/deeper: not a folder that can be written to"),
    (["digits", "--scenario", "all", "--out", "file"], "file/CUR: not a folder"),
    (["digits", "--colour"], "--colour"),
    ([], "Missing argument 'DATASET'"),
]
KEYS = [
    ("autoencoder.epoch=3", "--set: autoencoder.epoch: unknown key; did you mean 'epochs'?"),
    ("autencoder.epochs=3", "--set: autencoder: unknown key; did you mean 'autoencoder'?"),
    ("zzz=3", "--set: zzz: unknown key; known: seed, budget, runtime"),
    ("nonsense", "--set 'nonsense': write it as section.key=value"),
    ("=3", "--set '=3': write it as section.key=value"),
    ("dec.restarts={", "--set 'dec.restarts={': '{' is not a YAML value"),
    ("dec=3", "--set: dec = 3"),
    ("seed.x=3", "--set: seed = {'x': 3}"),
    ("seed=0.5", "--set: seed = 0.5"),
    ("seed=-1", "greater than or equal to 0"),
    ("classifier.epochs=ten", "--set: classifier.epochs = 'ten'"),
    ("classifier.epochs=0", "greater than or equal to 1"),
    ("dec.clusters=1", "greater than or equal to 2"),
    ("threshold.alpha=0", "greater than 0"),
    ("threshold.alpha=1", "less than 1"),
    ("threshold.alpha=.nan", "threshold.alpha = nan"),
    ("odin.temperature=0", "greater than 0"),
    ("images.size=[1,2,3]", "images.size = [1, 2, 3]"),
    ("images.channels=2", "images.channels = 2"),
    ("runtime.device=gpu", "runtime.device = 'gpu'"),
    # these need the images to be seen
    ("images.size=[2,2]", "under the minimum of 4x4"),
    ("dec.clusters=5000", ">= n_clusters=5000; add images or lower dec.clusters"),
    ("threshold.alpha=0.001", "calibration images are too few for alpha=0.001: at least 999"),
    ("threshold.method=manual", "method='manual' needs a value, the threshold"),
]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "broken.yaml").write_text("dec: [1, 2\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "typo.yaml").write_text("dec: {cluster: 3}\n")
    (tmp_path / "other.yaml").write_text("scenarios: {STR: {threshold: {alpha: 2}}}\n")
    return tmp_path


@pytest.mark.parametrize(("words", "message"), RUN)
def test_run(clad, files, words, message):
    check(clad("run", *words), message)


@pytest.mark.parametrize(("assignment", "message"), KEYS)
def test_keys(clad, assignment, message):
    result = clad("run", "digits", "--set", assignment)
    check(result, message)
    assert not list(Path().glob("runs/*/metrics.json"))


def test_every_scenario_is_checked_before_the_first_is_trained(clad, files):
    (files / "late.yaml").write_text("scenarios: {MIX: {dec: {clusters: 1}}}\n")
    result = clad("run", "digits", "--scenario", "all", "--config", "late.yaml", "--out", "out")
    check(result, "greater than or equal to 2")
    assert not Path("out").exists()


@pytest.mark.parametrize("command", [("run", "digits", "--out"), ("fit", "good.npy", "-o")])
def test_a_folder_in_use_is_refused(clad, normals, set_tiny, command):
    np.save("good.npy", normals)
    Path("busy").mkdir()
    with locked(Path("busy")):
        check(clad(*command, "busy", *set_tiny), "busy: another run is using this folder")
    assert str(clad(*command, "busy", *set_tiny).exception) == "a stage was trained"


def write_images(folder):
    rng = np.random.default_rng(0)
    few = rng.integers(0, 256, (30, 8, 8)).astype(np.uint8)
    np.save(folder / "few.npy", few)
    np.save(folder / "flat.npy", np.zeros((30, 8, 8), np.uint8))
    np.save(folder / "same.npy", few[:1].repeat(30, 0))
    np.save(folder / "nan.npy", np.full((30, 8, 8), np.nan))
    np.save(folder / "flatland.npy", np.zeros((30, 8)))
    np.save(folder / "tiny.npy", np.zeros((30, 2, 2), np.uint8))
    np.save(folder / "none.npy", np.zeros((0, 8, 8), np.uint8))
    (folder / "text.npy").write_text("no array")
    (folder / "text.zip").write_text("no zip")
    (folder / "list.txt").write_text("absent.png\n")
    (folder / "empty").mkdir()


FIT = [
    (["absent", "-o", "m"], "absent does not exist; give a folder, a zip"),
    (["absent.npy", "-o", "m"], "absent.npy does not exist"),
    (["text.npy", "-o", "m"], "text.npy is not a plain .npy array"),
    (["text.zip", "-o", "m"], "text.zip: not a readable zip"),
    (["list.txt", "-o", "m"], "absent.png (No such file or directory)"),
    (["empty", "-o", "m"], "empty: no images (0 files with other extensions)"),
    (["none.npy", "-o", "m"], "none.npy: no images in shape (0, 8, 8)"),
    (["flatland.npy", "-o", "m"], "flatland.npy: shape (30, 8) is not (N, H, W)"),
    (["tiny.npy", "-o", "m"], "tiny.npy: images of 2x2"),
    (["nan.npy", "-o", "m"], "nan.npy: nan at index (0, 0, 0)"),
    (["flat.npy", "-o", "m"], "no variation: every image is one flat colour (30 images)"),
    (["same.npy", "-o", "m"], "no variation: all images are identical (30 images)"),
    (["few.npy", "-o", "m"], "15 calibration images are too few for alpha=0.05: at least 19"),
    (
        ["few.npy", "-o", "m", "--set", "dec.clusters=16"],
        "n_samples=15 should be >= n_clusters=16; add images or lower dec.clusters",
    ),
    (["few.npy", "-o", "file"], "file: not a folder that can be written to"),
    (["few.npy", "-o", "m", "--config", "typo.yaml"], "typo.yaml: dec.cluster: unknown key"),
    (["few.npy", "-o", "m", "--set", "dec.cluster=3"], "--set: dec.cluster: unknown key"),
    (["few.npy", "-o", "m", "--on-bad", "ignore"], "'ignore' is not one of 'error', 'skip'"),
    (["few.npy"], "Missing option '-o' / '--out'"),
]


@pytest.mark.parametrize(("words", "message"), FIT)
def test_fit(clad, files, words, message):
    write_images(files)
    check(clad("fit", *words), message)
    assert not Path("m/manifest.json").exists()


SCORE = [
    (["good", "-o", "s.txt"], "s.txt: scores are written as .csv, .jsonl, .parquet; choose one"),
    (["good", "-o", "s"], "s: scores are written as"),
    (["good", "-o", "file/s.csv"], "file: not a folder that can be written to"),
    (["absent", "-o", "s.csv"], "absent does not exist"),
    (["good", "-o", "s.csv", "--device", "banana"], "runtime.device = 'banana'"),
    (["good"], "Missing option '-o' / '--out'"),
]


@pytest.mark.parametrize(("words", "message"), SCORE)
def test_score(clad, files, model, monkeypatch, words, message):
    def refuse(*_):
        raise AssertionError("images were scored")

    monkeypatch.setattr(CLAD, "measure", refuse)
    check(clad("score", model, *words), message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "absent: no model here (manifest.json is missing); see 'clad fit'"),
        ("empty", "empty: no model here"),
        ("file", "file: a model is a folder with a manifest.json, not a file; pickles"),
    ],
)
def test_models(clad, files, name, message):
    (files / "empty").mkdir()
    check(clad("info", name), message)
    check(clad("score", name, files, "-o", "s.csv"), message)


def test_a_command_that_is_none(clad):
    check(clad("scores"), "No such command 'scores'")


def test_the_traceback_goes_to_the_log(clad, set_tiny):
    result = clad("run", "digits", *set_tiny, "--set", "dec.clusters=5000", "--out", "run")
    check(result, "n_clusters=5000")
    log = Path("run/run.log").read_text()
    assert "Traceback" in log
    assert "FitError" in log


def test_a_command_leaves_no_trace_in_the_loggers(clad, caplog):
    """A program that calls the commands keeps its own logging."""
    import logging

    log = logging.getLogger("clad")
    before = log.level, log.propagate, list(log.handlers)
    clad("data", "list", "--quiet")
    clad("run", "digit", "--quiet")
    assert (log.level, log.propagate, list(log.handlers)) == before
    log.warning("heard")
    assert "heard" in caplog.text
    assert logging.getLogger("clad.progress").isEnabledFor(logging.WARNING)


def test_help_is_there(clad):
    for words in (["--help"], ["-h"], *([c, "--help"] for c in ("run", "fit", "score", "info"))):
        result = clad(*words)
        assert result.exit_code == 0
        assert "Usage: " in result.stdout
