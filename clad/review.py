"""The normal images that look least normal: kept with a model, for a person to look at.

Nothing is ever left out because of its score; a trimmed calibration would promise too much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clad.artifact import Bundle, read_bundle, write_bundle
from clad.data.images import ImageSet
from clad.data.large import LargeImages
from clad.runtime import log

if TYPE_CHECKING:
    from clad.pipeline import CLAD

LIMIT = 60  # images of each part
PARTS = ("calibration", "fit")
KEY = "review"


@dataclass(frozen=True, eq=False)
class Suspects:
    """M images, the highest score first, of ``total`` that were scored.

    ``images``: uint8 (M, C, H, W), as the networks see them. ``scores``: float64 (M,), higher =
    more anomalous. ``names``: M texts.
    """

    images: NDArray[np.uint8]
    scores: NDArray[np.float64]
    names: Sequence[str]
    total: int

    def joined(self, other: Suspects) -> Suspects:
        """The most suspicious of both."""
        scores = np.concatenate([self.scores, other.scores])
        first = np.argsort(-scores, kind="stable")[:LIMIT]
        names = [*self.names, *other.names]
        images = np.concatenate([self.images, other.images])[first]
        return Suspects(images, scores[first], [names[i] for i in first], self.total + other.total)


def most_suspicious(images: ImageSet | LargeImages, scores: NDArray[np.float64]) -> Suspects:
    """The ``LIMIT`` images (of N) with the highest scores (N,)."""
    first = np.argsort(-scores, kind="stable")[:LIMIT]
    chosen = images.take(first)
    shown = chosen.read() if isinstance(chosen, ImageSet) else chosen.thumbnails()
    return Suspects(shown, scores[first], chosen.names, len(images))


def of_fitted(detector: CLAD) -> dict[str, Suspects]:
    """The suspects of a detector just fitted; this scores the images fitted on."""
    log.info("review ...")
    held_out = most_suspicious(detector.calibration_images_, detector.calibration_.scores)
    tiled = isinstance(detector.fit_images_, LargeImages)  # scoring them again would take long
    if detector.calibration_.cross or tiled:  # the same images, and these scores say more
        return {"calibration": held_out}
    fitted = most_suspicious(detector.fit_images_, detector.decision_scores_)
    return {"calibration": held_out, "fit": fitted}


def keep(folder: Path, parts: Mapping[str, Suspects]) -> None:
    """Put suspects beside the model in ``folder``; parts not given stay as they are."""
    document = dict(read_bundle(folder, only=()).document)
    arrays: dict[str, dict[str, NDArray[Any]]] = {}
    described = dict(document.get(KEY, {}))
    for part, suspects in parts.items():
        arrays[f"{KEY}-{part}"] = {"images": suspects.images, "scores": suspects.scores}
        described[part] = {"names": list(suspects.names), "total": suspects.total}
    write_bundle(folder, Bundle(arrays, {**document, KEY: described}), update=True)


def read(folder: Path) -> dict[str, Suspects]:
    """What is kept beside the model in ``folder``, by part; raises ModelError without a model."""
    described = read_bundle(folder, only=()).document.get(KEY, {})
    groups = {part: f"{KEY}-{part}" for part in PARTS if part in described}
    arrays = read_bundle(folder, only=groups.values()).arrays
    return {
        part: Suspects(
            arrays[group]["images"],
            arrays[group]["scores"],
            described[part]["names"],
            described[part]["total"],
        )
        for part, group in groups.items()
    }
