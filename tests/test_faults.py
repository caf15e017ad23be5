"""Faults and hostile files; benchmarks/robustness.py does the same by the hundred."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faults import archives, images, models

from clad import CLAD

HARNESS = Path(__file__).parent / "faults"


def harness(name, *arguments):
    done = subprocess.run(
        [sys.executable, HARNESS / f"{name}.py", *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --- killed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "points"),
    [("fit", 3), ("run", 1), pytest.param("bench", 2, marks=pytest.mark.slow)],
)
def test_killed_anywhere_it_goes_on_to_the_same_bits(command, points):
    found = harness("kill", command, "--points", points)
    assert found["failures"] == []
    assert found["identical"] == found["points"] == points


# --- the disk fills up -------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["fit", "score", "threshold", "import", "bench"])
def test_a_full_disk_loses_nothing(command):
    found = harness("writes", command, "--points", 3)
    assert found["failures"] == []
    assert found["readable"] == found["points"] == 3


# --- files of strangers ------------------------------------------------------------------------


def test_malformed_images_are_refused_by_name(tmp_path):
    files = images.malformed()
    assert len(files) == 500
    assert images.wrongly_accepted(tmp_path, files) == []


def test_odd_images_are_read_to_the_pixel(tmp_path):
    files = images.odd()
    assert len(files) == 100
    assert images.wrongly_read(tmp_path, files) == []


def test_the_judges_find_what_they_look_for(tmp_path):
    good, bad = images.odd()[0], images.malformed()[0]
    assert images.wrongly_accepted(tmp_path, [images.BadFile("fine.png", good.content)])
    assert images.wrongly_read(tmp_path, [good._replace(content=bad.content)])
    assert images.wrongly_read(tmp_path, [good._replace(pixels=255 - good.pixels)])
    turned = next(file for file in images.odd() if "turned6" in file.name)
    assert images.wrongly_read(tmp_path, [turned._replace(pixels=turned.pixels.swapaxes(1, 2))])


def test_hostile_models_are_refused_and_nothing_in_them_runs(model, tmp_path):
    sprung = tmp_path / "sprung"
    made = list(models.hostile(model, tmp_path, sprung))
    assert len(made) == 52
    assert models.wrongly_loaded(iter(made)) == []
    assert not sprung.exists()
    assert models.wrongly_loaded(iter([model])) == [f"{model}: loaded"]


def test_a_changed_byte_is_found(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    changed = models.changed_bytes(copy, 50)
    assert models.wrongly_loaded(changed) == []
    CLAD.load(copy)  # mended


def test_hostile_archives_are_refused_and_leave_nothing(tmp_path):
    assert len(archives.ATTACKS) == 30
    assert archives.wrongly_unpacked(tmp_path) == []
