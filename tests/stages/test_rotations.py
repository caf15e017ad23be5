"""Quarter turns, told by hand on a 2x2 image."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clad.errors import ConfigError
from clad.stages.rotations import (
    choose_rotations,
    look_alike,
    rotate,
    rotate_each,
    share_known,
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


def beliefs_of(right, wrong):
    """Beliefs in the right turn of two, (N, 2, 2), and in the wrong one where ``wrong`` holds."""
    p = np.where(np.arange(40) < wrong, 1 - right, right)
    return np.log(np.stack([np.stack([p, 1 - p], 1), np.stack([1 - p, p], 1)], 1))


ONE = np.ones(40, np.int64)


def test_share_known_by_hand():
    """Right in 30 of 40: at best the belief is 3/4, and 1 - H(1/4) = 0.189 of the bit is known,
    however sure the network was: at its own temperature 0.99 would leave 1.16 nats of 0.69."""
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    expected = 1 - entropy / math.log(2)
    for right in (0.99, 0.75, 0.6):
        assert share_known(beliefs_of(right, 10), ONE) == pytest.approx(expected, abs=1e-4)
    assert share_known(beliefs_of(0.99, 40), ONE) == pytest.approx(0, abs=1e-4), "always wrong"
    assert share_known(beliefs_of(0.5, 0), ONE) == pytest.approx(0), "it never says"
    assert share_known(beliefs_of(0.99, 0), ONE) > 0.999


def test_of_turns_that_look_the_same_there_is_nothing_to_know():
    assert share_known(beliefs_of(0.5, 0), 2 * ONE) == 0
    # half the images can be told and are, for the others even belief is all there is: all is known
    half = np.where(np.arange(40) < 20, 1, 2)
    believed = np.where(half[:, None, None] == 1, beliefs_of(1 - 1e-9, 0), math.log(0.5))
    assert share_known(believed, half) == pytest.approx(1, abs=1e-3)


def test_share_known_without_turns_or_images():
    assert share_known(np.zeros((40, 1, 1)), ONE) == 0.5
    assert share_known(np.empty((0, 4, 4)), np.empty(0, np.int64)) == 0.5


@given(arrays(np.float64, (12, 4, 4), elements=st.floats(-30, 0)), st.floats(0.3, 3))
def test_share_known_is_a_share_and_the_temperature_is_not_what_it_measures(logits, sharpness):
    one = np.ones(12, np.int64)
    share = share_known(logits, one)
    assert 0 <= share <= 1
    sharper = share_known(sharpness * logits, one)
    assert sharper == pytest.approx(share, abs=0.02)
