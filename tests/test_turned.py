"""``benchmarks/turned.py`` on the embedded digits."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clad.data.benchmarks import load
from clad.data.own import read_own

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "turned.py"


@pytest.fixture
def turned(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    main = runpy.run_path(str(SCRIPT))["main"]
    return lambda *words: CliRunner().invoke(main, [*words, str(tmp_path / "out")])


def test_training_images_are_turned_at_random_and_test_images_are_not_there(turned, tmp_path):
    result = turned("digits", "CUR", "--held-out", "0.25")
    assert result.exit_code == 0, result.output
    benchmark, scenario = read_own(tmp_path / "out" / "turned.yaml")
    assert scenario.name == "all"
    upright = {x.tobytes() for x in load("digits").train.images.read()}
    for part in (benchmark.train, benchmark.test):
        images = part.images.read()
        quarters = [
            [np.rot90(x, k, axes=(1, 2)).tobytes() in upright for k in range(4)] for x in images
        ]
        assert np.any(quarters, axis=1).all()
        assert np.mean(quarters, axis=0) == pytest.approx([0.25] * 4, abs=0.1)
    assert {*benchmark.test.labels} == {0, 1}


@pytest.mark.parametrize(
    ("dataset", "scenario", "said"),
    [
        ("digits", "CURR", "did you mean 'CUR'?"),
        ("digits", "all", "'all' is several scenarios of digits; name one"),
        ("mine.yaml", "CUR", "mine.yaml: holds no anomalies to train on"),
    ],
)
def test_a_wrong_word_is_named(dataset, scenario, said, turned):
    result = turned(dataset, scenario)
    assert result.exit_code == 1
    assert said in result.output
