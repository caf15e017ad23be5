"""Standardize by hand, and latents in order whatever the batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.layers import LatentModel, Standardize, encode


class Corner(LatentModel):
    """The top left pixel as a latent of length 1."""

    def encode(self, x):
        return x[:, :, 0, 0]

    def decode(self, z):
        return z[:, :, None, None].expand(-1, -1, 2, 2)


def test_standardize_by_hand():
    array = np.zeros((2, 2, 1, 2), np.uint8)
    array[0, 0] = 0, 255  # channel 0: half black, half white
    array[1, 0] = 255, 0
    array[:, 1] = 51  # channel 1: 0.2 everywhere
    layer = Standardize(2)
    layer.adapt(ImageSet.of(array))
    assert layer.mean.flatten().tolist() == pytest.approx([0.5, 0.2])
    assert layer.std.flatten().tolist() == pytest.approx([0.5, 1.0])
    x = torch.tensor([1.0, 0.0, 0.2, 1.2]).reshape(1, 2, 1, 2)
    assert layer(x).flatten().tolist() == pytest.approx([1.0, -1.0, 0.0, 1.0], abs=1e-6)


def test_standardize_counts_every_image_once_over_batches():
    levels = np.random.default_rng(0).integers(0, 256, (4096 + 17, 3, 1, 2), dtype=np.uint8)
    layer = Standardize(3)
    layer.adapt(ImageSet.of(levels))
    pixels = levels / 255.0
    assert layer.mean.flatten().numpy() == pytest.approx(pixels.mean(axis=(0, 2, 3)), abs=1e-6)
    assert layer.std.flatten().numpy() == pytest.approx(pixels.std(axis=(0, 2, 3)), abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=20))
def test_standardized_images_have_mean_0_and_deviation_1_or_are_constant(levels):
    images = ImageSet.of(np.array(levels, np.uint8).reshape(-1, 1, 1, 1))
    layer = Standardize(1)
    layer.adapt(images)
    out = layer(Runtime().floats(images.read())).double()
    assert float(out.mean()) == pytest.approx(0, abs=1e-3)
    assert float(out.std(correction=0)) == pytest.approx(float(len(set(levels)) > 1), abs=1e-3)


def test_statistics_are_kept_with_the_weights_and_are_not_trained():
    layer = Standardize(1)
    assert list(layer.state_dict()) == ["mean", "std"]
    assert list(layer.parameters()) == []


def test_latents_are_in_order_whatever_the_batch(runtime):
    levels = np.arange(0, 250, 10, dtype=np.uint8)
    array = np.zeros((25, 1, 2, 2), np.uint8)
    array[:, 0, 0, 0] = levels
    images = ImageSet.of(array).take(np.arange(25)[::-1])
    for batch_size in (1, 7, 25, 1000):
        z = encode(Corner(), images, runtime, batch_size)
        assert z.dtype == np.float32
        assert z[:, 0] == pytest.approx(levels[::-1] / 255.0)
