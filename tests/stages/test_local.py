"""The network of large images: cells, reach, blocks, and that it learns to find what is painted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clad.data.boards import board
from clad.data.images import ImageSet
from clad.data.rows import ArrayRows
from clad.data.windows import blocks
from clad.metrics import auroc
from clad.runtime import Runtime
from clad.stages.local import GRID, REACH, STEP, Local, LocalNetwork, changed_pixels

RUNTIME = Runtime()


def network(channels=1, width=4):
    """With batch norms that are not the identity."""
    torch.manual_seed(0)
    net = LocalNetwork(channels, width).train()
    for _ in range(3):
        net(torch.rand(4, channels, 48, 48))
    return net.eval()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (6, 9), (13, 40), (8, 100)])
def test_a_cell_for_every_four_pixels(height, width):
    logits = network(3)(torch.rand(2, 3, height, width))
    assert logits.shape == (2, -(-height // STEP), -(-width // STEP))


@torch.inference_mode()
def test_a_cell_depends_on_what_is_in_reach_alone():
    net = network()
    side = 2 * REACH + 15 * GRID
    x = torch.rand(1, 1, side, side)
    first = REACH + 8 * GRID  # the topmost pixel of a coarsest cell
    before = net(x)[0, first // STEP :]

    def changes(distance):
        y = x.clone()
        y[:, :, : first - distance] = torch.rand(1, 1, first - distance, side) * 5
        return not torch.equal(net(y)[0, first // STEP :], before)

    assert changes(8)
    assert changes(REACH // 2)
    assert not changes(REACH)


@pytest.mark.parametrize("shape", [(150, 330), (97, 203), (128, 128)])
def test_blocks_make_no_difference(shape, monkeypatch):
    monkeypatch.setattr("clad.data.windows.SIDE", 64)
    pixels = np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8)
    local = Local()
    local.network_ = network()
    whole = local.score(pixels, RUNTIME)
    found = np.full_like(whole, np.nan)
    for block in blocks(ArrayRows(pixels), STEP, REACH):
        found[block.place] = local.score(block.pixels, RUNTIME)[block.inside]
    np.testing.assert_allclose(found, whole, atol=1e-4)


def test_a_score_is_also_that_of_cells_half_a_cell_away():
    """A network that tells a cell's mean, on a ramp from left to right: 0, 1, 2, ..."""
    local = Local()
    local.network_ = torch.nn.Sequential(torch.nn.AvgPool2d(STEP), torch.nn.Flatten(0, 1))
    ramp = np.broadcast_to(np.arange(12, dtype=np.uint8), (1, 8, 12))
    inside = 4 + 1.5  # of the middle cell; also the mean of those half a cell to either side
    first = (1.5 + (0.25 + 3.5) / 2) / 2  # the image goes on with its outermost pixels: 0 0 0 1
    last = (9.5 + (7.5 + 10.75) / 2) / 2
    expected = np.tile([first, inside, last], (2, 1)) / 255
    np.testing.assert_allclose(local.score(ramp, RUNTIME), expected, rtol=1e-5)


def test_changed_pixels_by_hand():
    mask = torch.zeros(1, 6, 8, dtype=torch.bool)
    mask[0, 1:3, 3:6] = True  # one column in the left cell, two in the right
    mask[0, 5, 7] = True
    assert changed_pixels(mask).tolist() == [[[2.0, 4.0], [0.0, 1.0]]]


def test_it_learns_to_find_what_is_painted_and_what_is_not():
    """Also a defect of a kind it was never shown: bright copper on a board of the test seeds."""
    crops = ImageSet.of(np.stack([board(64, seed)[None] for seed in range(64)]))
    local = Local(width=8, epochs=80).fit(crops, RUNTIME).refine(crops, crops, RUNTIME)
    assert len(local.losses_) == 80
    assert np.mean(local.losses_[-5:]) < 0.8 * np.mean(local.losses_[:5])
    scores, truth = [], []
    for seed in range(100, 108):
        new = board(160, seed)[None].copy()
        mask = np.zeros((40, 40), bool)
        new[0, 80:88, 40:48] = 255
        mask[20:22, 10:12] = True
        scores.append(local.score(new, RUNTIME).ravel())
        truth.append(mask.ravel())
    assert auroc(np.concatenate(scores), np.concatenate(truth)) > 0.95


def test_two_fits_agree_and_another_seed_does_not():
    crops = ImageSet.of(np.stack([board(48, seed)[None] for seed in range(12)]))
    found = []
    for seed in (1, 1, 2):
        runtime = Runtime(seed=seed)
        local = Local(width=4, epochs=2).fit(crops, runtime).refine(crops, crops, runtime)
        found.append(local.score(crops.read()[0], RUNTIME))
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
