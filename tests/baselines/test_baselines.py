"""Baselines: formulas by hand, and the contract that a benchmark relies on."""

import numpy as np
import pytest

from clad.baselines.contract import nearest, pixels
from clad.baselines.methods import BASELINES
from clad.baselines.principal_components import PCANeighbours, PCAReconstruction
from clad.data.images import ImageSet
from clad.metrics import auroc
from clad.runtime import Runtime

RUNTIME = Runtime(seed=3)


def of(rows):
    """Images 1 x 2 of a channel from pairs of levels."""
    return ImageSet.of(np.array(rows, np.uint8).reshape(-1, 1, 1, 2))


def test_pixels_are_shares_of_the_range():
    assert pixels(of([[0, 255], [51, 102]])).tolist() == [[0.0, 1.0], pytest.approx([0.2, 0.4])]


def test_nearest_is_the_mean_distance_to_k():
    old = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 10.0]], np.float32)
    new = np.array([[0.0, 0.0], [0.0, 9.0]], np.float32)
    assert nearest(new, old, 1).tolist() == [0.0, 1.0]
    np.testing.assert_allclose(nearest(new, old, 2), [2.5, (1 + np.sqrt(34)) / 2], rtol=1e-6)
    assert len(nearest(new, old, 99)) == 2, "fewer images than neighbours"


def test_reconstruction_error_is_the_distance_to_the_plane():
    """Normal images lie on the diagonal; (0, 200) is 200 / sqrt 2 from it."""
    normal = of([[10, 10], [100, 100], [200, 200]])
    method = PCAReconstruction(components=1).fit(normal, RUNTIME)
    scores = method.score(of([[50, 50], [0, 200]]), RUNTIME)
    np.testing.assert_allclose(scores, [0.0, (200 / 255) ** 2 / 2 / 2], atol=1e-6)


def test_neighbours_among_components_keep_distances_in_the_plane():
    normal = of([[0, 0], [255, 255], [0, 255], [255, 0], [100, 100]])
    method = PCANeighbours(components=2).fit(normal, RUNTIME)
    expected = nearest(pixels(of([[9, 40]])), pixels(normal), 5)
    np.testing.assert_allclose(method.score(of([[9, 40]]), RUNTIME), expected, rtol=1e-5)


@pytest.mark.parametrize("name", BASELINES)
def test_contract(name, task):
    normals, test = task.train, task.test.take(np.arange(200))
    before = normals.read()
    first = BASELINES[name]().fit(normals, RUNTIME)
    scores = first.score(test, RUNTIME)
    assert scores.shape == (200,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert auroc(scores, task.answers.test_anomalous[:200]) > 0.6, "higher is more anomalous"
    np.testing.assert_array_equal(normals.read(), before)
    again = BASELINES[name]().fit(normals, RUNTIME).score(test, RUNTIME)
    np.testing.assert_array_equal(again, scores)
    backwards = first.score(test.take(np.arange(200)[::-1]), RUNTIME)[::-1]
    np.testing.assert_allclose(backwards, scores, rtol=1e-4, atol=1e-6)
