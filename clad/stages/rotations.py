"""Quarter turns: the transformation that stage 3 can be asked to tell beside the cluster."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from clad.errors import ConfigError


def choose_rotations(rotations: int | Literal["auto"], shape: tuple[int, int, int]) -> int:
    """How many turns to tell for images (C, H, W): as asked, ``auto`` as many as keep the shape.

    Raises ConfigError where quarter turns would change it.
    """
    _, height, width = shape
    if rotations == "auto":
        return 4 if height == width else 2
    if rotations == 4 and height != width:
        raise ConfigError(
            f"classifier.rotations = 4 needs square images, got {height}x{width}; "
            "set it to 2 or 1, or set images.size"
        )
    return rotations


def rotate(x: Tensor, turn: int, rotations: int) -> Tensor:
    """Images (N, C, H, W) turned by ``turn`` of ``rotations`` equal steps of a full turn."""
    return torch.rot90(x, turn * (4 // rotations), dims=(2, 3))


def rotate_each(x: Tensor, turns: Tensor, rotations: int) -> Tensor:
    """Every image (N, C, H, W) by its own turn (N,)."""
    turned = x.clone()
    for turn in range(1, rotations):
        chosen = turns == turn
        turned[chosen] = rotate(x[chosen], turn, rotations)
    return turned
