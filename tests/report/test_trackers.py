"""What TensorBoard and MLflow get of a run, read back with their own readers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from clad import exhibits
from clad.errors import MissingExtraError
from clad.report import trackers


@pytest.fixture
def run(run_copy, detector):
    """With a picture and a configuration."""
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(run_copy / "roc.png")
    (run_copy / "config.yaml").write_text(detector.config_.to_yaml())
    return run_copy


def test_tensorboard_reads_it_back(run, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # the second takes the first one's place
        trackers.to_tensorboard(run, tmp_path / "board")
    events = EventAccumulator(str(tmp_path / "board" / "run"))
    events.Reload()
    for stage, curve in exhibits.read_curves(run / "model").items():
        found = events.Scalars(f"loss/{stage}")
        assert [each.step for each in found] == list(range(1, len(curve) + 1))
        assert [each.value for each in found] == pytest.approx(curve)
    assert events.Scalars("final/seconds/autoencoder")[0].value == 1.25
    assert events.Scalars("final/n_test")[0].value == 300
    (picture,) = events.Images("roc")
    assert (picture.width, picture.height) == (4, 4)
    assert "configuration/text_summary" in events.Tags()["tensors"]


def test_mlflow_reads_it_back(run, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "digits")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    trackers.to_mlflow(run)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("digits")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.params["dec.clusters"] == "3"
    assert found.data.metrics["n_test"] == 300
    for stage, curve in exhibits.read_curves(run / "model").items():
        steps = client.get_metric_history(found.info.run_id, f"loss/{stage}")
        assert [each.value for each in steps] == pytest.approx(curve)
    names = {each.path for each in client.list_artifacts(found.info.run_id)}
    assert names == {"roc.png", "config.yaml", "metrics.json"}


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_an_absent_extra_is_named(tracker, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'clad\[{tracker}\]'"):
        trackers.require(tracker)


def test_numbers_are_flat(tmp_path):
    (tmp_path / "metrics.json").write_text(
        json.dumps({"auroc": 0.5, "seconds": {"dec": 2}, "name": "x", "interval": [1, 2]})
    )
    assert trackers._numbers(tmp_path) == {"auroc": 0.5, "seconds/dec": 2.0}
