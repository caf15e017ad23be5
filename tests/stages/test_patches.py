"""Patch features: by hand on one word, and what they do not see."""

import numpy as np
import pytest
import torch

from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages import patches
from clad.stages.patches import CONTRAST, LEAST, PatchFeatures, _sample

RUNTIME = Runtime(seed=1)


def noise(n=60, shape=(1, 8, 8), seed=0):
    return ImageSet.of(np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8))


def test_one_word_by_hand(monkeypatch):
    """Patches of 2 x 2 of (0, 0, 1, 1) / (0, 0, 1, 1): even, an edge, even. The edge is (-1/2, 1/2)
    twice, of deviation 1/2, so that normalised it is (-1, 1, -1, 1) but for the added contrast."""
    monkeypatch.setattr(patches, "SIDE", 2)
    features = PatchFeatures(1, (1, 2, 4))
    features.words.copy_(torch.tensor([[-0.5, 0.5, -0.5, 0.5]]))
    features.bias.fill_(-LEAST)
    x = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])[None, None]
    edge = 2 * 0.5 / (0.25 + CONTRAST) ** 0.5 - LEAST
    assert features(x).item() == pytest.approx(edge / 3, rel=1e-6)
    assert features(1 - x).item() == 0, "the opposite edge is not this word"


def test_brightness_is_not_seen_and_contrast_hardly():
    features = PatchFeatures.fit(noise(), RUNTIME)
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5
    torch.testing.assert_close(features(x), features(x + 0.3), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features(x), features(x * 1.5), rtol=0.02, atol=1e-3)


def test_batches_and_seeds():
    images = noise(160, (3, 9, 12))
    first, again = (PatchFeatures.fit(images, RUNTIME) for _ in range(2))
    assert first.words.shape == (patches.WORDS, 3 * 16)
    assert torch.equal(first.words, again.words)
    assert not torch.equal(first.words, PatchFeatures.fit(images, Runtime(seed=2)).words)
    x = RUNTIME.floats(images.read(slice(0, 40)))
    torch.testing.assert_close(first(x), torch.cat([first(x[:7]), first(x[7:])]))
    assert (first(x) >= 0).all()
    assert (first(x).std(dim=0) > 0).any()


def test_few_patches_make_few_words():
    images = noise(n=5, shape=(1, 5, 5))  # 5 x 4 patches
    assert len(PatchFeatures.fit(images, RUNTIME).words) == 1


def test_even_images_have_no_words():
    levels = np.arange(50, dtype=np.uint8)[:, None, None, None]
    images = ImageSet.of(np.broadcast_to(levels, (50, 1, 6, 6)).copy())
    found = PatchFeatures.fit(images, RUNTIME)(RUNTIME.floats(images.read()))
    assert found.shape == (50, 1)
    assert (found == 0).all()


def test_a_sample_has_no_patch_twice_and_all_are_patches():
    images = noise(n=3, shape=(2, 4, 5))
    found = _sample(images, 4, np.random.default_rng(0), 99)
    assert len(found) == 6
    whole = {image[:, :, x : x + 4].tobytes() for image in images.read() for x in (0, 1)}
    assert {patch.tobytes() for patch in found} == whole
    twice = ImageSet.of(np.concatenate([images.read(), images.read()]))
    assert len(_sample(twice, 4, np.random.default_rng(0), 99)) == 6
