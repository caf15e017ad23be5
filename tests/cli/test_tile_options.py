"""``clad fit --tile`` and ``clad score --heatmaps``: large images through the real command line."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from clad import tiled
from clad.cli import main
from clad.data.boards import board

tifffile = pytest.importorskip("tifffile")
SETTINGS = [
    *("--set", "tiles.samples=150", "--set", "local.crops=100", "--set", "local.width=8"),
    *("--set", "local.epochs=8"),
    *("--set", "autoencoder.epochs=1", "--set", "autoencoder.batch_size=64"),
    *("--set", "dec.clusters=3", "--set", "dec.epochs=1", "--set", "dec.restarts=1"),
    *("--set", "classifier.epochs=1", "--set", "classifier.width=16"),
    *("--set", "classifier.batch_size=64", "--set", "threshold.alpha=0.1"),
]


def invoke(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def clad(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield invoke
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """24 boards: tiled, stripped and compressed TIFFs and PNGs of two sizes."""
    folder = tmp_path_factory.mktemp("good")
    forms = [{"tile": (32, 32)}, {"rowsperstrip": 20, "compression": "zlib"}, {}]
    for i in range(24):
        image = board(128 if i % 2 else 140, i)
        if i % 4 == 3:
            Image.fromarray(image).save(folder / f"{i:02}.png")
        else:
            tifffile.imwrite(folder / f"{i:02}.tif", image, **forms[i % 4])
    return folder


@pytest.fixture(scope="module")
def model(good, tmp_path_factory):
    """A model that the command fitted."""
    folder = tmp_path_factory.mktemp("fitted") / "model"
    before = signal.getsignal(signal.SIGTERM)
    done = invoke("fit", good, "-o", folder, "--tile", 32, "--overlap", 0.5, *SETTINGS)
    signal.signal(signal.SIGTERM, before)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def new(tmp_path):
    """Two normal boards and one with a scratched corner, of three sizes, in the folder ``new``."""
    folder = tmp_path / "new"
    folder.mkdir()
    scratched = board(160, 72)
    scratched[100:140, 100:140] = np.random.default_rng(0).choice([0, 255], (40, 40))
    for name, image in {
        "a.tif": board(100, 70),
        "b.tif": board(200, 71),
        "defect.tif": scratched,
    }.items():
        tifffile.imwrite(folder / name, image, rowsperstrip=16, compression="zlib")
    return folder


def rows_of(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_fit_score_info(clad, model, new):
    shown = json.loads(clad("info", model, "--json").stdout)
    assert shown["shape"] == [1, 32, 32]
    assert (shown["n_fit"], shown["n_calibration"]) == (12, 12)
    assert shown["config"]["tiles"]["overlap"] == 0.5
    tifffile.imwrite(new / "whole.tif", board(160, 72))
    scored = clad("score", model, new, "-o", "s.csv")
    assert scored.exit_code == 0, scored.output
    assert "10% false alarms promised" in scored.stdout
    rows = rows_of("s.csv")
    assert [row["path"] for row in rows] == ["a.tif", "b.tif", "defect.tif", "whole.tif"]
    assert [(row["height"], row["width"]) for row in rows] == [
        *(("100", "100"), ("200", "200"), ("160", "160"), ("160", "160")),
    ]
    assert {row["mode"] for row in rows} == {"L"}
    assert float(rows[2]["score"]) > float(rows[3]["score"]), "the same board, unscratched"


def test_heatmaps_and_boxes(clad, model, new):
    done = clad("threshold", model, "--value", "-50", "--quiet")
    assert done.exit_code == 0
    scored = clad("score", model, new, "-o", "s.csv", "--heatmaps", "maps/of")
    clad("threshold", model, "--method", "conformal")
    assert scored.exit_code == 0, scored.output
    assert "pictures and boxes in maps/of" in scored.stdout
    names = ["a.png", "b.png", "defect.png"]
    assert sorted(p.name for p in Path("maps/of").iterdir()) == sorted(
        [*names, "boxes.csv", "boxes.json"]
    )
    with Image.open(Path("maps/of") / names[1]) as picture:
        assert picture.size == (400, 400)
    document = json.loads(Path("maps/of/boxes.json").read_text())
    assert document["threshold"] == -50
    rows = rows_of("maps/of/boxes.csv")
    assert {row["path"] for row in rows} == {"a.tif", "b.tif", "defect.tif"}
    for row in rows:
        side = {"a.tif": 100, "b.tif": 200, "defect.tif": 160}[row["path"]]
        assert 0 <= int(row["left"]) < int(row["right"]) <= side
        assert 0 <= int(row["top"]) < int(row["bottom"]) <= side
    highest = {row["path"]: float(row["score"]) for row in reversed(rows)}
    scores = {row["path"]: float(row["score"]) for row in rows_of("s.csv")}
    assert highest == pytest.approx(scores), "the first box of an image has its score"


def test_heatmaps_of_small_images_are_attributions(clad, normals, mixed, set_tiny):
    np.save("good.npy", normals[:150])
    np.save("new.npy", mixed[:3])
    assert clad("fit", "good.npy", "-o", "small", *set_tiny).exit_code == 0
    done = clad("score", "small", "new.npy", "-o", "s.csv", "--heatmaps", "maps")
    assert done.exit_code == 0, done.output
    document = json.loads(Path("maps/boxes.json").read_text())
    assert [entry["kind"] for entry in document["images"]] == ["attribution"] * 3
    assert (Path("maps") / "2.png").is_file()


def test_calibrated_anew_on_other_images(clad, model, tmp_path):
    (tmp_path / "more").mkdir()
    for i in range(10):
        tifffile.imwrite(tmp_path / "more" / f"{i}.tif", board(150, 500 + i))
    before = json.loads(clad("info", model, "--json").stdout)
    done = clad("threshold", model, "--calibrate", "more", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["guarantee"]["n"] == 10
    assert json.loads(clad("info", model, "--json").stdout)["shape"] == before["shape"]
    assert clad("review", model, "-o", "page.html").exit_code == 0


def test_scores_are_monitored(clad, model, good):
    assert clad("score", model, good, "-o", "s.csv", "--quiet").exit_code == 0
    watched = clad("monitor", model, "s.csv", "--json")
    assert watched.exit_code in (0, 1, 3), watched.output


def test_auto(clad, good):
    done = clad("fit", good, "-o", "auto", "--tile", "auto", *SETTINGS, "--json", "--quiet")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["shape"] == [1, 64, 64]


def test_an_interrupted_fit_goes_on(clad, good, model, monkeypatch):
    command = ("fit", good, "-o", "mine", "--tile", 32, "--overlap", 0.5, *SETTINGS)

    def cut_off(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tiled.TiledModel, "fit", cut_off)
        assert clad(*command).exit_code == 130
    again = clad(*command)
    assert again.exit_code == 0
    assert "classifier: resumed after epoch 1 of 1" in again.stderr
    (first,), (other,) = (Path(f).glob("local-*.safetensors") for f in ("mine", model))
    assert first.name == other.name


# -- wrong input ----------------------------------------------------------------------------------


@pytest.fixture
def spoilt(new):
    """Every fault beside the good images, and what is said of each."""
    five = np.random.default_rng(0).integers(0, 256, (90, 90, 5), dtype=np.uint8)
    tifffile.imwrite(new / "five.tif", five, photometric="minisblack", planarconfig="contig")
    Image.fromarray(five[..., :3]).save(new / "colour.png")
    Image.fromarray(board(100, 3)[:20]).save(new / "low.png")
    (new / "empty.tif").write_bytes(b"")
    content = bytearray((new / "b.tif").read_bytes())
    with tifffile.TiffFile(new / "b.tif") as file:
        offset = file.pages[0].dataoffsets[7]
    content[offset : offset + 40] = bytes(40)
    (new / "corrupt.tif").write_bytes(content)
    (new / "cut.tif").write_bytes((new / "b.tif").read_bytes()[:-2000])
    return {
        "colour.png": "3 channels, where 1 are expected",
        "corrupt.tif": "strip or tile 7 is damaged",
        "cut.tif": "",  # which strip depends on the compression
        "empty.tif": "empty file",
        "five.tif": "5 channels, where 1 are expected",
        "low.png": "20x100 is smaller than a tile of 32 pixels",
    }


def test_bad_images_are_all_named(clad, model, new, spoilt):
    done = clad("score", model, new, "-o", "s.csv")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "6 of 9 images cannot be used: " in done.stderr
    for name, reason in spoilt.items():
        assert f"{name} ({reason}" in done.stderr
    assert not Path("s.csv").exists()


def test_the_others_are_scored_and_the_bad_ones_listed(clad, model, new, spoilt):
    done = clad("score", model, new, "-o", "s.csv", "--on-bad", "skip", "--heatmaps", "maps")
    assert done.exit_code == 0, done.output
    assert "6 unreadable files skipped, listed in s.skipped.csv" in done.stderr
    assert [row["path"] for row in rows_of("s.csv")] == ["a.tif", "b.tif", "defect.tif"]
    assert len(list(Path("maps").glob("*.png"))) == 3
    listed = {row["path"]: row["reason"] for row in rows_of("s.skipped.csv")}
    assert set(listed) == set(spoilt)
    for name, reason in spoilt.items():
        assert reason in listed[name]


def test_an_image_over_the_limit_that_is_cut_off(clad, model, tmp_path, monkeypatch):
    pytest.importorskip("pyvips")
    monkeypatch.setattr("clad.data.decode.MAX_PIXELS", 5000)
    (tmp_path / "large").mkdir()
    Image.fromarray(board(128, 5)).save(tmp_path / "large" / "whole.png")
    content = (tmp_path / "large" / "whole.png").read_bytes()
    (tmp_path / "large" / "cut.png").write_bytes(content[: len(content) // 2])
    done = clad("score", model, "large", "-o", "s.csv", "--on-bad", "skip")
    assert done.exit_code == 0, done.output
    assert [row["path"] for row in rows_of("s.csv")] == ["whole.png"]
    (listed,) = rows_of("s.skipped.csv")
    assert listed["path"] == "cut.png"
    assert "truncated or damaged" in listed["reason"]


def test_fit_skips_bad_images_where_asked(clad, good, tmp_path):
    names = [str(path) for path in sorted(good.iterdir())]
    Image.fromarray(board(64, 1)[:20]).save(tmp_path / "low.png")
    Path("list.txt").write_text("\n".join([*names, "low.png"]))
    refused = clad("fit", "list.txt", "-o", "mine", "--tile", 32, *SETTINGS)
    assert refused.exit_code == 2
    assert "low.png (20x64 is smaller than a tile of 32 pixels" in refused.stderr
    done = clad("fit", "list.txt", "-o", "mine", "--tile", 32, *SETTINGS, "--on-bad", "skip")
    assert done.exit_code == 0, done.output
    assert json.loads(clad("info", "mine", "--json").stdout)["skipped"] == ["low.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tile", "141"], "128x128 is smaller than a tile of 141 pixels"),
        (["--tile", "4"], "tiles.size = 4"),
        (["--tile", "large"], "tiles.size = 'large'"),
        (["--tile", "32", "--overlap", "1"], "tiles.overlap = 1.0"),
        (["--tile", "32", "--set", "images.size=[8, 8]"], "exclude each other"),
        (["--tile", "32", "--set", "tiles.overlpa=0.1"], "did you mean 'overlap'?"),
        (["--tile", "32", "--set", "tiles.regions=9"], "tiles.regions=9 should be <= 4"),
        (["--tile", "32", "--set", "threshold.alpha=0.01"], "at least 99 are needed"),
    ],
)
def test_settings_that_cannot_be(clad, good, options, message, untrained):
    done = clad("fit", good, "-o", "mine", *SETTINGS, *options)
    assert done.exit_code == 2, done.output
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert message in done.stderr


def test_tiles_are_for_fit(clad):
    done = clad("run", "digits", "--set", "tiles.size=8", "--out", "run")
    assert done.exit_code == 2
    assert "tiles.size is for clad fit and clad score" in done.stderr


def test_a_report_of_large_images(clad, model, new):
    assert clad("score", model, new, "-o", "s.csv", "--heatmaps", "maps").exit_code == 0
    done = clad(
        *("report", model, "--scores", "s.csv", "--images", new, "--heatmaps", "maps"),
        *("-o", "page.html"),
    )
    assert done.exit_code == 0, done.output
    page = Path("page.html").read_text(encoding="utf-8")
    for name in ("a.tif", "b.tif", "defect.tif"):
        assert name in page
    # 13 tiles of each of 12 images are the least that makes 150
    assert "156 tiles fitted on, " in page
    assert " images held out" in page
