"""``clad threshold`` and ``clad review``: a decision looked at and changed, nothing retrained."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clad import CLAD
from clad.cli import main


@pytest.fixture
def clad(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield lambda *words: CliRunner().invoke(main, [str(word) for word in words])
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def fitted(normals, set_tiny, tmp_path_factory):
    """A model that the command wrote; copied before it is changed."""
    root = tmp_path_factory.mktemp("fitted")
    np.save(root / "good.npy", normals)
    words = ["fit", root / "good.npy", "-o", root / "model", *set_tiny, "--quiet"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return root / "model"


@pytest.fixture
def mine(fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture(scope="session")
def unseen(task):
    """uint8 (60, 8, 8): normal digits that no detector was fitted on."""
    normal = np.flatnonzero(~task.answers.test_anomalous)[:60]
    return task.test.read(normal)[:, 0]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def manifest(folder):
    return json.loads((folder / "manifest.json").read_bytes())


# -- threshold ------------------------------------------------------------------------------------


def test_without_options_it_shows_what_there_is(clad, mine, detector):
    before = contents(mine)
    result = clad("threshold", "mine")
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert first == f"conformal threshold {detector.threshold_:.6g}"
    assert second == detector.guarantee_.text
    assert contents(mine) == before


def test_another_rate(clad, mine, detector, mixed):
    networks = {k: v for k, v in contents(mine).items() if k.startswith(("auto", "class", "neigh"))}
    result = clad("threshold", "mine", "--method", "conformal", "--alpha", "0.1")
    assert result.exit_code == 0, result.output
    loaded = CLAD.load(mine)
    rank = int(np.ceil((detector.guarantee_.n + 1) * 0.9))
    assert loaded.threshold_ == np.sort(detector.calibration_.scores)[rank - 1]
    assert loaded.config_.threshold.alpha == 0.1
    assert f"(was {detector.threshold_:.6g})" in result.stdout
    assert "10% false alarms promised" in result.stdout
    np.testing.assert_array_equal(
        loaded.decision_function(mixed), detector.decision_function(mixed)
    )
    assert networks.items() <= contents(mine).items()


def test_a_value_by_hand(clad, mine):
    said = json.loads(clad("threshold", "mine", "--value", "0.83", "--json").stdout)
    assert (said["method"], said["threshold"]) == ("manual", 0.83)
    assert said["guarantee"]["promised"] is None
    assert CLAD.load(mine).threshold_ == 0.83
    back = json.loads(clad("threshold", "mine", "--method", "conformal", "--json").stdout)
    assert back["before"] == 0.83
    assert back["guarantee"]["promised"] == 0.05


def test_more_normals(clad, mine, unseen, detector, as_pngs, tmp_path):
    paths = as_pngs(unseen, tmp_path / "more")
    result = clad("threshold", "mine", "--calibrate", "more")
    assert result.exit_code == 0, result.output
    loaded = CLAD.load(mine)
    np.testing.assert_array_equal(loaded.calibration_.scores, detector.decision_function(unseen))
    assert loaded.calibration_.names == [path.name for path in paths]
    assert "with 60 calibration images" in result.stdout

    as_pngs(unseen[:20], tmp_path / "first")
    clad("threshold", "mine", "--calibrate", "first")
    added = clad("threshold", "mine", "--calibrate", "more", "--add", "--alpha", "0.02")
    assert added.exit_code == 0, added.output
    assert CLAD.load(mine).guarantee_.n == 60, "the first 20 count once"
    assert "2% false alarms promised; with 60 calibration images" in added.stdout


def test_images_fitted_on_are_no_calibration(
    clad, mine, detector, normals, unseen, as_pngs, tmp_path
):
    as_pngs(np.concatenate([normals[detector.fit_positions_[:3]], unseen]), tmp_path / "more")
    before = contents(mine)
    result = clad("threshold", "mine", "--calibrate", "more")
    assert result.exit_code == 2
    assert (
        "3 of 63 calibration images were fitted on (0000.png, 0001.png, 0002.png)" in result.stderr
    )
    assert contents(mine) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--alpha", "0"], "threshold.alpha = 0.0: input should be greater than 0"),
        (["--alpha", "1"], "threshold.alpha = 1.0: input should be less than 1"),
        (["--alpha", "0.001"], "too few for alpha=0.001: at least 999 are needed"),
        (["--method", "conformel"], "threshold.method = 'conformel'"),
        (["--method", "manual"], "needs a value"),
        (["--method", "mad", "--value", "1"], "--value is the threshold itself"),
        (["--add"], "--add goes with --calibrate"),
        (["--value", "nan"], "threshold.value = nan"),
        (["--calibrate", "absent"], "absent does not exist"),
        (["--compare", "--calibrate", "x"], "--compare and --scores change nothing"),
        (["--scores", "absent.csv"], "absent.csv"),
    ],
)
def test_what_is_refused_changes_nothing(clad, mine, words, said):
    before = contents(mine)
    result = clad("threshold", "mine", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert contents(mine) == before


def test_no_model(clad, tmp_path):
    result = clad("threshold", "absent", "--alpha", "0.1")
    assert result.exit_code == 2
    assert "absent: no model here" in result.stderr
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "manifest.json").write_text("{}")
    assert "give run/model" in clad("threshold", "run").stderr


def test_every_rule_side_by_side(clad, mine, detector):
    before = contents(mine)
    result = clad("threshold", "mine", "--compare", "-o", "rules.png")
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert lines["conformal"].split()[1:3] == [f"{detector.threshold_:.6g}", "5.0%"]
    assert {"conformal-pac", "mondrian", "bh", "quantile", "mad", "synthetic-f1"} <= set(lines)
    with Image.open("rules.png") as image:
        assert image.width > 600
    assert contents(mine) == before
    said = json.loads(clad("threshold", "mine", "--compare", "--json").stdout)
    assert {row["method"] for row in said["rules"]} >= {"conformal", "kde", "iqr"}
    assert said["costs"] == []


def test_what_thresholds_cost_on_labelled_scores(clad, mine, detector):
    """By hand: the threshold of 20% among 100 normal and 50 anomalous scores."""
    threshold = CLAD.load(mine).set_threshold(alpha=0.2).threshold_
    rows = ["score,cluster,truth"]
    rows += [f"{threshold + (1 if i < 7 else -1)},0,0" for i in range(100)]
    rows += [f"{threshold + (1 if i < 45 else -1)},1,1" for i in range(50)]
    Path("labelled.csv").write_text("\n".join(rows) + "\n")
    result = clad("threshold", "mine", "--scores", "labelled.csv")
    assert result.exit_code == 0, result.output
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("20%"))
    assert "7 (7.0%)" in row
    assert "5 (10.0%)" in row
    assert not any(line.startswith("0.1%") for line in result.stdout.splitlines()), "n allows none"
    with Image.open("roc.png") as image:
        assert image.width > 300
    both = clad("threshold", "mine", "--compare", "--scores", "labelled.csv", "--alpha", "0.2")
    (row,) = (line for line in both.stdout.splitlines() if line.startswith("conformal "))
    assert row.split()[-2:] == ["7.0%", "90.0%"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("score,cluster\n1.0,0\n", "no column 'truth'"),
        ("score,cluster,truth\n1.0,0,0\n", "should hold 0 and 1, both of them"),
        ("score,cluster,truth\n1.0,0,0\n2.0,0,3\n", "should hold 0 and 1"),
    ],
)
def test_unlabelled_scores_have_no_cost(clad, mine, text, said):
    Path("s.csv").write_text(text)
    result = clad("threshold", "mine", "--scores", "s.csv")
    assert result.exit_code == 2
    assert f"s.csv: {said}" in result.stderr or f"s.csv: column 'truth' {said}" in result.stderr


def test_changing_a_threshold_needs_no_torch(mine):
    code = (
        "import sys\nfrom clad.cli import main\n"
        "main(['threshold', 'mine', '--alpha', '0.1'], standalone_mode=False)\n"
        "assert not {'torch', 'sklearn', 'matplotlib'} & set(sys.modules), 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=mine.parent)


def test_comparing_every_rule_loads_nothing_slow(mine):
    code = (
        "import sys\nfrom clad.cli import main\n"
        "main(['threshold', 'mine', '--compare'], standalone_mode=False)\n"
        "slow = {'torch', 'sklearn', 'scipy.stats', 'scipy.optimize', 'matplotlib.pyplot'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=mine.parent)


# -- review ---------------------------------------------------------------------------------------


def test_the_least_normal_are_listed_and_shown(clad, mine, detector):
    result = clad("review", "mine", "-o", "page/review.html")
    assert result.exit_code == 0, result.output
    worst = np.argsort(-detector.calibration_.scores)[:10]
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"calibration: highest of {detector.guarantee_.n}")
    assert [line.split()[0] for line in lines[1:11]] == [
        detector.calibration_images_.names[i] for i in worst
    ]
    assert float(lines[1].split()[1]) == pytest.approx(detector.calibration_.scores.max(), rel=1e-5)
    page = Path("page/review.html").read_text()
    assert page.count("<img") == 2 * 60
    assert page.count('class="over"') == (
        (np.sort(detector.calibration_.scores)[-60:] > detector.threshold_).sum()
        + (np.sort(detector.decision_scores_)[-60:] > detector.threshold_).sum()
    )
    assert "http" not in page, "it needs no network"
    assert detector.guarantee_.text in page


def test_review_follows_a_new_calibration(clad, mine, unseen, as_pngs, tmp_path):
    as_pngs(unseen, tmp_path / "more")
    clad("threshold", "mine", "--calibrate", "more")
    said = json.loads(clad("review", "mine", "--json").stdout)
    assert {item["name"] for item in said["calibration"]} == {f"{i:04}.png" for i in range(60)}
    assert len(said["fit"]) == 60


def test_names_are_text_not_markup(clad, mine, unseen, as_pngs, tmp_path):
    paths = as_pngs(unseen, tmp_path / "more")
    paths[0].rename(paths[0].with_name("<script>alert(1)<script>.png"))
    clad("threshold", "mine", "--calibrate", "more")
    assert clad("review", "mine").exit_code == 0
    page = Path("review.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_model_saved_from_python_keeps_no_images(clad, model):
    result = clad("review", model)
    assert result.exit_code == 2
    assert "keeps no images for review" in result.stderr
