"""Attributions: gradients of the very score that the detector gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clad import CLAD
from clad.attribution import attributions, score
from clad.data.images import ImageSet


@pytest.fixture(
    scope="module", params=["fused", "texture", "energy", "colours", "neighbours", "odin"]
)
def fitted(request, detector, normals):
    if request.param == "fused":  # the default
        return detector
    settings = {**detector.config_.model_dump(), "score": {"method": request.param}}
    settings["odin"] = {"perturbation": 0.0}
    if request.param == "colours":
        settings["images"]["channels"] = 3
    return CLAD(settings).fit(normals)


def images_of(fitted, mixed):
    return fitted.read(mixed)[0]


def test_it_is_the_detectors_score(fitted, mixed):
    images = images_of(fitted, mixed)
    x = fitted.runtime_.floats(images.read())
    with torch.no_grad():
        found = score(fitted.model_, x).numpy()
    expected = fitted.decision_function(mixed)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.ptp(expected))


def test_a_step_along_the_gradient_raises_the_score(fitted, mixed):
    images = images_of(fitted, mixed)
    x = fitted.runtime_.floats(images.read()).requires_grad_(True)
    before = score(fitted.model_, x)
    (gradient,) = torch.autograd.grad(before.sum(), x)
    length = gradient.square().sum(dim=(1, 2, 3), keepdim=True)
    with torch.no_grad():
        after = score(fitted.model_, x + 1e-3 * gradient / length.sqrt())
    assert (after > before).float().mean() > 0.9


def test_maps_are_the_absolute_gradient(fitted, mixed):
    images = images_of(fitted, mixed)
    maps = list(attributions(fitted.model_, images, fitted.runtime_, batch_size=7))
    assert len(maps) == len(images)
    assert {(m.kind, m.step, m.size) for m in maps} == {("attribution", 1, (12, 12))}
    few = ImageSet.of(images.read(slice(0, 3)))
    again = list(attributions(fitted.model_, few, fitted.runtime_))
    for a, b in zip(maps, again, strict=False):
        np.testing.assert_allclose(a.values, b.values, rtol=1e-2, atol=1e-3 * a.values.max())
        assert (a.values >= 0).all()
        assert a.values.max() > 0
