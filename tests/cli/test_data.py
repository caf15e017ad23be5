"""``clad data``: what there is, a copy at hand imported, and every way to get it wrong."""

from __future__ import annotations

import json
import signal
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clad.cli import main

NAMES = ["digits", "mnist", "gtsrb", "cifar10", "tiny_imagenet"]


@pytest.fixture
def clad(tmp_path, monkeypatch):
    monkeypatch.setenv("CLAD_DATA", str(tmp_path / "prepared"))
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield lambda *words: CliRunner().invoke(main, ["data", *map(str, words)])
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def tree(tmp_path):
    """{train,test}/<class>/*: 4 and 2 random digits of 28x28 a class."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for label in range(10):
            folder = tmp_path / "tree" / part / str(label)
            folder.mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 256, (28, 28), dtype=np.uint8)
                Image.fromarray(image).save(folder / f"{i}.png")
    return tmp_path / "tree"


def test_list_before_anything_is_prepared(clad, tmp_path):
    result = clad("list")
    assert result.exit_code == 0, result.output
    first, _, *rows = result.stdout.splitlines()
    assert first == f"in {tmp_path / 'prepared'}:"
    assert [row.split()[0] for row in rows] == NAMES
    assert ["not prepared" in row for row in rows] == [False, True, True, True, True]
    assert rows[0].split()[1:] == ["prepared", "1078", "719", "10", "1x8x8"]
    assert not (tmp_path / "prepared").exists(), "looking writes nothing"


def test_import_then_list(clad, tree):
    result = clad("import", "mnist", tree)
    assert result.exit_code == 0, result.output
    assert result.stdout == "mnist: 40 training and 20 test images of 10 classes\n"
    rows = {row["name"]: row for row in json.loads(clad("list", "--json").stdout)}
    assert list(rows) == NAMES
    assert rows["mnist"]["prepared"] is True
    assert (rows["mnist"]["n_train"], rows["mnist"]["n_test"]) == (40, 20)
    assert rows["mnist"]["shape"] == [1, 28, 28]
    assert rows["gtsrb"]["n_train"] is None


def test_import_from_a_zip_into_a_root_of_ones_own(clad, tree, tmp_path):
    with zipfile.ZipFile(tmp_path / "tree.zip", "w") as archive:
        for path in sorted(tree.rglob("*.png")):
            archive.write(path, path.relative_to(tree))
    result = clad("import", "mnist", "tree.zip", "--data-root", "mine", "--json", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "name": "mnist",
        "n_train": 40,
        "n_test": 20,
        "classes": 10,
        "shape": [1, 28, 28],
    }
    assert (tmp_path / "mine" / "mnist" / "manifest.json").is_file()
    assert not (tmp_path / "prepared").exists()


def test_quiet_import_says_nothing(clad, tree):
    result = clad("import", "mnist", tree, "--quiet")
    assert result.exit_code == 0
    assert result.output == ""


def test_a_failed_import_keeps_what_was_there(clad, tree, tmp_path):
    clad("import", "mnist", tree)
    (tree / "train" / "3" / "0.png").write_bytes(b"")
    result = clad("import", "mnist", tree)
    assert result.exit_code == 2
    assert "0.png (empty file)" in result.stderr
    rows = {row["name"]: row for row in json.loads(clad("list", "--json").stdout)}
    assert rows["mnist"]["n_train"] == 40
    assert not list((tmp_path / "prepared").glob(".mnist-*"))


def test_digits_are_prepared_already(clad):
    result = clad("prepare", "digits")
    assert result.exit_code == 0
    assert result.stdout == "digits: 1078 training and 719 test images of 10 classes\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["import", "minst", "tree"], "unknown data set 'minst'; known are digits, mnist,"),
        (["import", "minst", "tree"], "did you mean 'mnist'?"),
        (["prepare", "cifar"], "did you mean 'cifar10'?"),
        (["import", "digits", "tree"], "digits come with scikit-learn; there is nothing to import"),
        (["import", "mnist", "absent"], "absent does not exist"),
        (["import", "mnist", "absent.zip"], "absent.zip"),
        (["import", "mnist", "text.zip"], "text.zip: not a readable zip"),
        (["import", "mnist", "empty"], "empty"),
        (["import", "mnist", "half"], "half"),
        (["import", "mnist", "evil.zip"], "'../out.png' leads outside the target folder"),
        (["import", "mnist", "tree", "--data-root", "file"], "file"),
    ],
)
def test_wrong_words_are_one_line_and_status_2(clad, tree, tmp_path, words, message):
    (tmp_path / "text.zip").write_text("no zip")
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "half" / "train" / "0").mkdir(parents=True)
    Image.new("L", (28, 28), 3).save(tmp_path / "half" / "train" / "0" / "a.png")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../out.png", b"x")
    result = clad(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_a_damaged_cache_is_named(clad, tree, tmp_path):
    clad("import", "mnist", tree)
    path = tmp_path / "prepared" / "mnist" / "manifest.json"
    path.write_text("{")
    result = clad("list")
    assert result.exit_code == 2
    assert f"{path} is damaged; remove {path.parent} and prepare it again" in result.stderr


def test_leakage_of_the_digits():
    done = CliRunner().invoke(main, ["data", "leakage", "digits", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.output)
    assert {row["scenario"] for row in rows} == {"CUR", "STR", "MIX"}
    assert all(0 <= row["leakage"] <= 0.5 for row in rows)
    shown = CliRunner().invoke(main, ["data", "leakage", "digits"])
    assert shown.output.splitlines()[0].split() == ["normal", "anomalous", "leakage"]
