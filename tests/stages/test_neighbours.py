"""The neighbours' score on a network whose features and logits are known by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.layers import FeatureModel
from clad.stages.neighbours import Neighbours
from clad.stages.transformations import Transformations

RUNTIME = Runtime()


class Corners(FeatureModel):
    """Features: the upper two pixels. Logits: their weighted sums, a row of weights a class."""

    def __init__(self, weights):
        super().__init__()
        weights = torch.tensor(weights, dtype=torch.float32)
        self.head = nn.Linear(2, len(weights), bias=False)
        self.head.weight.data.copy_(weights)

    def maps(self, x):
        return [x]

    def pool(self, last):
        return last[:, 0, 0, :]


def images(*rows):
    """uint8 (N, 1, 2, 2) from rows of four pixels."""
    return ImageSet.of(np.array(rows, np.uint8).reshape(-1, 1, 2, 2))


def test_the_score_by_hand():
    """Unit features (1, 0), (0, 1), (0.6, 0.8) are kept; of (0.8, 0.6) the nearest is the last.

    Its distance is sqrt(0.04 + 0.04); the logit is 3/2 of the second pixel.
    """
    network = Corners([[0.0, 1.5]])
    fitted = Neighbours().fit(
        network, images([255, 0, 0, 0], [0, 255, 0, 0], [153, 204, 0, 0]), RUNTIME
    )
    np.testing.assert_allclose(fitted.features_[0], [[1, 0], [0, 1], [0.6, 0.8]], atol=1e-6)
    # each image left out: the others' distances are 0.8944, 0.6325 and 0.6325
    logits = [0.0, 1.5, 1.2]
    scales = [np.std([np.sqrt(0.8), np.sqrt(0.4), np.sqrt(0.4)]), np.std(logits)]
    np.testing.assert_allclose(fitted.scales_, scales, rtol=1e-5)
    score = fitted.score(network, images([204, 153, 0, 0]), RUNTIME)
    assert score == pytest.approx([np.sqrt(0.08) / scales[0] - 0.9 / scales[1]], rel=1e-4)


def test_a_turn_is_compared_with_its_own_kind():
    """Of logits (cluster 0 turn 0, cluster 0 turn 1) each turn reads its own."""
    network = Corners([[1.0, 0.0], [0.0, 1.0]])
    normal = images([255, 0, 0, 255], [255, 51, 51, 255])
    fitted = Neighbours(transformations=Transformations(2)).fit(network, normal, RUNTIME)
    assert fitted.features_.shape == (2, 2, 2)
    features, largest = fitted._respond(network, normal, RUNTIME)
    # upside down, (255, 0 / 0, 255) is (255, 0 / 0, 255): turn 1 reads its second pixel, 0
    np.testing.assert_allclose(largest, [(1 + 0) / 2, (1 + 0.2) / 2], atol=1e-6)
    np.testing.assert_allclose(features[0], features[1])


def test_batches_change_nothing_and_the_limit_holds():
    rng = np.random.default_rng(0)
    many = ImageSet.of(rng.integers(0, 256, (40, 1, 2, 2)).astype(np.uint8))
    network = Corners([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.0]])
    fitted = Neighbours(transformations=Transformations(4), limit=10, seed=3).fit(
        network, many, RUNTIME
    )
    assert fitted.features_.shape == (4, 10, 2)
    whole = fitted._respond(network, many, RUNTIME)
    parts = fitted._respond(network, many, RUNTIME, batch_size=7)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_array_equal(whole[1], parts[1])


def test_a_normal_image_seen_scores_under_a_strange_one():
    rng = np.random.default_rng(0)
    normal = np.zeros((30, 4), np.uint8)
    normal[:, 0], normal[:, 1] = 200 + rng.integers(0, 50, 30), rng.integers(0, 50, 30)
    network = Corners([[1.0, -1.0]])
    fitted = Neighbours().fit(network, images(*normal), RUNTIME)
    known, strange = fitted.score(network, images([220, 20, 0, 0], [0, 255, 0, 0]), RUNTIME)
    assert known < strange
