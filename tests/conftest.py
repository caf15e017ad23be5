"""The digits 0, 3 and 8, mixed and unlabelled, and one tiny detector of them for the session."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY = {
    "images": {"size": [12, 12]},
    "calibration": {"minimum": 60},
    "autoencoder": {"epochs": 1, "batch_size": 64},
    "dec": {"clusters": 3, "epochs": 1, "restarts": 2},
    "classifier": {"epochs": 1, "width": 16, "batch_size": 64},
}


@pytest.fixture
def tiny():
    """A configuration that trains in a second."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def set_tiny():
    """The same as arguments of ``clad run`` and ``clad fit``."""
    return [
        argument
        for section, keys in TINY.items()
        for key, value in keys.items()
        for argument in ("--set", f"{section}.{key}={value}")
    ]


@pytest.fixture(scope="session")
def task():
    from clad.data.benchmarks import load
    from clad.data.scenarios import scenario
    from clad.data.splits import make_task

    digits = load("digits")
    return make_task(digits, scenario("digits", "CUR", digits.classes))


@pytest.fixture(scope="session")
def normals(task):
    """uint8 (321, 8, 8): what the detector is fitted on."""
    return task.train.read()[:, 0]


@pytest.fixture(scope="session")
def mixed(task):
    """uint8 (30, 8, 8): normal and anomalous digits that no detector has seen."""
    return task.test.read(slice(0, 30))[:, 0]


@pytest.fixture(scope="session")
def detector(normals):
    """Fitted on ``normals``; shared, so look and do not touch."""
    from clad import CLAD

    return CLAD(copy.deepcopy(TINY)).fit(normals)


@pytest.fixture(scope="session")
def model(detector, tmp_path_factory):
    """The folder it is saved in; read only."""
    folder = tmp_path_factory.mktemp("detector") / "model"
    detector.save(folder)
    return folder


@pytest.fixture(scope="session")
def as_pngs():
    """Write uint8 (N, H, W) images into a folder; returns their paths, in order."""

    def write(images: np.ndarray, folder: Path) -> list[Path]:
        folder.mkdir(parents=True)
        paths = [folder / f"{i:04}.png" for i in range(len(images))]
        for image, path in zip(images, paths, strict=True):
            Image.fromarray(image).save(path)
        return paths

    return write


@pytest.fixture
def untrained(monkeypatch):
    """From here on the first stage refuses to run: what comes before it is all there is."""
    from clad.stages.autoencoder import Autoencoder

    def refuse(*_args, **_kwargs):
        raise AssertionError("a stage was trained")

    monkeypatch.setattr(Autoencoder, "fit", refuse)
