"""``clad fit``, ``clad score`` and ``clad info``: the user's own images, good and bad."""

from __future__ import annotations

import csv
import json
import os
import signal
import struct
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from clad.cli import main
from clad.data import inputs
from clad.runtime import Runtime
from clad.stages.classifier import Classifier

COLUMNS = [
    *("path", "score", "p_value", "anomaly", "cluster", "confidence"),
    *("brightness", "width", "height", "mode"),
]


@pytest.fixture
def clad(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield lambda *words: CliRunner().invoke(main, [str(word) for word in words])
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def images(mixed, as_pngs, tmp_path):
    """The folder ``images`` of 30 PNGs."""
    as_pngs(mixed, tmp_path / "images")
    return tmp_path / "images"


def rows_of(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores_of(path):
    return [float(row["score"]) for row in rows_of(path)]


def weights(folder):
    """Its files, named by their content, but for the thumbnails that only the command keeps."""
    names = (path.name for path in Path(folder).glob("*.safetensors"))
    return sorted(name for name in names if not name.startswith(("review", "exhibits")))


# -- fit ------------------------------------------------------------------------------------------


def test_fit_then_score_then_info(clad, normals, images, as_pngs, tmp_path, set_tiny, model):
    as_pngs(normals, tmp_path / "good")
    fitted = clad("fit", "good", "-o", "mine", *set_tiny)
    assert fitted.exit_code == 0, fitted.output
    first, second = fitted.stdout.splitlines()
    assert first.startswith("threshold ")
    assert "5% false alarms promised" in first
    assert second == "written to mine; next: clad score mine IMAGES -o scores.csv"
    assert weights("mine") == weights(model), "Python and the command learn the same"
    assert not Path("mine/checkpoints").exists()

    scored = clad("score", "mine", images, "-o", "new/scores.csv")
    assert scored.exit_code == 0, scored.output
    assert "of 30 images flagged" in scored.stdout
    assert list(rows_of("new/scores.csv")[0]) == COLUMNS

    shown = clad("info", "mine")
    assert shown.exit_code == 0
    for line in (
        "shape: [1, 12, 12]",
        "clusters: 3",
        "skipped: []",
        f"device: {Runtime.choose().device}",
    ):
        assert line in shown.stdout


@pytest.mark.parametrize("kind", ["npy", "zip", "txt"])
def test_fit_takes_what_score_takes(clad, normals, as_pngs, tmp_path, set_tiny, model, kind):
    paths = as_pngs(normals, tmp_path / "good")
    if kind == "npy":
        np.save("good.npy", normals)
    elif kind == "zip":
        with zipfile.ZipFile("good.zip", "w") as archive:
            for path in paths:
                archive.write(path, path.name)
    else:
        Path("good.txt").write_text("\n".join(f"good/{path.name}" for path in paths))
    result = clad("fit", f"good.{kind}", "-o", "mine", *set_tiny, "--quiet", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert weights("mine") == weights(model)
    said = json.loads(result.stdout)
    assert said["model"] == "mine"
    assert said["n_fit"] + said["n_calibration"] == len(normals)
    assert said["config"]["dec"]["clusters"] == 3


def test_quiet_fit_says_nothing(clad, normals, set_tiny):
    np.save("good.npy", normals[:150])
    result = clad("fit", "good.npy", "-o", "mine", *set_tiny, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_fit_skips_bad_files_where_asked(clad, normals, as_pngs, tmp_path, set_tiny):
    as_pngs(normals[:150], tmp_path / "good")
    (tmp_path / "good" / "empty.png").write_bytes(b"")
    refused = clad("fit", "good", "-o", "mine", *set_tiny)
    assert refused.exit_code == 2
    assert "1 of 151 images cannot be used: empty.png (empty file)" in refused.stderr
    result = clad("fit", "good", "-o", "mine", *set_tiny, "--on-bad", "skip")
    assert result.exit_code == 0, result.output
    assert "1 unreadable files skipped" in result.stderr
    assert json.loads(clad("info", "mine", "--json").stdout)["skipped"] == ["empty.png"]


def test_an_interrupted_fit_goes_on(clad, normals, set_tiny, monkeypatch, model):
    np.save("good.npy", normals)

    def cut_off(*_args, **_kwargs):
        raise KeyboardInterrupt

    command = ("fit", "good.npy", "-o", "mine", *set_tiny)
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "fit", cut_off)
        assert clad(*command).exit_code == 130
    assert clad("info", "mine").exit_code == 2, "no model yet"
    again = clad(*command)
    assert again.exit_code == 0
    assert "autoencoder: resumed after epoch 1 of 1" in again.stderr
    assert weights("mine") == weights(model)


def test_a_failed_fit_keeps_the_model_that_was_there(clad, normals, set_tiny):
    np.save("good.npy", normals[:150])
    np.save("flat.npy", np.full((50, 8, 8), 9, np.uint8))
    clad("fit", "good.npy", "-o", "mine", *set_tiny)
    before = weights("mine")
    result = clad("fit", "flat.npy", "-o", "mine", *set_tiny)
    assert result.exit_code == 2
    assert "no variation: every image is one flat colour (50 images)" in result.stderr
    assert weights("mine") == before
    assert clad("info", "mine").exit_code == 0


# -- score ----------------------------------------------------------------------------------------


def test_every_form_of_the_answer_says_the_same(clad, model, images, detector, mixed):
    parquet = pytest.importorskip("pyarrow.parquet")
    for ending in ("csv", "jsonl", "parquet"):
        result = clad("score", model, images, "-o", f"s.{ending}", "--quiet")
        assert (result.exit_code, result.output) == (0, ""), result.output
    lines = [json.loads(line) for line in Path("s.jsonl").read_text().splitlines()]
    assert list(lines[0]) == COLUMNS
    assert parquet.read_table("s.parquet").to_pylist() == lines
    assert [{k: str(v) for k, v in line.items()} for line in lines] == rows_of("s.csv")
    answer = detector.score_images(mixed)
    assert [line["path"] for line in lines] == [f"{i:04}.png" for i in range(30)]
    for column in COLUMNS[1:6]:
        assert [line[column] for line in lines] == getattr(answer, column).tolist()


def test_every_form_of_the_images_gets_the_same_scores(clad, model, images, mixed, detector):
    np.save("images.npy", mixed)
    np.save("floats.npy", mixed[:, None] / 255)
    with zipfile.ZipFile("images.zip", "w") as archive:
        for path in sorted(images.iterdir()):
            archive.write(path, f"sub/{path.name}")
    Path("list.txt").write_text("\n".join(f"images/{i:04}.png" for i in range(30)))
    expected = detector.decision_function(mixed).tolist()
    names = {}
    for source in ("images.npy", "floats.npy", "images.zip", "list.txt"):
        result = clad("score", model, source, "-o", "s.csv")
        assert result.exit_code == 0, result.output
        assert scores_of("s.csv") == expected
        names[source] = rows_of("s.csv")[29]["path"]
    assert names == {
        "images.npy": "29",
        "floats.npy": "29",
        "images.zip": "sub/0029.png",
        "list.txt": "images/0029.png",
    }


def test_one_image(clad, model, images, mixed, detector):
    result = clad("score", model, images / "0003.png", "-o", "s.csv", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["images"] == 1
    expected = detector.decision_function(mixed[3:4])
    np.testing.assert_array_equal(scores_of("s.csv"), expected)


def bomb():
    """A PNG of 30,000 x 30,000 black pixels in a few hundred bytes (its data is cut short)."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def cut(kind):
    def write(path):
        rng = np.random.default_rng(0)
        Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).save(path, kind)
        path.write_bytes(path.read_bytes()[:-300])

    return write


def animation(path):
    frames = [Image.new("L", (8, 8), level) for level in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


BAD = {
    "cut.png": (cut("PNG"), "truncated or damaged"),
    "cut.jpg": (cut("JPEG"), "truncated or damaged"),
    "empty.png": (lambda path: path.write_bytes(b""), "empty file"),
    "words.png": (lambda path: path.write_text("words"), "not an image in a known format"),
    "bomb.png": (lambda path: path.write_bytes(bomb()), "over the limit of 64000000 pixels"),
    "moving.gif": (animation, "3 frames"),
    "pages.tif": (animation, "3 frames"),
    "dot.png": (lambda path: Image.new("L", (1, 1)).save(path), "1x1 is under the minimum of 4x4"),
}


@pytest.fixture
def spoilt(images):
    for name, (write, _) in BAD.items():
        write(images / name)
    return images


def test_bad_files_are_all_named_in_one_line(clad, model, spoilt):
    result = clad("score", model, spoilt, "-o", "s.csv")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "8 of 38 images cannot be used: " in result.stderr
    for name, (_, reason) in BAD.items():
        assert f"{name} ({reason}" in result.stderr.replace("decompression bomb: ", "")
    assert not Path("s.csv").exists()


def test_bad_files_are_skipped_counted_and_listed(clad, model, spoilt, mixed, detector):
    result = clad("score", model, spoilt, "-o", "s.csv", "--on-bad", "skip", "--json")
    assert result.exit_code == 0, result.output
    assert "8 unreadable files skipped, listed in s.skipped.csv" in result.stderr
    said = json.loads(result.stdout)
    assert (said["images"], said["skipped"]) == (30, 8)
    assert scores_of("s.csv") == detector.decision_function(mixed).tolist()
    skipped = {row["path"]: row["reason"] for row in rows_of("s.skipped.csv")}
    assert set(skipped) == set(BAD)
    for name, (_, reason) in BAD.items():
        assert reason in skipped[name]


def test_parts_change_nothing(clad, model, spoilt, monkeypatch):
    """Two images at a time, so that some parts hold bad files alone."""
    whole = clad("score", model, spoilt, "-o", "whole.csv", "--on-bad", "skip")
    monkeypatch.setattr(inputs, "read_parts", partial(inputs.read_parts, part=2))
    parts = clad("score", model, spoilt, "-o", "parts.csv", "--on-bad", "skip")
    assert whole.exit_code == parts.exit_code == 0
    assert rows_of("parts.skipped.csv") == rows_of("whole.skipped.csv")
    one, other = rows_of("whole.csv"), rows_of("parts.csv")
    assert [row["path"] for row in one] == [row["path"] for row in other]
    assert [row["anomaly"] for row in one] == [row["anomaly"] for row in other]


def as_16_bit(image, path):
    Image.fromarray(image.astype(np.uint16) * 257).save(path)


def as_rgba(image, path):
    Image.fromarray(image).convert("RGBA").save(path)


def as_palette(image, path):
    Image.fromarray(image).convert("P").save(path)


def turned(image, path):
    """Stored a quarter turn to the left; the tag says: turn it right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(image))).save(path, exif=exif)


@pytest.mark.parametrize("write", [as_16_bit, as_rgba, as_palette, turned])
def test_odd_formats_get_the_scores_of_plain_ones(clad, model, mixed, detector, tmp_path, write):
    (tmp_path / "odd").mkdir()
    for i, image in enumerate(mixed):
        write(image, tmp_path / "odd" / f"{i:02}.png")
    result = clad("score", model, "odd", "-o", "s.csv")
    assert result.exit_code == 0, result.output
    assert scores_of("s.csv") == detector.decision_function(mixed).tolist()


def test_mixed_sizes_and_colours_are_resized(clad, model, images):
    Image.new("CMYK", (50, 20), (9, 9, 9, 9)).save(images / "wide.tif")
    Image.new("RGB", (5, 500), (9, 200, 9)).save(images / "tall.png")
    result = clad("score", model, images, "-o", "s.csv", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 32


def test_a_name_of_any_bytes(clad, model, images):
    try:
        (images / "0000.png").rename(images / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes no such names")
    result = clad("score", model, images, "-o", "s.csv")
    assert result.exit_code == 0, result.output
    assert b"\ncaf\xe9.png," in Path("s.csv").read_bytes()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "nan at index (2, 3, 4); images must be finite"),
        (np.inf, "inf at index (2, 3, 4); images must be finite"),
        (7.0, "float64 values from 0.0 to 7.0 lie outside 0 to 1; rescale floats"),
    ],
)
def test_wrong_numbers_in_an_array(clad, model, mixed, value, message):
    images = mixed / 255
    images[2, 3, 4] = value
    np.save("images.npy", images)
    result = clad("score", model, "images.npy", "-o", "s.csv")
    assert result.exit_code == 2
    assert f"images.npy: {message}" in result.stderr


# -- models ---------------------------------------------------------------------------------------


def test_info_as_json(clad, model, detector):
    said = json.loads(clad("info", model, "--json").stdout)
    assert said["shape"] == [1, 12, 12]
    assert said["threshold"] == detector.threshold_
    assert said["guarantee"] == detector.guarantee_.text
    assert said["config"]["autoencoder"]["epochs"] == 1


class Trap:
    """Unpickling this writes a file."""

    def __reduce__(self):
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model/manifest.json"])
def test_a_pickle_is_never_opened(clad, images, name):
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    torch.save(Trap(), path)
    for command in (["score", path.parts[0], images, "-o", "s.csv"], ["info", path.parts[0]]):
        result = clad(*command)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"Error: {path.parts[0]}")
    assert not Path("sprung").exists()


def test_pickled_images_are_refused(clad, model):
    np.save("objects.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    torch.save(Trap(), "images.pt")
    for source in ("objects.npy", "images.pt"):
        result = clad("score", model, source, "-o", "s.csv")
        assert result.exit_code == 2
        assert source in result.stderr
    assert not Path("sprung").exists()


@pytest.mark.parametrize("part", ["classifier", "autoencoder", "calibration", "manifest"])
def test_a_flipped_bit_is_found_before_scoring(clad, detector, images, part):
    detector.save("mine")
    (path,) = Path("mine").glob(f"{part}*")
    content = bytearray(path.read_bytes())
    content[-20] ^= 4
    path.write_bytes(content)
    result = clad("score", "mine", images, "-o", "s.csv")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert path.name in result.stderr
    assert not Path("s.csv").exists()


def test_a_checkpoint_folder_given_as_a_model(clad, images, normals, set_tiny, monkeypatch):
    np.save("good.npy", normals[:150])

    def cut_off(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "fit", cut_off)
    clad("fit", "good.npy", "-o", "mine", *set_tiny)
    result = clad("score", "mine/checkpoints/dec", images, "-o", "s.csv")
    assert result.exit_code == 2, repr(result.exception)
    assert result.stderr.startswith("Error: mine/checkpoints/dec")


def test_the_first_frame_of_an_animation_where_asked(clad, normals, model, tmp_path):
    frames = [Image.fromarray(image) for image in normals[:2]]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(normals[0]).save("still.gif")
    Path("list.txt").write_text("moving.gif\nstill.gif\n", encoding="utf-8")
    refused = clad("score", model, "list.txt", "-o", "s.csv")
    assert refused.exit_code == 2
    assert "moving.gif" in refused.stderr
    assert clad("score", model, "list.txt", "-o", "s.csv", "--first-frame").exit_code == 0
    first, second = (line.split(",")[1:] for line in Path("s.csv").read_text().splitlines()[1:])
    assert first == second


def test_a_folder_as_the_score_file_is_refused_and_an_old_list_of_skipped_goes(
    clad, images, model, tmp_path
):
    Path("taken.csv").mkdir()
    refused = clad("score", model, images, "-o", "taken.csv")
    assert refused.exit_code == 2
    assert "taken.csv: is a folder" in refused.stderr
    Path("s.skipped.csv").write_text("path,reason\n", encoding="utf-8")
    assert clad("score", model, images, "-o", "s.csv").exit_code == 0
    assert not Path("s.skipped.csv").exists()
