"""Turns, mirror images and exchanged colours, told by hand on a 2x2 image."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clad.errors import ConfigError
from clad.stages.transformations import (
    Transformations,
    choose_transformations,
    look_alike,
    share_known,
    shared_targets,
)

IMAGE = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
DONE = (
    *([[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]),  # turned
    *([[2, 1], [4, 3]], [[4, 2], [3, 1]], [[3, 4], [1, 2]], [[1, 3], [2, 4]]),  # then mirrored
)
TURNS, HALF, SQUARE = Transformations(4), Transformations(2), Transformations(4, mirrored=True)
COLOURS = Transformations(recoloured=True)
EVERY = [Transformations(n, mirrored) for n in (1, 2, 4) for mirrored in (False, True)]
ALL = [*EVERY, *(Transformations(each.rotations, each.mirrored, True) for each in EVERY)]
COLOURED = torch.arange(12.0).reshape(1, 3, 2, 2)


@pytest.mark.parametrize("number", range(8))
def test_a_quarter_turn_at_a_time_and_the_mirror_images_after(number):
    assert SQUARE.apply(IMAGE, number)[0, 0].tolist() == DONE[number]


def test_of_two_turns_the_second_is_upside_down():
    assert HALF.apply(IMAGE, 1)[0, 0].tolist() == DONE[2]
    assert Transformations(2, mirrored=True).apply(IMAGE, 3)[0, 0].tolist() == DONE[6]


def test_every_image_by_its_own():
    numbers = torch.tensor([3, 0, 6, 1])
    changed = SQUARE.apply_each(IMAGE.repeat(4, 1, 1, 1), numbers)
    assert changed[:, 0].tolist() == [DONE[number] for number in numbers]


def test_red_and_blue_are_exchanged_and_green_stays():
    assert COLOURS.apply(COLOURED, 1)[0, :, 0, 0].tolist() == [8, 4, 0]
    assert len(COLOURS) == 2
    every = Transformations(4, mirrored=True, recoloured=True)
    assert len(every) == 16
    for number in range(8):
        exchanged = SQUARE.apply(COLOURED, number)[:, [2, 1, 0]]
        assert every.apply(COLOURED, number + 8).equal(exchanged)


@pytest.mark.parametrize("every", ALL)
def test_one_after_the_other_is_again_one_of_them(every):
    after = every.after()
    assert after.shape == (len(every), len(every))
    for a in range(len(every)):
        for b in range(len(every)):
            both = every.apply(every.apply(COLOURED, b), a)
            assert both.equal(every.apply(COLOURED, int(after[a, b])))


COUNTS = (1, 2, 2, 5, 3, 10, *(2, 5, 5, 16, 8, 35))


@pytest.mark.parametrize(("every", "count"), [*zip(ALL, COUNTS, strict=True)])
def test_their_subgroups(every, count):
    """The symmetries of the square have ten subgroups, those of an oblong five; with colours, which
    are another group of two, 35 and 16."""
    subgroups = every.subgroups()
    assert len(np.unique(subgroups, axis=0)) == len(subgroups) == count
    assert subgroups[:, 0].all()
    assert (len(every) % subgroups.sum(axis=1) == 0).all(), "Lagrange"


@pytest.mark.parametrize(
    "wrong", [(3, False), (0, False), (-4, False), (4, "yes"), ([4], False), (4, True, 1)]
)
def test_no_other_transformations(wrong):
    with pytest.raises(ValueError, match="no transformations"):
        Transformations(*wrong)


SQUARES, OBLONG = (3, 32, 32), (3, 32, 40)


def test_auto_keeps_the_shape_and_tells_mirror_images_unless_they_are_shown_as_the_same():
    choose = choose_transformations
    assert choose("auto", "auto", False, False, SQUARES) == SQUARE
    assert choose("auto", "auto", False, True, SQUARES) == TURNS
    assert choose("auto", False, False, False, SQUARES) == TURNS
    assert choose("auto", "auto", False, True, OBLONG) == HALF
    assert choose(1, "auto", False, False, SQUARES) == Transformations()
    assert choose(1, True, False, False, SQUARES) == Transformations(1, mirrored=True)
    assert choose(1, False, True, False, SQUARES) == COLOURS
    with pytest.raises(ConfigError, match=r"classifier.rotations = 4 needs square .* 32x40"):
        choose(4, False, False, False, OBLONG)
    with pytest.raises(ConfigError, match=r"classifier.mirror = true .* augment.flip"):
        choose("auto", True, False, True, SQUARES)
    with pytest.raises(ConfigError, match=r"classifier.recolour = true .* 1 channel, not 3"):
        choose("auto", False, True, False, (1, 32, 32))


def beliefs(transformations, alike, n=20):
    """Of n images, told right but for the transformations ``alike``, with noise between."""
    after, count = transformations.after(), len(transformations)
    same = np.zeros((count, count))
    np.put_along_axis(same, after[:, sorted({0, *alike})], 1.0, axis=1)
    return same + np.random.default_rng(0).uniform(0, 1e-3, (n, count, count))


def alike_of(transformations, alike, n=20):
    believed = beliefs(transformations, alike, n)
    (found,) = look_alike(believed, np.zeros(n, np.int64), 1, transformations)
    return np.flatnonzero(found).tolist()


@pytest.mark.parametrize("every", ALL)
def test_a_cluster_looks_the_same_by_any_group_of_transformations(every):
    for members in every.subgroups():
        members = np.flatnonzero(members).tolist()
        assert alike_of(every, members) == members


def test_those_alike_are_a_group():
    """Alike a quarter turn on, but not half round: then the quarter is chance."""
    assert alike_of(TURNS, [1]) == [0]
    assert alike_of(TURNS, [2]) == [0, 2]
    assert alike_of(SQUARE, [1, 2, 3, 4]) == [0, 1, 2, 3]


def test_to_believe_in_some_turns_of_any_image_is_no_knowledge():
    """Of 0.4, 0.3, 0.2 and 0.1 three are higher than the next and one than that before."""
    believed = np.tile(np.log([0.4, 0.3, 0.2, 0.1]), (20, 4, 1))
    assert look_alike(believed, np.zeros(20, np.int64), 1, TURNS).all()


def test_each_cluster_has_an_answer_of_its_own_and_few_images_have_none():
    rows = [beliefs(TURNS, [2]), beliefs(TURNS, []), beliefs(TURNS, [1, 2, 3], n=19)]
    found = look_alike(np.concatenate(rows), np.repeat([0, 1, 2], [20, 20, 19]), 4, TURNS)
    assert found.sum(axis=1).tolist() == [2, 1, 1, 1]


def test_targets_are_shared_by_those_that_look_the_same():
    """The first cluster has four turns to tell, the second two pairs of them."""
    targets = shared_targets(np.array([[1, 0, 0, 0], [1, 0, 1, 0]], bool), TURNS)
    assert targets[:4, :4].equal(torch.eye(4))
    pairs = [[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5]] * 2
    assert targets[4:, 4:].tolist() == pairs
    assert targets[:4, 4:].sum() == targets[4:, :4].sum() == 0
    assert shared_targets(np.ones((1, 4), bool), TURNS).equal(torch.full((4, 4), 0.25))
    assert shared_targets(np.ones((1, 2), bool), HALF).equal(torch.full((2, 2), 0.5))


def test_an_image_that_is_its_own_mirror_image_has_two_targets_that_show_it_alike():
    heart = torch.tensor([[1.0, 1.0], [2.0, 2.0]]).reshape(1, 1, 2, 2)
    own = np.array([[SQUARE.apply(heart, number).equal(heart) for number in range(8)]])
    assert np.flatnonzero(own).tolist() == [0, 4]
    for number, targets in enumerate(shared_targets(own, SQUARE)):
        chosen = np.flatnonzero(targets).tolist()
        assert len(chosen) == 2
        for other in chosen:
            assert SQUARE.apply(heart, other).equal(SQUARE.apply(heart, number))


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
