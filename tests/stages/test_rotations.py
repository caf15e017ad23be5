"""Quarter turns, told by hand on a 2x2 image."""

import pytest
import torch

from clad.errors import ConfigError
from clad.stages.rotations import choose_rotations, rotate, rotate_each

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
