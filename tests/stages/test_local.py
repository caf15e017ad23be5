"""Local features and their distances: no cell knows where a block ends, a coreset spreads out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clad.runtime import Runtime
from clad.stages import local
from clad.stages.classifier import ResNet18
from clad.stages.local import LocalNeighbours, coreset, halo, local_features

RUNTIME = Runtime()
RNG = np.random.default_rng(0)


def network(stem="small-stride", channels=1):
    torch.manual_seed(0)
    return ResNet18(channels, 4, width=16, stem=stem).eval()


@pytest.mark.parametrize("stem", ["torchvision", "small", "small-stride"])
def test_a_cell_depends_on_what_is_in_reach_alone(stem):
    """By changing pixels: those just inside the reach change the cell, those beyond never."""
    net = network(stem)
    step, reach = net.local_step, net.local_reach
    side = 2 * (reach + 3 * step) // step * step + step
    x = torch.rand(1, 1, side, side)
    cell = side // step // 2
    before = net.local_features(x)[0, :, cell, cell]
    changed = {}
    for distance in range(reach + 2 * step):
        y = x.clone()
        y[..., : cell * step - distance, :] += 1.0
        changed[distance] = not torch.allclose(net.local_features(y)[0, :, cell, cell], before)
    assert not any(changed[d] for d in range(reach, reach + 2 * step))
    assert changed[reach // 2]


@pytest.mark.parametrize("stem", ["small", "small-stride"])
def test_blocks_make_no_difference(stem, monkeypatch):
    net = network(stem)
    edge, step = halo(net), net.local_step
    pixels = RNG.integers(0, 256, (1, 50 * step + 2 * edge, 70 * step + 2 * edge), dtype=np.uint8)
    whole = local_features(net, pixels, RUNTIME)
    assert whole.shape[:2] == (50, 70)
    monkeypatch.setattr(local, "BLOCK", 16 * step)
    np.testing.assert_allclose(local_features(net, pixels, RUNTIME), whole, atol=1e-4)


def test_a_coreset_by_hand():
    """From 0 on a line: the farthest is 10, then 4 (4 from 0, 6 from 10), then 7."""
    X = np.array([[0.0], [1], [4], [7], [10]], np.float32)
    chosen = coreset(X, 4, seed=next(s for s in range(50) if coreset(X, 1, s)[0] == 0))
    assert X[chosen, 0].tolist() == [0, 10, 4, 7]


def test_a_coreset_holds_no_point_twice():
    X = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    assert len(np.unique(coreset(X, 10, 0))) == 3


def test_distances_are_to_the_nearest_kept_spot():
    X = RNG.normal(size=(300, 5)).astype(np.float32) @ np.diag([1, 2, 3, 4, 5]).astype(np.float32)
    near = LocalNeighbours(prototypes=80).fit(X)
    assert near.prototypes_.shape[0] == 40
    new = RNG.normal(size=(7, 6, 5)).astype(np.float32) * 3
    found = near.score(new)
    z = (new - near.centre_) @ near.whitening_
    expected = np.linalg.norm(z[:, :, None] - near.prototypes_, axis=-1).min(axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_the_same_seed_keeps_the_same_spots():
    X = RNG.normal(size=(200, 5)).astype(np.float32)
    first, again, other = (LocalNeighbours(prototypes=9, seed=s).fit(X) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.prototypes_, again.prototypes_)
    assert not np.array_equal(first.prototypes_, other.prototypes_)


def test_rare_spots_are_added_farthest_first():
    X = RNG.normal(size=(500, 2)).astype(np.float32)
    near = LocalNeighbours(prototypes=20).fit(X)
    kept = len(near.prototypes_)
    rare = np.array([[50.0, 0], [0, 30], [0, 0], [50.1, 0]], np.float32)
    near.extend(rare.reshape(2, 2, 2), 2)
    assert len(near.prototypes_) == kept + 2
    np.testing.assert_allclose(near.score(rare[[3, 1]]), 0, atol=0.01)
    assert near.score(rare[:1])[0] < 0.2, "the third farthest is beside the first"
    near.extend(rare[[1, 3]], 5)
    assert len(near.prototypes_) == kept + 2, "what is kept is not kept again"
