"""A benchmark of the user's own: a YAML file that names training images, test images and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad.data.inputs import as_image_set
from clad.data.labelled import Benchmark, Labelled
from clad.data.scenarios import Scenario, known
from clad.errors import DataError

KEYS = ("name", "train", "test", "labels")
CLASSES = ("normal", "anomalous")


def read_own(path: Path) -> tuple[Benchmark, Scenario]:
    """The benchmark in a YAML file, and its one scenario.

    ``train``: normal images, ``test``: images, each a ``.npy``, folder, zip or text file of paths
    relative to the file; ``labels``: a ``.npy`` or a text file with a line a test image, 0 normal
    and 1 anomalous; ``name``: as tables should call it (default: the file's).

    Raises DataError naming the file and the key that is missing, unknown or does not fit.
    """
    values = _values(path)
    train, _ = as_image_set(path.parent / values["train"])
    test, _ = as_image_set(
        path.parent / values["test"], size=train.shape[1:], channels=train.shape[0]
    )
    labels = _labels(path.parent / values["labels"], len(test), f"{path}: labels")
    name = values.get("name", path.stem)
    normal = Labelled(train, np.zeros(len(train), np.int64), CLASSES)
    benchmark = Benchmark(name, CLASSES, normal, Labelled(test, labels, CLASSES))
    return benchmark, Scenario(name, "all", CLASSES[:1], CLASSES[1:])


def _values(path: Path) -> dict[str, str]:
    import yaml

    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise DataError(f"{path}: should be a mapping with the keys {', '.join(KEYS)}")
    for key, value in values.items():
        known(str(key), KEYS, f"key in {path}")
        if not isinstance(value, str):
            raise DataError(f"{path}: {key} should be text, got {value!r}")
    for key in ("train", "test", "labels"):
        if key not in values:
            raise DataError(f"{path}: the key {key!r} is missing")
    return values


def _labels(path: Path, n: int, what: str) -> NDArray[np.int64]:
    """0 and 1, both of them, one a test image."""
    try:
        if path.suffix.lower() == ".npy":
            found = np.load(path, allow_pickle=False)
        else:
            found = np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (OSError, ValueError) as error:
        raise DataError(f"{what}: {path} cannot be read ({error})") from None
    if found.shape != (n,):
        raise DataError(f"{what}: {found.shape} for {n} test images")
    if not np.isin(found, (0, 1)).all() or len(np.unique(found)) < 2:
        raise DataError(f"{what}: should hold 0 (normal) and 1 (anomalous), both of them")
    return found.astype(np.int64)
