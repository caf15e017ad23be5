"""What a model keeps of its calibration images: any threshold can be set from it later.

Nothing here needs torch, an image or a network, so changing a threshold takes no time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clad import config as configuration
from clad.artifact import Bundle, read_bundle, write_bundle
from clad.config import Config
from clad.data.groups import DIGEST
from clad.errors import CladError, DataError, ModelError
from clad.metrics import detection_rate, false_alarm_rate
from clad.threshold import RULES, Conformal, Guarantee, Rule, make
from clad.threshold.conformal import interval
from clad.threshold.rule import needed, percent

Labelled = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]

GROUP = "calibration"  # its name in a model
ALPHAS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # a trade-off table's rows
FOLDS = 5  # of the calibration images, for measuring a rule on images it has not seen


@dataclass(frozen=True, eq=False)
class Calibration:
    """n calibration images as a model remembers them, a row each.

    ``scores``: float64 (n,), higher = more anomalous. ``clusters``: int64 (n,), predicted.
    ``train_counts``: int64 (K,), images fitted on in each cluster. ``synthetic``: float64 (m,),
    scores of anomalies made from these images. ``names``, ``modes``: n texts; ``brightness``:
    float64 (n,) in [0, 1]; ``sizes``: int64 (n, 2), height and width of the files. ``digests``:
    uint8 (n, 16), of each image's pixels. ``groups``: how many groups (tracks, sets of duplicates)
    the images are of; n where each stands alone. ``cross``: whether each score comes from a model
    of a fold without its image.
    """

    scores: NDArray[np.float64]
    clusters: NDArray[np.int64]
    train_counts: NDArray[np.int64]
    synthetic: NDArray[np.float64]
    brightness: NDArray[np.float64]
    sizes: NDArray[np.int64]
    digests: NDArray[np.uint8]
    names: Sequence[str]
    modes: Sequence[str]
    groups: int
    cross: bool = False

    ROWS = ("scores", "clusters", "brightness", "sizes", "digests")  # arrays, a row an image

    def __len__(self) -> int:
        return len(self.scores)

    def rule(self, settings: configuration.Threshold) -> Rule:
        """The rule of these settings, fitted. Raises DataError where the scores do not allow it."""
        return make(**dict(settings)).fit(
            self.scores, self.clusters, train_counts=self.train_counts, synthetic=self.synthetic
        )

    def guarantee(self, rule: Rule) -> Guarantee:
        """The rule's promise, where scores are of independent images and of the model in use.

        Out-of-fold scores are of other models; images of one group tell little more than one image.
        Both carry no proof, and the interval of grouped images is that of as many single ones.
        """
        stated = rule.guarantee()
        if stated.promised is None:
            return stated
        if not (self.cross or self.dependent):
            return stated
        aim = f"{100 * stated.promised:.4g}% false alarms aimed at"
        if self.cross:
            text = f"{aim}, without proof: the {stated.n} calibration scores are of folds' models"
            return Guarantee(text, None, stated.n)
        rank = min(self.groups, math.ceil((self.groups + 1) * (1 - stated.promised)))
        low, high = interval(self.groups, rank)
        text = (
            f"{aim}: the {stated.n} calibration images are of {self.groups} groups, expect "
            f"{percent(low)} to {percent(high)}% (90% interval of {self.groups} independent images)"
        )
        return Guarantee(text, None, stated.n, low, high)

    @property
    def dependent(self) -> bool:
        """Whether the images come in groups; a few duplicates do not matter."""
        return self.groups < len(self) / 2

    def joined(self, other: Calibration) -> Calibration:
        """These images and ``other``'s after them; those that are here already count once."""
        known = {row.tobytes() for row in self.digests}
        other = other.take(np.array([row.tobytes() not in known for row in other.digests], bool))
        arrays = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])
            for name in (*self.ROWS, "synthetic")
        }
        return replace(
            self,
            **arrays,
            names=[*self.names, *other.names],
            modes=[*self.modes, *other.modes],
            groups=self.groups + min(other.groups, len(other)),
            cross=self.cross or other.cross,
        )

    def take(self, chosen: NDArray[np.bool_]) -> Calibration:
        """The rows where ``chosen`` bool (n,) is true; the synthetic scores stay."""
        return replace(
            self,
            **{name: getattr(self, name)[chosen] for name in self.ROWS},
            names=[name for name, kept in zip(self.names, chosen, strict=True) if kept],
            modes=[mode for mode, kept in zip(self.modes, chosen, strict=True) if kept],
        )

    # -- on disk --------------------------------------------------------------------------------

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name."""
        return {name: getattr(self, name) for name in (*self.ROWS, "train_counts", "synthetic")}

    def document(self) -> dict[str, Any]:
        """What JSON holds of it."""
        return {
            **{"names": list(self.names), "modes": list(self.modes)},
            **{"groups": self.groups, "cross": self.cross},
        }

    @classmethod
    def of(cls, bundle: Bundle, source: str | Path) -> Calibration:
        """The calibration in a model's bundle. Raises ModelError where it is not whole."""
        found: Any = bundle.document.get(GROUP)
        kinds = {"names": list, "modes": list, "groups": int, "cross": bool}
        whole = isinstance(found, dict) and {k: type(v) for k, v in found.items()} == kinds
        if not whole or not all(isinstance(x, str) for x in [*found["names"], *found["modes"]]):
            raise ModelError(f"{source}: not a trained model (no whole calibration in it)")
        scores = bundle.array(GROUP, "scores", "float64", (None,), source)
        if not np.isfinite(scores).all():
            raise ModelError(f"{source}: calibration scores should be finite; fit the model again")
        n = len(scores)
        if not len(found["names"]) == len(found["modes"]) == n:
            raise ModelError(f"{source}: calibration scores and names differ in number")
        return cls(
            scores=scores,
            clusters=bundle.array(GROUP, "clusters", "int64", (n,), source),
            train_counts=bundle.array(GROUP, "train_counts", "int64", (None,), source),
            synthetic=bundle.array(GROUP, "synthetic", "float64", (None,), source),
            brightness=bundle.array(GROUP, "brightness", "float64", (n,), source),
            sizes=bundle.array(GROUP, "sizes", "int64", (n, 2), source),
            digests=bundle.array(GROUP, "digests", "uint8", (n, DIGEST), source),
            **found,
        )


@dataclass(frozen=True)
class Trial:
    """One rule tried on a calibration set; None where it does not apply, and ``reason`` why.

    ``promised``: false-alarm rate, None where nothing is. ``low``, ``high``: its 90% interval.
    ``measured``: false-alarm rate on calibration images that the rule was not fitted on (folds).
    ``false_alarms``, ``detected``: rates on labelled scores, where given.
    """

    method: str
    threshold: float | None = None
    promised: float | None = None
    low: float | None = None
    high: float | None = None
    measured: float | None = None
    false_alarms: float | None = None
    detected: float | None = None
    reason: str = ""


def try_rules(
    calibration: Calibration,
    settings: configuration.Threshold,
    labelled: Labelled | None = None,
) -> list[Trial]:
    """Every rule with these settings on the same calibration set, in the order of ``RULES``.

    ``labelled``: scores (N,), clusters (N,) and truth (N,) of images to measure on as well.
    """
    names = [name for name in RULES if name != "manual" or settings.value is not None]
    return [
        _try(calibration, settings.model_copy(update={"method": name}), labelled) for name in names
    ]


def _try(
    calibration: Calibration,
    settings: configuration.Threshold,
    labelled: Labelled | None,
) -> Trial:
    try:
        rule = calibration.rule(settings)
    except (CladError, ValueError) as error:
        return Trial(settings.method, reason=str(error))
    stated = calibration.guarantee(rule)
    trial = Trial(
        settings.method,
        rule.threshold_,
        stated.promised,
        stated.low,
        stated.high,
        _measured(calibration, settings),
    )
    if labelled is None:
        return trial
    scores, clusters, truth = labelled
    flagged = rule.predict(scores, clusters)
    return replace(
        trial,
        false_alarms=false_alarm_rate(flagged, truth),
        detected=detection_rate(flagged, truth),
    )


def _measured(calibration: Calibration, settings: configuration.Threshold) -> float | None:
    """False-alarm rate over folds of the calibration set; None where a fold is too small."""
    fold = np.random.default_rng(0).permutation(len(calibration)) % FOLDS
    flagged = []
    for k in range(FOLDS):
        seen, unseen = calibration.take(fold != k), calibration.take(fold == k)
        try:
            flagged.append(seen.rule(settings).predict(unseen.scores, unseen.clusters))
        except DataError:
            return None
    return float(np.concatenate(flagged).mean())


@dataclass(frozen=True)
class Cost:
    """What one threshold costs on labelled images: counts of each kind, and of how many."""

    alpha: float
    threshold: float
    false_alarms: int
    normals: int
    missed: int
    anomalies: int


def trade_off(
    calibration: Calibration, scores: NDArray[np.float64], anomalous: NDArray[np.bool_]
) -> list[Cost]:
    """False alarms against missed anomalies, for each split-conformal rate that n allows.

    ``scores`` (N,) and ``anomalous`` bool (N,) are of labelled images; the thresholds are not
    chosen by them.
    """
    costs = []
    for alpha in ALPHAS:
        if needed(alpha) > len(calibration):
            continue
        threshold = Conformal(alpha=alpha).fit(calibration.scores).threshold_
        flagged = scores > threshold
        costs.append(
            Cost(
                alpha,
                threshold,
                int((flagged & ~anomalous).sum()),
                int((~anomalous).sum()),
                int((~flagged & anomalous).sum()),
                int(anomalous.sum()),
            )
        )
    return costs


# -- the threshold of a model folder -----------------------------------------------------------


def read_calibration(folder: Path) -> tuple[Calibration, Config]:
    """A model's calibration and configuration, without its networks.

    Raises ModelError where the folder holds no whole model.
    """
    bundle = read_bundle(folder, only=(GROUP,))
    return Calibration.of(bundle, folder), configuration.build_saved(
        bundle.document["config"], f"{folder}/manifest.json"
    )


def write_calibration(folder: Path, calibration: Calibration, config: Config) -> None:
    """Give the model in ``folder`` this calibration and configuration; its networks stay."""
    bundle = read_bundle(folder, only=())
    document = {
        **bundle.document,
        "config": config.model_dump(mode="json"),
        GROUP: calibration.document(),
    }
    write_bundle(folder, Bundle({GROUP: calibration.arrays()}, document), update=True)
