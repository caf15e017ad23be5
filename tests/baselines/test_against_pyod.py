"""Ours beside PyOD's, where both have a method."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.pipeline import make_pipeline

from clad.baselines.contract import nearest, pixels
from clad.baselines.deep_svdd import DeepSVDD
from clad.baselines.methods import BASELINES
from clad.baselines.one_class_svm import OneClassSVM
from clad.errors import ConfigError
from clad.metrics import auroc
from clad.runtime import Runtime

pytest.importorskip("pyod")
RUNTIME = Runtime(seed=3)


@pytest.fixture
def parts(task):
    """Normal training images, test images and which of those are anomalous."""
    return task.train, task.test, task.answers.test_anomalous


def test_mean_distance_to_the_nearest(parts):
    from pyod.models.knn import KNN

    normals, test, _ = parts
    theirs = KNN(n_neighbors=5, method="mean").fit(pixels(normals))
    expected = theirs.decision_function(pixels(test))
    np.testing.assert_allclose(nearest(pixels(test), pixels(normals), 5), expected, rtol=1e-3)


def test_one_class_svm(parts):
    from pyod.models.ocsvm import OCSVM

    normals, test, _ = parts
    ours = OneClassSVM().fit(normals, RUNTIME)
    prepared = make_pipeline(*ours.preparation()).fit(pixels(normals))
    theirs = OCSVM(nu=0.1, gamma="scale").fit(prepared.transform(pixels(normals)))
    expected = theirs.decision_function(prepared.transform(pixels(test)))
    np.testing.assert_allclose(ours.score(test, RUNTIME), expected, atol=1e-5)


def test_deep_svdd_is_as_good_as_theirs(parts):
    """Networks and training differ, so in quality alone: PyOD's on pixels, its own defaults."""
    from pyod.models.deep_svdd import DeepSVDD as Theirs

    normals, test, truth = parts
    ours = DeepSVDD(pretraining=400, steps=400).fit(normals, RUNTIME).score(test, RUNTIME)
    X = pixels(normals)
    theirs = Theirs(n_features=X.shape[1], use_ae=True, epochs=20, random_state=0, verbose=0)
    expected = theirs.fit(X).decision_function(pixels(test))
    assert auroc(ours, truth) > auroc(expected, truth) - 0.02


def test_theirs_behind_our_contract(parts):
    from pyod.models.ecod import ECOD

    normals, test, _ = parts
    method = BASELINES["pyod-ecod"]().fit(normals, RUNTIME)
    X, new = (method.preparation_.transform(pixels(each)) for each in (normals, test))
    expected = ECOD().fit(X).decision_function(new)
    assert spearmanr(method.score(test, RUNTIME), expected).statistic > 0.999


def test_without_pyod(parts, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyod.models.ecod", None)
    with pytest.raises(ConfigError, match=r"pip install 'clad\[pyod\]'"):
        BASELINES["pyod-ecod"]().fit(parts[0], RUNTIME)
