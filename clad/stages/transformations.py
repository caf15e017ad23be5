"""Turns, mirror images and exchanged colours: what stage 3 can tell beside the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clad.errors import ConfigError

TOLD = 0.6  # of pairs of transformations told right; at 0.5 they are guessed
SHARPEST = 10.0  # the inverse of the temperature, at most
ASKED = 20  # images of a cluster, at least, for an answer
UNSAID = 0.5  # share known where nothing says how much it is: all witnesses are as good
CHANNELS = 3  # of images that have red and blue to exchange


@dataclass(frozen=True)
class Transformations:
    """Equal turns of an image, ``rotations`` (1, 2 or 4) of them; if ``mirrored`` as many of its
    mirror image; and if ``recoloured`` all of these with red and blue exchanged. Number 0 leaves it
    as it is.

    They are a group: one after the other is again one of them (of 4 and their mirror images, the
    symmetries of the square). Raises ValueError for any other number of rotations.
    """

    rotations: int = 1
    mirrored: bool = False
    recoloured: bool = False

    def __post_init__(self) -> None:
        flags = self.mirrored, self.recoloured
        if self.rotations not in (1, 2, 4) or not all(isinstance(flag, bool) for flag in flags):
            raise ValueError(f"no transformations: {self.rotations!r} turns, {flags!r}")

    def __len__(self) -> int:
        return self.rotations * (1 + self.mirrored) * (1 + self.recoloured)

    def apply(self, x: Tensor, number: int) -> Tensor:
        """Images (N, C, H, W), each by the same one: turned, then mirrored, then recoloured."""
        rest, turn = divmod(number, self.rotations)
        recolour, mirror = divmod(rest, 1 + self.mirrored)
        x = torch.rot90(x, turn * (4 // self.rotations), dims=(2, 3))
        x = x.flip(3) if mirror else x
        return x.flip(1) if recolour else x

    def apply_each(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Every image (N, C, H, W) by its own, of ``numbers`` (N,)."""
        changed = x.clone()
        for number in range(1, len(self)):
            chosen = numbers == number
            changed[chosen] = self.apply(x[chosen], number)
        return changed

    def after(self) -> NDArray[np.int64]:
        """int64 (T, T): at [a, b] the one that does what b does and then a."""
        rest, turn = np.divmod(np.arange(len(self)), self.rotations)
        recolour, mirror = np.divmod(rest, 1 + self.mirrored)
        # turned and then mirrored is mirrored and then turned the other way
        turns = np.where(mirror == 1, -turn[:, None], turn[:, None]) + turn
        mirrors, recolours = ((each[:, None] + each) % 2 for each in (mirror, recolour))
        changed = recolours * (1 + self.mirrored) + mirrors
        return (changed * self.rotations + turns % self.rotations).astype(np.int64)

    def subgroups(self) -> NDArray[np.bool_]:
        """bool (S, T): each set of them that is a group as well, small ones first."""
        after = self.after()
        found = new = {frozenset([0])}
        while new:  # one more member, and all that then follow from it
            new = {_closed(group | {one}, after) for group in new for one in range(1, len(self))}
            new -= found
            found = found | new
        groups = sorted(found, key=lambda group: (len(group), sorted(group)))
        return np.array([np.isin(np.arange(len(self)), list(group)) for group in groups])


def _closed(members: frozenset[int], after: NDArray[np.int64]) -> frozenset[int]:
    """The members and all that any of them make one after the other."""
    more = members | {int(one) for one in after[np.ix_(list(members), list(members))].flat}
    return more if more == members else _closed(more, after)


UNCHANGED = Transformations()


def choose_transformations(
    rotations: int | Literal["auto"],
    mirror: bool | Literal["auto"],
    recolour: bool | Literal["auto"],
    flipped: bool,
    shape: tuple[int, int, int],
) -> Transformations:
    """What to tell of images (C, H, W): as asked.

    ``auto`` is as many turns as keep the shape; and mirror images, where there are turns to tell
    and no ``flipped`` copies are shown as the same; exchanged colours only once none of these can
    be told (``Learning``). Raises ConfigError where quarter turns would change the shape, mirror
    images are to be told and are shown as the same, or colours are to be exchanged and there are
    none.
    """
    channels, height, width = shape
    if rotations == "auto":
        rotations = 4 if height == width else 2
    elif rotations == 4 and height != width:
        raise ConfigError(
            f"classifier.rotations = 4 needs square images, got {height}x{width}; "
            "set it to 2 or 1, or set images.size"
        )
    if mirror == "auto":
        mirror = rotations > 1 and not flipped
    elif mirror and flipped:
        raise ConfigError(
            "classifier.mirror = true would tell mirror images apart that augment.flip shows as "
            "the same; set one of the two to false"
        )
    if recolour == "auto":
        recolour = False
    elif recolour:
        need_colours("classifier.recolour", channels)
    return Transformations(rotations, mirror, recolour)


def need_colours(key: str, channels: int) -> None:
    """Raise ConfigError where ``key``, which is true, has no red and blue to exchange."""
    if channels != CHANNELS:
        raise ConfigError(
            f"{key} = true exchanges red and blue, and the images have "
            f"{channels} channel{'s' * (channels > 1)}, not {CHANNELS}; set it to false"
        )


def look_alike(
    believed: NDArray[np.floating],
    clusters: NDArray[np.int64],
    n_clusters: int,
    transformations: Transformations,
) -> NDArray[np.bool_]:
    """Which transformations leave each cluster looking the same, bool (K, T): a subgroup each.

    ``believed``: float (N, T, T), how far image i, changed by t, is believed to be changed by s.
    ``clusters``: int64 (N,) of the images. A transformation leaves things as they are where the
    right belief is higher than that in what it would be after it, or before it, in under ``TOLD``
    of the cases; taken is the largest group of such ones. Fewer than ``ASKED`` images do not say.
    """
    every, after = np.arange(len(transformations)), transformations.after()
    right = believed[:, every, every]
    other = believed[:, every[:, None], after]  # (N, T, step)
    told = (right[:, :, None] > other).mean(axis=1)
    # one order of belief for every image is no knowledge, yet tells a quarter turn in up to 3 of 4
    told = (told + told[:, np.argmin(after, axis=0)]) / 2
    told[:, 0] = 0.0  # as it is
    subgroups = transformations.subgroups()
    found = np.zeros((n_clusters, len(every)), bool)
    found[:, 0] = True
    for cluster in range(n_clusters):
        of_cluster = clusters == cluster
        if of_cluster.sum() < ASKED:
            continue
        share = told[of_cluster].mean(axis=0)
        within = subgroups[~(subgroups & (share >= TOLD)).any(axis=1)]
        largest = within[within.sum(axis=1) == within.sum(axis=1).max()]
        found[cluster] = largest[np.argmin(largest @ share)]
    return found


def share_known(believed: NDArray[np.floating], alike: NDArray[np.int64]) -> float:
    """The share, 0 to 1, of the entropy of the transformations that these beliefs remove.

    ``alike``: int64 (N,), by how many each image looks the same: of T, log(T / alike) is to be
    known. The beliefs are taken at the temperature that suits these images best (Guo et al. 2017,
    arXiv 1706.04599): a network can be sure where it errs and yet know most turns. ``UNSAID`` where
    there is nothing but the image as it is or no image to ask, 0 where all look the same by every
    one.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    n = believed.shape[1]
    if n == 1 or not len(believed):
        return UNSAID
    to_know = np.log(n / alike).mean()
    if to_know == 0:
        return 0.0
    every = np.arange(n)
    logits = believed.astype(np.float64)

    def unknown(sharpness: float) -> float:  # convex, so that one minimum is all there is
        log_p = log_softmax(sharpness * logits, axis=2)[:, every, every]
        return float(-log_p.mean() - np.log(alike).mean())

    best = minimize_scalar(unknown, bounds=(0.0, SHARPEST), method="bounded")
    return float(np.clip(1 - best.fun / to_know, 0, 1))


def shared_targets(alike: NDArray[np.bool_], transformations: Transformations) -> Tensor:
    """Float (K * T, K * T): each class (cluster x transformation) spread evenly over those like it.

    ``alike``: bool (K, T), the transformations that leave each cluster looking the same.
    """
    n = len(transformations)
    same = np.zeros((len(alike), n, n))
    for members, targets in zip(alike, same, strict=True):
        steps = transformations.after()[:, members]
        np.put_along_axis(targets, steps, 1 / members.sum(), axis=1)
    return torch.block_diag(*torch.from_numpy(same).float())
