"""Cells: every method sees the same images, a failing one is a row, a changed one another cell."""

import numpy as np
import pytest

from clad import CLAD
from clad.baselines.methods import BASELINES
from clad.baselines.principal_components import PCANeighbours
from clad.benchmark import cells
from clad.benchmark.cells import Cell, run_cell
from clad.config import build
from clad.data.benchmarks import load
from clad.data.scenarios import scenario


@pytest.fixture
def digits():
    return load("digits")


def cell_of(digits, method, config):
    return Cell(scenario("digits", "CUR", digits.classes), method, build(config))


def test_a_baseline_is_fitted_on_the_very_images_that_clad_is(digits, tiny, detector, monkeypatch):
    seen = {}

    class Spy(PCANeighbours):
        def fit(self, images, runtime):
            seen["fit"] = images.read()
            return super().fit(images, runtime)

    monkeypatch.setitem(BASELINES, "spy", Spy)
    row = run_cell(cell_of(digits, "spy", tiny), digits, progress=False)
    np.testing.assert_array_equal(seen["fit"], detector.fit_images_.read())
    assert (row["n_fit"], row["n_calibration"]) == (
        len(detector.fit_images_),
        len(detector.calibration_images_),
    )


def test_clad_in_a_cell_is_clad(digits, tiny, detector, task):
    row = run_cell(cell_of(digits, "clad", tiny), digits, progress=False)
    assert row["threshold"] == detector.threshold_
    assert row["method"] == "clad"
    assert row["error"] is None
    assert row["hardware"].endswith(("threads", "1 thread"))


def test_a_failing_cell_is_a_row_with_its_error(digits, tiny, monkeypatch, caplog):
    def fail(*_args, **_kwargs):
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr(PCANeighbours, "fit", fail)
    row = run_cell(cell_of(digits, "pca-neighbours", tiny), digits, progress=False)
    assert row["error"] == "ZeroDivisionError: by hand"
    assert "auroc" not in row
    assert "digits CUR pca-neighbours seed 0: by hand" in caplog.text


def test_an_interruption_is_no_failure(digits, tiny, monkeypatch):
    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(CLAD, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell_of(digits, "clad", tiny), digits, progress=False)


def test_another_setting_or_commit_is_another_cell(digits, tiny, monkeypatch):
    one = cell_of(digits, "clad", tiny)
    assert one.setting == cell_of(digits, "clad", tiny).setting
    assert one.setting == cell_of(digits, "clad", {**tiny, "seed": 4}).setting, "seeds are averaged"
    assert one.key != cell_of(digits, "clad", {**tiny, "seed": 4}).key
    assert one.setting != cell_of(digits, "ocsvm", tiny).setting
    tiny["classifier"]["epochs"] = 2
    assert one.setting != cell_of(digits, "clad", tiny).setting
    monkeypatch.setattr(cells, "commit", lambda: "another")
    assert cell_of(digits, "clad", one.config.model_dump()).setting != one.setting
