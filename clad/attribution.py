"""Which pixels of a small image its anomaly score hangs on: the score's gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clad.data.images import ImageSet
from clad.model import Model
from clad.runtime import Runtime
from clad.scoremap import ScoreMap
from clad.stages.fused import Fused, exchanged, log_tail, of_logits, texture_of
from clad.stages.layers import FeatureModel
from clad.stages.odin import log_confidence
from clad.stages.transformations import Transformations


def attributions(
    model: Model, images: ImageSet, runtime: Runtime, batch_size: int = 64
) -> Iterator[ScoreMap]:
    """For each image |d score / d pixel|, summed over channels (Simonyan et al. 2014, 1312.6034).

    Maps have the images' network size; large where a small change of the pixel changes the score.
    """
    model.classifier.eval().requires_grad_(False)
    if model.fused is not None and model.fused.colours_ is not None:
        model.fused.colours_.eval().requires_grad_(False)
    for batch in images.batches(batch_size):
        x = runtime.floats(batch).requires_grad_(True)
        (gradient,) = torch.autograd.grad(score(model, x).sum(), x)
        for values in gradient.abs().sum(dim=1).cpu().numpy():
            yield ScoreMap(values, 1, values.shape, "attribution")


def score(model: Model, x: Tensor) -> Tensor:
    """The anomaly scores (N,) of images (N, C, H, W) in [0, 1], as a differentiable function.

    By ODIN before its perturbation, which is a small step along this very gradient.
    """
    if model.fused is not None:
        return _fused(model.fused, model.classifier, x)
    if model.neighbours is not None:
        near = model.neighbours
        parts = _parts(model.classifier, x, near.features_, near.transformations)
        of_distance, of_logit = near.scales_
        return parts["features"] / of_distance + parts["logits"] / of_logit
    temperature = model.odin.temperature
    logits = model.classifier(x)
    return -temperature * (log_confidence(logits, temperature) + math.log(logits.shape[1]))


def _fused(fused: Fused, network: FeatureModel, x: Tensor) -> Tensor:
    places, scales, weights = (
        torch.from_numpy(a).to(x.device) for a in (fused.places_, fused.scales_, fused.weights_)
    )
    whitening = None if fused.whitening_ is None else torch.from_numpy(fused.whitening_)
    distances = []
    for turn in range(fused.transformations.rotations):
        maps = network.maps(fused.transformations.apply(x, turn))
        for texture, turned in zip(texture_of(maps, whitening), fused.textures_, strict=True):
            known = torch.from_numpy(turned[turn]).to(x.device)
            distances.append(_to_nearest(texture, known))
    parts = _parts(network, x, fused.features_, fused.transformations)
    parts["texture"] = torch.stack(distances).mean(dim=0)
    if "patches" in fused.parts_:
        known, of_patches = (
            torch.from_numpy(a).to(x.device) for a in (fused.patches_, fused.patch_whitening_)
        )
        parts["patches"] = _to_nearest(fused.dictionary_(x) @ of_patches, known)
    if fused.colours_ is not None:
        parts["colours"] = exchanged(fused.colours_.head(fused.colours_.features(x)))
    if fused.method != "fused":
        return parts[fused.method]
    z = (torch.stack([parts[name] for name in fused.parts_], dim=1).double() - places) / scales
    return -log_tail(z, float(fused.degrees_[0])) @ weights


def _parts(
    network: FeatureModel,
    x: Tensor,
    features: NDArray[np.float32],
    transformations: Transformations,
) -> dict[str, Tensor]:
    """What the logits say and the distance to the nearest features turned alike, each averaged
    over the turns, (N,)."""
    turns = []
    for turn, known in enumerate(torch.from_numpy(features).to(x.device)):
        response = network.features(transformations.apply(x, turn))
        parts = of_logits(network.head(response), turn, len(transformations))
        turns.append({**parts, "features": _to_nearest(F.normalize(response, dim=1), known)})
    return {name: torch.stack([turn[name] for turn in turns]).mean(dim=0) for name in turns[0]}


def _to_nearest(rows: Tensor, known: Tensor) -> Tensor:
    """Distance (N,) of rows (N, F) to the nearest of ``known`` (M, F)."""
    with torch.no_grad():
        nearest = known[torch.cdist(rows, known).argmin(dim=1)]
    return (rows - nearest).norm(dim=1)
