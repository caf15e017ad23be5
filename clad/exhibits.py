"""What a report shows beside scores: thumbnails and latents, kept by ``fit`` and ``run``.

The model keeps its calibration images, the images nearest each cluster's centre and the training
curves; a run's folder keeps its test images. Nothing of it decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clad import thumbnails
from clad.artifact import Bundle, read_bundle, write_bundle
from clad.data.images import ImageSet
from clad.data.large import LargeImages
from clad.errors import ModelError
from clad.runtime import log
from clad.thumbnails import Thumbnails

if TYPE_CHECKING:
    from clad.detector import Detector
    from clad.pipeline import CLAD

KEY = "exhibits"
CURVES = "curves"
NEAREST = 12  # images of each cluster in the gallery
CLUSTERS = 40  # the largest, in the gallery
SAMPLE = 3000  # images fitted on, among which the nearest are looked for
BATCH = 512


@dataclass(frozen=True, eq=False)
class Exhibits:
    """M images, a row each: ``names``, ``thumbnails``, and in ``rows`` arrays of what is known.

    ``latents`` float32 (M, D) of calibration and scored images; ``clusters`` int64 (M,) of the
    gallery, cluster by cluster, the images nearest its centre first.
    """

    names: Sequence[str]
    thumbnails: Thumbnails
    rows: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def joined(self, other: Exhibits) -> Exhibits:
        """These and ``other``'s, of the same detector, after them."""
        return Exhibits(
            [*self.names, *other.names],
            self.thumbnails.joined(other.thumbnails),
            {name: np.concatenate([rows, other.rows[name]]) for name, rows in self.rows.items()},
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Its arrays by name; names are for the document."""
        return {**self.thumbnails.arrays(), **self.rows}


def of_images(detector: Detector, parts: Iterable[ImageSet | LargeImages]) -> Exhibits:
    """Exhibits of images of the detector's shape, in one or more parts; this encodes them."""
    names: list[str] = []
    latents = [np.zeros((0, detector.model_.centers.shape[1]), np.float32)]

    def batches() -> Iterator[NDArray[np.uint8]]:
        for part in filter(len, parts):
            names.extend(part.names)
            latents.append(detector.latents(part))
            yield from part.batches(BATCH)

    pictures = thumbnails.make(batches())
    return Exhibits(names, pictures, {"latents": np.concatenate(latents)})


def gallery(detector: CLAD) -> Exhibits:
    """The images, or tiles, fitted on nearest to their cluster's centre, of a sample of them."""
    n = len(detector.learnt_from_)
    seed = detector.runtime_.seed_for("gallery")
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[:SAMPLE])
    sample, clusters = detector.learnt_from_.take(chosen), detector.clusters_[chosen]
    centers = detector.model_.centers[clusters]
    latents = detector.stages_.latents(sample, detector.runtime_)
    distances = np.linalg.norm(latents - centers, axis=1)
    counts = np.bincount(detector.clusters_, minlength=detector.n_clusters_)
    nearest = [
        members[np.argsort(distances[members], kind="stable")[:NEAREST]]
        for cluster in np.sort(np.argsort(-counts, kind="stable")[:CLUSTERS])
        if len(members := np.flatnonzero(clusters == cluster))
    ]
    shown = np.concatenate(nearest)
    images = sample.take(shown)
    pictures = thumbnails.make(images.batches(BATCH))
    return Exhibits(images.names, pictures, {"clusters": clusters[shown]})


def keep_fitted(folder: Path, detector: CLAD) -> None:
    """Put a detector's exhibits just fitted, and its curves, beside its model in ``folder``."""
    log.info("exhibits ...")
    held_out, nearest = of_images(detector, [detector.calibration_images_]), gallery(detector)
    document = dict(read_bundle(folder, only=()).document)
    document[CURVES] = {stage: list(curve) for stage, curve in detector.losses_.items()}
    document[KEY] = {"calibration": list(held_out.names), "fit": list(nearest.names)}
    arrays = {
        f"{KEY}-calibration": held_out.arrays(),
        f"{KEY}-fit": nearest.arrays(),
    }
    write_bundle(folder, Bundle(arrays, document), update=True)


def keep_calibration(folder: Path, held_out: Exhibits) -> None:
    """Replace the calibration images of the model in ``folder``; the rest stays."""
    document = dict(read_bundle(folder, only=()).document)
    document[KEY] = {**document.get(KEY, {}), "calibration": list(held_out.names)}
    write_bundle(folder, Bundle({f"{KEY}-calibration": held_out.arrays()}, document), update=True)


def keep_scored(folder: Path, scored: Exhibits) -> None:
    """Write the exhibits of scored images as a bundle of their own."""
    write_bundle(folder, Bundle({KEY: scored.arrays()}, {KEY: {"scored": list(scored.names)}}))


def read_scored(folder: Path) -> Exhibits | None:
    """What ``keep_scored`` wrote, or None where the folder is absent."""
    return _read(folder, "scored", KEY) if folder.exists() else None


def read_calibration(folder: Path) -> Exhibits | None:
    """The calibration images kept with the model in ``folder``, or None."""
    return _read(folder, "calibration", f"{KEY}-calibration")


def read_gallery(folder: Path) -> Exhibits | None:
    """The gallery kept with the model in ``folder``, or None."""
    return _read(folder, "fit", f"{KEY}-fit")


def read_curves(folder: Path) -> dict[str, list[float]]:
    """Mean loss an epoch by stage, of the model in ``folder``; empty where it keeps none."""
    found: dict[str, list[float]] = read_bundle(folder, only=()).document.get(CURVES, {})
    return found


def _read(folder: Path, part: str, group: str) -> Exhibits | None:
    """One part of what a bundle keeps. Raises ModelError where it is damaged or not whole."""
    names = read_bundle(folder, only=()).document.get(KEY, {}).get(part)
    if names is None:
        return None
    arrays = read_bundle(folder, only=(group,)).arrays[group]
    try:
        rows = {name: arrays[name] for name in ("latents", "clusters") if name in arrays}
        found = Exhibits(names, Thumbnails.of_arrays(arrays), rows)
        if {len(names)} != {len(found.thumbnails), *map(len, rows.values())}:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise ModelError(f"{folder}: {group}: names and thumbnails do not fit") from None
    return found
