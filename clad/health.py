"""After every fit: signs that a detector has learnt nothing, found on its normal images alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clad.errors import FitError

HARMLESS = 0.55  # share of images that may look more normal than their mirror images
COLLAPSED = 0.99  # share of the images in one of several clusters


@dataclass(frozen=True)
class Finding:
    """Something wrong with a fitted detector: its ``name``, and in ``text`` what to try."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


def check(
    losses: Mapping[str, Sequence[float]],
    variance: float,
    clusters: NDArray[np.int64],
    n_clusters: int,
    n_transformations: int,
    scores: NDArray[np.float64],
    alpha: float,
    mirrored: float | None = None,
) -> list[Finding]:
    """What is wrong with a detector just fitted; an empty list where nothing is.

    ``losses``: each stage's mean loss an epoch. ``variance``: of the pixels in [0, 1], the loss of
    a grey image; inf where the autoencoder's has other terms beside. ``clusters``: int64 (n_fit,),
    pseudo-labels; the classifier is to tell ``n_transformations`` beside them. ``scores``: float64
    (n,), of the calibration images.
    ``mirrored``: where images were flipped because the user said so, the share that look more
    normal than their mirror images (``augmentation.mirror_share``). Raises FitError where the
    detector would be useless.
    """
    if np.ptp(scores) == 0:
        raise FitError(
            f"all {len(scores)} calibration images have the same score ({scores[0]:.6g}), so no "
            "threshold tells anything apart; raise classifier.epochs or lower odin.temperature"
        )
    shares = np.bincount(clusters, minlength=n_clusters) / len(clusters)
    guess = float(
        -(shares[shares > 0] * np.log(shares[shares > 0])).sum() + np.log(n_transformations)
    )
    top = float((scores == scores.max()).mean())
    found = {
        "autoencoder-flat": (
            losses["autoencoder"][-1] >= variance,
            f"its loss ends at {losses['autoencoder'][-1]:.3g}, an even grey has {variance:.3g}; "
            "raise autoencoder.epochs or autoencoder.learning_rate",
        ),
        "clusters-collapsed": (
            n_clusters > 1 and shares.max() > COLLAPSED,
            f"{100 * shares.max():.1f}% of the images are in one of {n_clusters} clusters; "
            "lower dec.clusters or dec.epochs",
        ),
        "classifier-flat": (
            losses["classifier"][-1] >= guess,
            f"its loss ends at {losses['classifier'][-1]:.3g}, guessing has {guess:.3g}; "
            "raise classifier.epochs or classifier.learning_rate; images of one kind that have no "
            "way up leave it nothing to tell",
        ),
        "scores-saturated": (
            top > alpha,
            f"{100 * top:.1f}% of the calibration images share the highest score, more than the "
            f"{100 * alpha:g}% to be flagged; lower odin.temperature or set score.method",
        ),
    }
    if mirrored is not None:
        found["flip-not-harmless"] = (
            mirrored >= HARMLESS,
            f"{100 * mirrored:.0f}% of the images are nearer to others than their mirror images "
            "are (50% where a flip is harmless), so a mirrored part may pass as normal; set "
            "augment.flip to auto or false",
        )
    return [Finding(name, text) for name, (wrong, text) in found.items() if wrong]
