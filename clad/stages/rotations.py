"""Quarter turns: the transformation that stage 3 can be asked to tell beside the cluster."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clad.errors import ConfigError

TOLD = 0.6  # of pairs of turns told right; at 0.5 they are guessed
SHARPEST = 10.0  # the inverse of the temperature, at most
ASKED = 20  # images of a cluster, at least, for an answer


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


def look_alike(
    believed: NDArray[np.floating], clusters: NDArray[np.int64], n_clusters: int
) -> NDArray[np.int64]:
    """In how many turns each cluster looks the same, int64 (K,): 1, 2 (half round) or all R.

    ``believed``: float (N, R, R), how far image i, turned by r, is believed to be turned by s; R is
    1, 2 or 4. ``clusters``: int64 (N,) of the images. Two turns look the same where the right one
    of them is believed more in under ``TOLD`` of the cases; fewer than ``ASKED`` images do not say.
    """
    rotations = believed.shape[1]
    turns = np.arange(rotations)
    right = believed[:, turns, turns]
    told = [
        (right > believed[:, turns, (turns + step) % rotations]).mean(axis=1)
        for step in range(1, rotations)
    ]
    found = np.ones(n_clusters, np.int64)
    for cluster in range(n_clusters):
        of_cluster = clusters == cluster
        if rotations == 1 or of_cluster.sum() < ASKED:
            continue
        same = [share[of_cluster].mean() < TOLD for share in told]
        if all(same):
            found[cluster] = rotations
        elif same[len(same) // 2]:  # half round
            found[cluster] = 2
    return found


def share_known(believed: NDArray[np.floating], alike: NDArray[np.int64]) -> float:
    """The share, 0 to 1, of the entropy of the turns that the beliefs of ``look_alike`` remove.

    ``alike``: int64 (N,), in how many turns each image looks the same: of R turns, log(R / alike)
    is to be known. The beliefs are taken at the temperature that suits these images best (Guo et
    al. 2017, arXiv 1706.04599): a network can be sure where it errs and yet know most turns. 0.5
    where there is one turn or no image to ask, 0 where all images look the same in every turn.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    rotations = believed.shape[1]
    if rotations == 1 or not len(believed):
        return 0.5
    to_know = np.log(rotations / alike).mean()
    if to_know == 0:
        return 0.0
    turns = np.arange(rotations)
    logits = believed.astype(np.float64)

    def unknown(sharpness: float) -> float:  # convex, so that one minimum is all there is
        log_p = log_softmax(sharpness * logits, axis=2)[:, turns, turns]
        return float(-log_p.mean() - np.log(alike).mean())

    best = minimize_scalar(unknown, bounds=(0.0, SHARPEST), method="bounded")
    return float(np.clip(1 - best.fun / to_know, 0, 1))


def shared_targets(alike: NDArray[np.int64], rotations: int) -> Tensor:
    """Float (K * R, K * R): each class (cluster x turn) spread evenly over the turns like it.

    ``alike``: int64 (K,), in how many turns each cluster looks the same.
    """
    turns = np.arange(rotations)
    apart = (turns[:, None] - turns) % rotations
    same = apart % (rotations // alike)[:, None, None] == 0
    return torch.block_diag(*torch.from_numpy(same / alike[:, None, None]).float())
