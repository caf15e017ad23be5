"""Boards drawn from a seed: reproducible, never twice the same, defects where the mask says."""

from __future__ import annotations

import numpy as np
import pytest

from clad.data.boards import APART, CHANGED, KINDS, board, crowded, defective

SIZES = [(5, 5), (20, 20), (100, 100), (500, 100)]


def test_the_same_seed_draws_the_same_board():
    one, again, other = board(200, 3), board(200, 3), board(200, 4)
    assert one.dtype == np.uint8
    assert one.shape == (200, 200)
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5


def test_a_board_has_substrate_copper_and_holes():
    levels = board(512, 0)
    shares = [np.mean(abs(levels.astype(int) - level) < 20) for level in (80, 140, 28)]
    assert shares[0] > 0.3
    assert shares[1] > 0.1
    assert shares[2] > 0.001


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(4))
def test_a_defect_is_of_its_size_and_nothing_else_changes(size, seed):
    found = defective(600, seed, size)
    again = defective(600, seed, size)
    np.testing.assert_array_equal(found.image, again.image)
    assert found.kind in KINDS
    difference = np.abs(found.image.astype(int) - board(600, seed))
    rows, columns = np.nonzero(found.mask)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    limit = np.array(sorted(size)) + 10  # blurred by the camera
    assert (np.array(sorted((height, width))) <= limit).all()
    assert not difference[~found.mask].max() > CHANGED + 3, "rounding and light aside"
    assert difference[found.mask].mean() > CHANGED


def test_small_defects_are_copper_missing_or_left_over():
    assert {defective(300, seed, (5, 5)).kind for seed in range(12)} == {"void", "island"}


def test_every_kind_occurs():
    assert {defective(400, seed, (45, 45)).kind for seed in range(25)} == set(KINDS)


def test_a_crowded_board_has_each_defect_in_a_place_of_its_own():
    sizes = [(5, 5), (20, 20), (45, 45), (45, 45)]
    found = crowded(800, 0, sizes)
    assert len(found.kinds) == 4
    assert set(np.unique(found.labels)) == {0, 1, 2, 3, 4}
    difference = np.abs(found.image.astype(int) - board(800, 0))
    for number, size in enumerate(sizes, 1):
        rows, columns = np.nonzero(found.labels == number)
        assert max(np.ptp(rows), np.ptp(columns)) < max(size) + 10, "blurred by the camera"
        assert difference[rows, columns].mean() > CHANGED
        near = [slice(max(v.min() - APART // 2, 0), v.max() + APART // 2) for v in (rows, columns)]
        assert set(np.unique(found.labels[near[0], near[1]])) == {0, number}
    assert difference[found.labels == 0].max() <= CHANGED + 3, "rounding and light aside"


def test_one_defect_is_a_crowd_of_one():
    one, crowd = defective(300, 3, (20, 20)), crowded(300, 3, [(20, 20)])
    np.testing.assert_array_equal(one.image, crowd.image)
    np.testing.assert_array_equal(one.mask, crowd.labels == 1)
    assert crowd.kinds == (one.kind,)


def test_no_room():
    with pytest.raises(ValueError, match=r"no room on 100x100 pixels for defect 2, of \(5, 5\)"):
        crowded(100, 0, [(5, 5)] * 2)
