"""Heatmaps and boxes: where a map is over the threshold, in pixels of the original image."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image, ImageColor

from clad.data.images import ImageSet
from clad.data.large import read_large
from clad.report import overlays
from clad.report.canvas import ANOMALY
from clad.report.overlays import Box, Heatmaps, boxes, overlay
from clad.scoremap import ScoreMap


def score_map(values, step=4, size=None):
    values = np.asarray(values, np.float32)
    return ScoreMap(values, step, size or (values.shape[0] * step, values.shape[1] * step))


def test_boxes_by_hand():
    values = np.zeros((6, 8))
    values[1, 2:4] = (3, 5)
    values[2, 4] = 2  # touches by a corner: the same region
    values[5, 7] = 9
    values[4, 0] = 1  # not over the threshold
    found = boxes(score_map(values, size=(22, 30)), 1.0)
    assert found == [
        Box(left=28, top=20, right=30, bottom=22, score=9.0),  # the last cells are cut off
        Box(left=8, top=4, right=20, bottom=12, score=5.0),
    ]


def test_no_region_no_box():
    assert boxes(score_map(np.zeros((5, 5))), 0.0) == []


def test_many_regions_keep_the_highest(monkeypatch):
    monkeypatch.setattr(overlays, "BOXES", 2)
    values = np.zeros((5, 5))
    values[::2, ::2] = np.arange(1, 10).reshape(3, 3)
    assert [box.score for box in boxes(score_map(values), 0.5)] == [9, 8]


def test_one_colour_means_one_score():
    """Under the low end nothing is tinted; the threshold has one colour whatever the image."""
    grey = np.full((1, 256, 256), 100, np.uint8)
    for other in (0.0, 50.0):
        values = np.full((64, 64), 2.0)
        values[:, 32:] = 4.0
        values[0, 0] = other
        shown = np.asarray(overlay(grey, score_map(values), 2.0, 4.0))
        assert shown[200, 60].tolist() == [100, 100, 100]
        assert shown[200, 220].tolist() == [201, 35, 35]  # 0.35 * 100 + 0.65 * (255, 0, 0)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pictures_of_any_channels(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 20, 30), dtype=np.uint8)
    found = score_map(np.ones((5, 8)), size=(20, 30))
    picture = overlay(pixels, found, 0, 1, [Box(2, 2, 9, 9, 1.0)])
    assert picture.mode == "RGB"
    assert picture.size == (270, 180), "a small image is enlarged"


def test_a_small_spot_survives_shrinking():
    values = np.zeros((512, 512))
    values[100, 200] = 10.0
    shown = np.asarray(overlay(np.zeros((1, 128, 128), np.uint8), score_map(values), 0, 10))
    assert shown[..., 0].max() > 100


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_written(tmp_path):
    images, _ = read_large([np.full((40, 60), 90, np.uint8), np.full((64, 64), 90, np.uint8)])
    drawn = Heatmaps(tmp_path, 0.0, 1.0)
    values = np.zeros((10, 15))
    values[2, 3] = 7
    drawn.add(images, 0, score_map(values))
    drawn.add(images, 1, score_map(np.zeros((16, 16))))
    drawn.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("0.png", "1.png", "boxes.csv", "boxes.json"),
    ]
    assert rows_of(tmp_path / "boxes.csv") == [
        {"path": "0", "left": "12", "top": "8", "right": "16", "bottom": "12", "score": "7.0"}
    ]
    document = json.loads((tmp_path / "boxes.json").read_text())
    assert document["threshold"] == 1.0
    assert [len(entry["boxes"]) for entry in document["images"]] == [1, 0]
    assert [entry["heatmap"] for entry in document["images"]] == ["0.png", "1.png"]
    with Image.open(tmp_path / "0.png") as picture:
        assert picture.size == (300, 200)


def test_a_large_image_has_a_close_up_of_its_highest_box(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 200, (400, 600), dtype=np.uint8)
    images, _ = read_large([pixels, pixels[:200, :300], pixels])
    drawn = Heatmaps(tmp_path, 0.0, 1.0)
    values = np.zeros((100, 150))
    values[20:23, 100] = 9  # rows 80 to 92, columns 400 to 404
    values[0, 0] = 5
    drawn.add(images, 0, score_map(values))
    drawn.add(images, 1, score_map(values[:50, 50:125]))
    drawn.add(images, 2, score_map(np.zeros((100, 150))))
    drawn.close()
    entries = json.loads((tmp_path / "boxes.json").read_text())["images"]
    assert [entry.get("close_up") for entry in entries] == ["closeups/0.png", None, None]
    with Image.open(tmp_path / "closeups" / "0.png") as picture:
        shown = np.asarray(picture)
    assert shown.shape == (256, 256, 3), "64 pixels, enlarged"
    # (80 + 92 - 64) // 2 = 54, (400 + 404 - 64) // 2 = 370; outlines only at the box
    around = pixels[54 : 54 + 64, 370 : 370 + 64]
    assert (shown[::4, ::4][:20] == around[:20, :, None]).all()
    assert (shown[4 * 26 - 3, 4 * 32] == ImageColor.getrgb(ANOMALY)).all()


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        (Box(0, 0, 4, 4, 1.0), (0, 0, 64)),  # not beyond the image
        (Box(596, 396, 600, 400, 1.0), (336, 536, 64)),
        (Box(100, 100, 150, 120, 1.0), (60, 75, 100)),  # twice as large as the box
        (Box(100, 100, 151, 120, 1.0), None),  # over a quarter of the image
    ],
)
def test_where_a_close_up_is(box, wanted):
    assert overlays._near([box], (400, 600)) == wanted


def test_attributions_have_no_boxes(tmp_path):
    drawn = Heatmaps(tmp_path, 0.0, 1.0)
    values = np.random.default_rng(0).random((8, 8)).astype(np.float32) * 100
    image = ImageSet.of(np.zeros((1, 1, 8, 8), np.uint8), ["a/b c.png"])
    drawn.add(image, 0, ScoreMap(values, 1, (8, 8), "attribution"))
    drawn.close()
    assert rows_of(tmp_path / "boxes.csv") == []
    assert (tmp_path / "a" / "b c.png").is_file()


def test_names_that_meet_or_lead_outside(tmp_path):
    names = ["a.tif", "a.png", "../a.jpg", "/etc/b.tif"]
    images = ImageSet.of(np.zeros((4, 1, 8, 8), np.uint8), names)
    drawn = Heatmaps(tmp_path, 0.0, 1.0)
    for i in range(4):
        drawn.add(images, i, score_map(np.zeros((2, 2)), size=(8, 8)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-2.png", "a-3.png", "a.png", "b.png"]
