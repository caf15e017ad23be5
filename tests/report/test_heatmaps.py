"""Heatmaps on the page: the close-up where there is one, the whole picture elsewhere."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from clad.errors import DataError
from clad.report.heatmaps import read_heatmaps


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "closeups").mkdir()
    for name, colour in {"a": "blue", "b": "blue", "closeups/a": "red"}.items():
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.png")
    return tmp_path


def colours(found):
    """The mean colour of each thumbnail."""
    with Image.open(io.BytesIO(found.thumbnails.sheets[0].tobytes())) as sheet:
        pixels = np.asarray(sheet)[:48]
    cells = [pixels[:, 48 * i : 48 * (i + 1)] for i in range(len(found.names))]
    return [("red", "green", "blue")[cell.mean(axis=(0, 1)).argmax()] for cell in cells]


def list_boxes(folder, *close_ups):
    images = [{"path": "a.tif", "close_up": file} for file in close_ups]
    document = {"images": [*images, {"path": "b.tif"}]}
    (folder / "boxes.json").write_text(json.dumps(document))


def test_close_ups_come_first(folder):
    assert colours(read_heatmaps(folder, ["a.tif", "b.tif"])) == ["blue", "blue"]
    list_boxes(folder, "closeups/a.png")
    found = read_heatmaps(folder, ["a.tif", "b.tif", "c.tif"])
    assert found.names == ["a.tif", "b.tif"]
    assert colours(found) == ["red", "blue"]


@pytest.mark.parametrize("file", ["gone.png", "../outside.png", "/etc/passwd"])
def test_a_close_up_that_is_not_there_or_outside_is_not_taken(folder, file):
    Image.new("RGB", (64, 64), "red").save(folder.parent / "outside.png")
    list_boxes(folder, file)
    assert colours(read_heatmaps(folder, ["a.tif", "b.tif"])) == ["blue", "blue"]


@pytest.mark.parametrize("text", ["{", "[]", '{"images": 3}', '{"images": [{"close_up": 1}]}'])
def test_a_damaged_list_of_boxes_is_named(folder, text):
    (folder / "boxes.json").write_text(text)
    with pytest.raises(DataError, match=r"boxes\.json: not as clad score --heatmaps writes it"):
        read_heatmaps(folder, ["a.tif"])
