"""Baselines: formulas by hand, and the contract that a benchmark relies on."""

import numpy as np
import pytest
import torch

from clad.baselines.autoencoders import (
    Convolutional,
    ConvolutionalBatchNorm,
    FullyConnected,
    NoiseClassifier,
)
from clad.baselines.contract import nearest, pixels
from clad.baselines.deep_svdd import _away_from_zero
from clad.baselines.encoder import LeNet, global_contrast
from clad.baselines.methods import BASELINES
from clad.baselines.oc_cnn import OCCNN
from clad.baselines.oracle import Oracle
from clad.baselines.principal_components import PCANeighbours, PCAReconstruction
from clad.baselines.svdd import SVDD
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


WEAK = ("oc-nn", "oc-cnn")  # near chance on digits of 8 x 8 pixels; see their own tests


def briefly(name):
    """A baseline given few steps."""
    if name.startswith("pyod"):
        pytest.importorskip("pyod")
    method = BASELINES[name]()
    for steps in ("steps", "pretraining", "steps_on_latents"):
        if hasattr(method, steps):
            setattr(method, steps, 400)
    return method


@pytest.mark.parametrize("name", BASELINES)
def test_contract(name, task):
    normals, test = task.train, task.test.take(np.arange(200))
    before = normals.read()
    first = briefly(name).fit(normals, RUNTIME)
    scores = first.score(test, RUNTIME)
    assert scores.shape == (200,)
    assert scores.dtype == np.float64
    assert np.isfinite(scores).all()
    if name not in WEAK:
        assert auroc(scores, task.answers.test_anomalous[:200]) > 0.6, "higher is more anomalous"
    np.testing.assert_array_equal(normals.read(), before)
    again = briefly(name).fit(normals, RUNTIME).score(test, RUNTIME)
    np.testing.assert_array_equal(again, scores)
    backwards = first.score(test.take(np.arange(200)[::-1]), RUNTIME)[::-1]
    np.testing.assert_allclose(backwards, scores, rtol=1e-4, atol=1e-6)


def test_svdd_is_the_distance_to_a_ball(task):
    """By the definition of Tax and Duin, against the shared solver's answer."""
    from sklearn.metrics.pairwise import rbf_kernel

    normals, test = task.train.take(np.arange(60)), task.test.take(np.arange(40))
    method = SVDD().fit(normals, RUNTIME)
    svm = method.model_[-1]
    weights = svm.dual_coef_[0] / svm.dual_coef_.sum()

    def squared_distance(rows):
        cross = rbf_kernel(rows, svm.support_vectors_, gamma=svm._gamma) @ weights
        inner = weights @ rbf_kernel(svm.support_vectors_, gamma=svm._gamma) @ weights
        return 1 - 2 * cross + inner

    on_the_edge = (svm.dual_coef_[0] > 1e-6) & (svm.dual_coef_[0] < 1 - 1e-6)
    radius = squared_distance(svm.support_vectors_[on_the_edge]).mean()
    expected = squared_distance(pixels(test)) - radius
    np.testing.assert_allclose(method.score(test, RUNTIME), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("form", "parameters"),
    [
        (FullyConnected, 3_176_419),
        (Convolutional, 47_355),
        (ConvolutionalBatchNorm, 47_595),
        (NoiseClassifier, 4_405_420),
    ],
)
def test_the_assignments_sizes(form, parameters):
    network = form().network((3, 64, 64))
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 13)])
def test_lenet_mirrors_its_input(shape):
    network = LeNet(shape, 5)
    x = torch.rand(4, *shape)
    assert network.encode(x).shape == (4, 5)
    assert network(x).shape == x.shape
    assert all("bias" not in name for name, _ in network.named_parameters())


def test_global_contrast():
    x = torch.tensor([0.0, 0.2, 0.4, 1.0]).reshape(1, 1, 2, 2)
    expected = torch.tensor([-0.4, -0.2, 0.0, 0.6]) / 0.3
    torch.testing.assert_close(global_contrast(x).flatten(), expected)


def test_a_centre_keeps_away_from_zero():
    center = _away_from_zero(torch.tensor([0.05, -0.05, 0.0, 0.3, -2.0]))
    assert center.tolist() == pytest.approx([0.1, -0.1, 0.1, 0.3, -2.0])


def test_the_oracle_is_told_the_labels(task):
    answers = task.answers
    scores = Oracle(steps=30).fit(task.train, answers.train_labels, RUNTIME)
    assert scores.classifier_.network_.head.out_features == 3
    found = auroc(scores.score(task.test, RUNTIME), answers.test_anomalous)
    assert found > 0.9


def test_oc_nn_leaves_a_share_of_nu_below_its_plane(task):
    method = briefly("oc-nn").fit(task.train, RUNTIME)
    scores = method.score(task.train, RUNTIME)
    assert np.ptp(scores) > 0
    edge = np.quantile(scores, 1 - method.nu)
    assert (scores > edge).mean() == pytest.approx(method.nu, abs=0.01)
    assert edge < 0, "the origin lies on the far side"


def test_oc_cnn_tells_features_from_noise(task):
    method = OCCNN(steps_on_latents=600)
    method.steps = 150
    normal = method.fit(task.train, RUNTIME).score(task.train, RUNTIME)
    noise = 0.1 * torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        strange = -method.network_(noise)[:, 0].double().numpy()
    assert auroc(np.r_[normal, strange], np.r_[np.zeros(len(normal)), np.ones(200)]) > 0.99
