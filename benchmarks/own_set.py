"""A data set of a benchmark's own, as ``clad bench OUT/NAME.yaml`` reads it."""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray


def write_own(
    folder: Path,
    name: str,
    train: NDArray[np.uint8],
    test: NDArray[np.uint8],
    anomalous: NDArray[np.bool_],
) -> None:
    """train.npy and test.npy, uint8 (N, ...), labels.txt of the bool (N,), and NAME.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "train.npy", train)
    np.save(folder / "test.npy", test)
    labels = "".join(f"{int(label)}\n" for label in anomalous)
    (folder / "labels.txt").write_text(labels, encoding="ascii")
    (folder / f"{name}.yaml").write_text(
        "train: train.npy\ntest: test.npy\nlabels: labels.txt\n", encoding="ascii"
    )
    click.echo(
        f"{len(train)} images to fit, {len(test)} to test, {anomalous.sum()} of them anomalous: "
        f"{folder / name}.yaml"
    )
