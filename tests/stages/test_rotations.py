"""Quarter turns, told by hand on a 2x2 image."""

import numpy as np
import pytest
import torch

from clad.errors import ConfigError
from clad.stages.rotations import (
    choose_rotations,
    look_alike,
    rotate,
    rotate_each,
    shared_targets,
)

IMAGE = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
TURNS = ([[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]])


@pytest.mark.parametrize("turn", range(4))
def test_a_quarter_turn_at_a_time(turn):
    assert rotate(IMAGE, turn, 4)[0, 0].tolist() == TURNS[turn]


def test_of_two_turns_the_second_is_upside_down():
    assert rotate(IMAGE, 1, 2)[0, 0].tolist() == TURNS[2]


def test_every_image_by_its_own_turn():
    turned = rotate_each(IMAGE.repeat(4, 1, 1, 1), torch.tensor([3, 0, 2, 1]), 4)
    assert turned[:, 0].tolist() == [TURNS[3], TURNS[0], TURNS[2], TURNS[1]]


def test_auto_keeps_the_shape():
    assert choose_rotations("auto", (3, 32, 32)) == 4
    assert choose_rotations("auto", (3, 32, 40)) == 2
    assert choose_rotations(1, (1, 8, 8)) == 1
    with pytest.raises(ConfigError, match=r"classifier.rotations = 4 needs square .* 32x40"):
        choose_rotations(4, (3, 32, 40))


def beliefs(kind, n=20, rotations=4):
    """Of n images: told right always; in pairs half round; or not at all, with noise between."""
    noise = np.random.default_rng(0).uniform(0, 1e-3, (n, rotations, rotations))
    turn = np.arange(rotations)
    distance = (turn[:, None] - turn) % rotations
    same = {"all": distance == 0, "half": distance % 2 == 0, "none": distance >= 0}[kind]
    return same + noise


@pytest.mark.parametrize(("kind", "count"), [("all", 1), ("half", 2), ("none", 4)])
def test_turns_that_a_cluster_looks_the_same_in(kind, count):
    assert look_alike(beliefs(kind), np.zeros(20, np.int64), 1).tolist() == [count]


def test_each_cluster_has_an_answer_of_its_own_and_few_images_have_none():
    rows = np.concatenate([beliefs("half"), beliefs("all"), beliefs("none", n=19)])
    assert look_alike(rows, np.repeat([0, 1, 2], [20, 20, 19]), 4).tolist() == [2, 1, 1, 1]


def test_of_two_turns_both_look_the_same_or_neither():
    assert look_alike(beliefs("all", rotations=2), np.zeros(20, np.int64), 1).tolist() == [1]
    assert look_alike(beliefs("none", rotations=2), np.zeros(20, np.int64), 1).tolist() == [2]


def test_targets_are_shared_by_turns_that_look_the_same():
    """The first cluster has four turns to tell, the second two pairs of them."""
    targets = shared_targets(np.array([1, 2]), 4)
    assert targets[:4, :4].equal(torch.eye(4))
    pairs = [[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5]] * 2
    assert targets[4:, 4:].tolist() == pairs
    assert targets[:4, 4:].sum() == targets[4:, :4].sum() == 0
    assert shared_targets(np.array([4]), 4).equal(torch.full((4, 4), 0.25))
    assert shared_targets(np.array([2]), 2).equal(torch.full((2, 2), 0.5))
