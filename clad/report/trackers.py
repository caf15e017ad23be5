"""A finished run handed to TensorBoard or MLflow: curves, pictures, metrics, configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from clad.artifact import make_folder
from clad.errors import CladError, MissingExtraError
from clad.exhibits import read_curves
from clad.recipes import load


def require(tracker: str) -> None:
    """Raise MissingExtraError where the tracker is not installed; before any training."""
    if find_spec(tracker) is None:
        raise MissingExtraError(f"--{tracker} needs {tracker}: pip install 'clad[{tracker}]'")


def to_tensorboard(run: Path, folder: Path) -> None:
    """Write the run's event file into ``folder``, in a folder of the run's name.

    An older one there is replaced. Raises CladError where the folder cannot be written to.
    """
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    target = make_folder(folder / run.resolve().name)
    for older in target.glob("events.out.tfevents.*"):
        older.unlink()
    with SummaryWriter(str(target)) as writer:
        for stage, curve in read_curves(run / "model").items():
            for epoch, loss in enumerate(curve, 1):
                writer.add_scalar(f"loss/{stage}", loss, epoch)
        for name, value in _numbers(run).items():
            writer.add_scalar(f"final/{name}", value)
        for path in sorted(run.glob("*.png")):
            with Image.open(path) as image:
                writer.add_image(path.stem, np.asarray(image.convert("RGB")), dataformats="HWC")
        configuration = (run / "config.yaml").read_text(encoding="utf-8")
        writer.add_text("configuration", "".join(f"    {x}\n" for x in configuration.splitlines()))


def to_mlflow(run: Path) -> None:
    """Log the run as one of MLflow's, where its own environment variables say.

    ``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME`` and the like. Raises CladError with what
    MLflow refuses.
    """
    import mlflow

    try:
        with mlflow.start_run(run_name=run.resolve().name):
            mlflow.log_params(_flat(load(run / "config.yaml").model_dump(mode="json")))
            for stage, curve in read_curves(run / "model").items():
                for epoch, loss in enumerate(curve, 1):
                    mlflow.log_metric(f"loss/{stage}", loss, step=epoch)
            mlflow.log_metrics(_numbers(run))
            for path in (*sorted(run.glob("*.png")), run / "config.yaml", run / "metrics.json"):
                mlflow.log_artifact(str(path))
    except mlflow.exceptions.MlflowException as error:
        raise CladError(f"--mlflow: {error}; the run itself is whole in {run}") from error


def _numbers(run: Path) -> dict[str, float]:
    """Every number of metrics.json, those of its sections as ``section/key``."""
    metrics = json.loads((run / "metrics.json").read_bytes())
    return {
        name: float(value)
        for name, value in _flat(metrics, "/").items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _flat(values: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = _flat(value, separator)
            flat |= {f"{key}{separator}{name}": each for name, each in inner.items()}
        else:
            flat[key] = value
    return flat
