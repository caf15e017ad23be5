"""``clad report``: every folder it takes, and every one it refuses in one line."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clad import exhibits
from clad.cli import main


@pytest.fixture
def clad(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def whole_model(detector, tmp_path_factory):
    """As ``clad fit`` leaves it."""
    folder = tmp_path_factory.mktemp("fitted") / "model"
    detector.save(folder)
    exhibits.keep_fitted(folder, detector)
    return folder


@pytest.fixture
def mine(whole_model, tmp_path):
    shutil.copytree(whole_model, tmp_path / "mine")
    return tmp_path / "mine"


@pytest.fixture
def run(set_tiny, tmp_path, mine, detector, task):
    """A run's folder of 40 test images, by hand."""
    from clad.scorefile import columns_of, file_columns, write_scores

    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copytree(mine, folder / "model")
    test = task.test.take(np.arange(40))
    columns = columns_of(file_columns(test), detector.score_images(test))
    columns["truth"] = task.answers.test_anomalous[:40].astype(int).tolist()
    columns["label"] = [task.answers.classes[i] for i in task.answers.test_labels[:40]]
    write_scores(folder / "scores.csv", columns)
    exhibits.keep_scored(folder / "exhibits", exhibits.of_images(detector, [test]))
    facts = {"dataset": "digits", "scenario": "CUR", "preset": "default", "seed": 0, "n_test": 40}
    (folder / "metrics.json").write_text(json.dumps(facts))
    return folder


def data_of(page):
    text = Path(page).read_text(encoding="utf-8")
    assert "http://" not in text.replace("http://www.w3.org/", ""), "it needs no network"
    assert "https://" not in text
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index("</script>", start)])


def refused(result, said):
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert said in result.stderr.splitlines()[-1]


def test_a_run(clad, run):
    result = clad("report", "run", "-o", "new/folder/page.html")
    assert result.exit_code == 0, result.output
    assert result.stdout == "written to new/folder/page.html: open it in a browser\n"
    data = data_of("new/folder/page.html")
    with (run / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert data["names"] == [row["path"] for row in rows]
    assert data["scores"] == [float(row["score"]) for row in rows]
    assert data["flagged"] == [int(row["anomaly"]) for row in rows]
    assert data["p"] == [float(row["p_value"]) for row in rows]
    assert data["sprites"]["image"]["of"] == list(range(40))
    assert sorted(data["map"]["image"]) == list(range(40))
    page = Path("new/folder/page.html").read_text()
    for heading in ("Verdict", "ROC, precision and recall", "Training curves", "Settings"):
        assert heading in page


def test_a_run_that_clad_run_wrote(clad, set_tiny):
    assert clad("run", "digits", *set_tiny, "--out", "run", "--quiet").exit_code == 0
    result = clad("report", "run")
    assert result.exit_code == 0, result.output
    assert "no " not in result.stderr, "nothing is missing"
    assert len(data_of("report.html")["names"]) == 719
    Image.open("run/roc.png").close()


def test_a_model_shows_its_calibration_images(clad, mine, detector):
    result = clad("report", "mine")
    assert result.exit_code == 0, result.output
    data = data_of("report.html")
    assert data["scores"] == detector.calibration_.scores.tolist()
    assert sum(data["flagged"]) == (detector.calibration_.scores > detector.threshold_).sum()
    assert "the threshold was set on these images" in Path("report.html").read_text()
    assert data["truth"] is None


def test_scores_of_a_model_with_images_and_heatmaps(clad, mine, mixed, as_pngs, tmp_path):
    paths = as_pngs(mixed, tmp_path / "new")
    assert clad("score", "mine", "new", "-o", "s.csv").exit_code == 0
    bare = clad("report", "mine", "--scores", "s.csv")
    assert bare.exit_code == 0, bare.output
    assert "no thumbnails known; the page is without them" in bare.stderr
    assert "image" not in data_of("report.html")["sprites"]
    (tmp_path / "heat").mkdir()
    for path in paths[3:5]:
        Image.new("RGB", (20, 20), "red").save(tmp_path / "heat" / path.name)
    result = clad("report", "mine", "--scores", "s.csv", "--images", "new", "--heatmaps", "heat")
    assert result.exit_code == 0, result.output
    data = data_of("report.html")
    assert data["sprites"]["image"]["of"] == list(range(30))
    assert data["sprites"]["heat"]["of"] == [-1] * 3 + [0, 1] + [-1] * 25
    assert len(data["map"]["image"]) == 30


def test_decisions_are_those_of_the_threshold_as_it_is_now(clad, mine, mixed, as_pngs, tmp_path):
    as_pngs(mixed, tmp_path / "new")
    clad("score", "mine", "new", "-o", "s.csv")
    before = clad("report", "mine", "--scores", "s.csv")
    assert "another threshold" not in before.stderr
    assert clad("threshold", "mine", "--alpha", "0.5").exit_code == 0
    result = clad("report", "mine", "--scores", "s.csv")
    assert "s.csv: decided with another threshold than mine has now" in result.stderr
    data = data_of("report.html")
    assert data["flagged"] == [int(score > data["threshold"]) for score in data["scores"]]


def test_a_recalibrated_model_shows_its_new_images(clad, mine, task, as_pngs, tmp_path):
    normal = task.test.read(np.flatnonzero(~task.answers.test_anomalous)[:70])[:, 0]
    as_pngs(normal, tmp_path / "more")
    assert clad("threshold", "mine", "--calibrate", "more", "--add").exit_code == 0
    assert clad("report", "mine").exit_code == 0
    data = data_of("report.html")
    assert data["names"][-1] == "0069.png"
    assert min(data["sprites"]["image"]["of"]) >= 0, "old and new have a thumbnail each"


@pytest.fixture
def bench(tmp_path):
    """Two methods, two seeds, a failed cell and a sweep."""
    (tmp_path / "bench").mkdir()
    common = {
        **{"dataset": "digits", "scenario": "CUR", "setting": "s", "error": None},
        **{"fpr95": 0.5, "f1": 0.5, "false_alarm_rate": 0.04, "detection_rate": 0.5},
        **{"auroc_by_class": {"1": 0.9}, "seconds": {"total": 36.0}, "versions": {"torch": "1"}},
        **{"command": "clad bench digits --seeds 2"},
    }
    rows = [
        {**common, "method": "clad", "seed": seed, "auroc": 0.9 + seed / 100, "sweep": {"a.b": v}}
        for seed in (0, 1)
        for v in (1, 2)
    ]
    rows = [{**row, "setting": str(row["sweep"])} for row in rows]
    rows.append({**common, "method": "<b>svdd</b>", "seed": 0, "auroc": 0.5})
    rows.append({**common, "method": "svdd", "seed": 0, "error": "ValueError: <i>broken</i>"})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "bench" / "results.jsonl").write_text(text)
    return tmp_path / "bench"


def test_a_benchmark(clad, bench):
    result = clad("report", "bench")
    assert result.exit_code == 0, result.output
    page = Path("report.html").read_text()
    assert "5 finished cells" in page
    assert "1 failed" in page
    assert "ValueError: &lt;i&gt;broken&lt;/i&gt;" in page
    assert "&lt;b&gt;svdd&lt;/b&gt;" in page
    assert "<b>svdd" not in page
    assert "<strong>90.5</strong> ± 0.7 (2)" in page
    assert 'aria-label="digits, clad"' in page, "the plot of the sweep"
    assert page.index("clad, a.b = 1") < page.index("clad, a.b = 2"), "columns say what was swept"
    assert "0.05" in page, "hours"
    assert "clad bench digits --seeds 2" in page
    assert "https://" not in page
    result = clad("report", "bench/results.jsonl", "-o", "of_file.html")
    assert result.exit_code == 0, result.output
    assert Path("of_file.html").read_text().count("\n") == page.count("\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["words.csv"], "words.csv: line 1 is no row of results"),
        (["absent"], "absent: no run (metrics.json), no model (manifest.json) and no benchmark"),
        (["empty"], "empty: no run (metrics.json)"),
        (["run", "--scores", "s.csv"], "--scores goes with the folder of a model"),
        (["run", "--images", "x"], "--images goes with --scores"),
        (["mine", "--heatmaps", "x"], "--heatmaps goes with a run or --scores"),
        (["run", "--heatmaps", "empty"], "empty: holds no heatmap of these images (such as 0.png)"),
        (["run", "-o", "file/page.html"], "file: not a folder that can be written to"),
        (["mine", "--scores", "absent.csv"], "absent.csv: cannot be read"),
        (["mine", "--scores", "kaggle.csv"], "kaggle.csv: no column 'path'"),
        (["mine", "--scores", "cut.csv"], "cut.csv: row 2 is broken or short"),
        (["mine", "--scores", "words.csv"], "words.csv: cluster should be whole numbers >= 0"),
        (["mine", "--scores", "run/scores.csv", "--images", "others"], "others: none of its"),
    ],
)
def test_what_is_refused(clad, run, mine, mixed, as_pngs, tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    as_pngs(mixed[:2], tmp_path / "others")
    Path("kaggle.csv").write_text("ID,score\n0,1.5\n")
    Path("cut.csv").write_text("path,score,cluster\na,1.5,0\nb,2.")
    Path("words.csv").write_text("path,score,cluster\na,1.5,x\n")
    refused(clad("report", *words), said)
    assert not Path("report.html").exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("metrics.json", b'{"dataset": "dig', "not the metrics of a run, or cut off"),
        ("metrics.json", b"[1]", "not the metrics of a run"),
        ("scores.csv", b"", "scores.csv: holds no scores"),
        ("scores.csv", b"path,score,cluster\na,1,0\n", "1 rows, but metrics.json says 40"),
        ("model/manifest.json", b"{}", "not a manifest of a CLAD model"),
        ("exhibits/manifest.json", b"{", "not a manifest"),
    ],
)
def test_a_damaged_run(clad, run, file, content, said):
    (run / file).write_bytes(content)
    refused(clad("report", "run"), said)
    assert not Path("report.html").exists()


def test_an_old_run_has_a_page_without_what_it_did_not_keep(clad, run, detector):
    shutil.rmtree(run / "exhibits")
    shutil.rmtree(run / "model")
    detector.save(run / "model")
    result = clad("report", "run")
    assert result.exit_code == 0, result.output
    for what in ("thumbnails", "gallery", "training curves"):
        assert f"no {what} known; the page is without" in result.stderr
    data = data_of("report.html")
    assert data["sprites"] == {}
    assert data["map"] is None


def test_a_benchmark_without_a_finished_cell(clad, bench):
    text = (bench / "results.jsonl").read_text().splitlines()[-1]
    (bench / "results.jsonl").write_text(text + "\n")
    refused(clad("report", "bench"), "no finished cells among the results")


def test_missing_trackers_show_before_training(clad, untrained, monkeypatch):
    from clad.report import trackers

    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    refused(clad("run", "digits", "--tensorboard", "board"), "pip install 'clad[tensorboard]'")
    refused(clad("run", "digits", "--mlflow"), "pip install 'clad[mlflow]'")
