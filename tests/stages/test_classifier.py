"""Stage 3: what the classifier learns, and of which network."""

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from clad.data.images import ImageSet
from clad.runtime import Runtime
from clad.stages.augmentation import Augmentation
from clad.stages.classifier import Classifier
from clad.stages.graph import GraphClustering
from clad.stages.transformations import look_alike

RUNTIME = Runtime()


def accuracy(network, images, labels, runtime):
    with torch.inference_mode():
        return float((network(runtime.floats(images.read())).argmax(1).numpy() == labels).mean())


@pytest.mark.parametrize("stem", ["torchvision", "small", "small-stride"])
@pytest.mark.parametrize(("network", "epochs"), [("resnet18", 10), ("resnet8", 20)])
def test_learns_to_tell_kinds_of_images_apart(network, epochs, stem, make_images, kinds, runtime):
    settings = {"learning_rate": 0.003, "schedule": "one-cycle"}
    stage = Classifier(
        network=network, stem=stem, width=16, epochs=epochs, batch_size=10, **settings
    )
    stage.fit(make_images(), kinds, 3, runtime)
    assert len(stage.losses_) == epochs
    assert stage.losses_[-1] < stage.losses_[0]
    assert accuracy(stage.network_, make_images(seed=1), kinds, runtime) >= 0.9


def test_a_class_without_images_keeps_its_logit(images, kinds, runtime):
    stage = Classifier(stem="small-stride", width=16, epochs=1, batch_size=15)
    stage.fit(images, kinds, 6, runtime)
    assert stage.network_.head.out_features == 6


def test_bfloat16_reaches_the_convolutions_and_weights_stay_float32(images, kinds, monkeypatch):
    seen, forward = [], torch.nn.Conv2d.forward

    def recorder(self, x):
        out = forward(self, x)
        seen.append(out.dtype)
        return out

    monkeypatch.setattr(torch.nn.Conv2d, "forward", recorder)
    stage = Classifier(stem="small-stride", width=16, epochs=3, batch_size=10, learning_rate=0.01)
    stage.fit(images, kinds, 3, Runtime(bfloat16=True))
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in stage.network_.parameters()} == {torch.float32}
    assert stage.losses_[-1] < stage.losses_[0]
    seen.clear()
    rounded = [
        measure(images, Runtime(bfloat16=True)) for measure in (stage.transform, stage.believe)
    ]
    assert set(seen) == {torch.bfloat16}
    exact = [measure(images, Runtime()) for measure in (stage.transform, stage.believe)]
    for one, other in zip(rounded, exact, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=0.02)


def test_same_seed_same_weights(images, kinds, equal):
    def fit(seed):
        stage = Classifier(stem="small-stride", width=16, epochs=1, batch_size=10)
        return stage.fit(images, kinds, 3, Runtime(seed=seed)).network_

    assert equal(fit(0), fit(0))
    assert not equal(fit(0), fit(1))


def test_weights_lie_in_channels_last_and_decay(images, kinds, runtime):
    def size(decay):
        stage = Classifier(
            width=16, epochs=2, batch_size=10, weight_decay=decay, learning_rate=0.01
        )
        network = stage.fit(images, kinds, 3, runtime).network_
        assert network.trunk[4].conv2.weight.is_contiguous(memory_format=torch.channels_last)
        return network.trunk[4].conv2.weight.norm().item()

    assert size(10.0) < 0.9 * size(0.0)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_run_cut_off_ends_at_the_same_weights_bit_for_bit(bfloat16, images, kinds, equal, resume):
    def fit(checkpoints):
        stage = Classifier(
            stem="small-stride", width=16, epochs=3, batch_size=10, schedule="one-cycle"
        )
        return stage.fit(images, kinds, 3, Runtime(bfloat16=bfloat16), checkpoints)

    whole, resumed = fit(None), resume(fit)
    assert resumed.losses_ == whole.losses_
    assert equal(resumed.network_, whole.network_)
    for ours, theirs in zip(
        whole.network_.parameters(), resumed.network_.parameters(), strict=True
    ):
        assert ours.stride() == theirs.stride()
    assert np.isfinite(whole.losses_).all()


def test_rounds_share_the_epochs():
    images = ImageSet.of(np.zeros((1000, 1, 32, 32), np.uint8))
    assert Classifier(epochs=5, rounds=2).epochs_of(images) == [3, 2]
    assert Classifier(epochs=1, rounds=3).epochs_of(images) == [1]
    assert Classifier(epochs="auto", rounds=3).epochs_of(images) == [20, 20, 20]


@pytest.mark.parametrize(
    ("stem", "side", "epochs"),
    # 200,000 * 32 * 32 / (4000 * side * side) for small-stride; the others' maps have a quarter
    # and four times as many pixels
    [
        ("small-stride", 32, 50),
        ("small-stride", 64, 12),
        ("torchvision", 64, 50),
        ("small", 32, 12),
    ],
)
def test_epochs_are_by_the_pixels_of_the_stems_map(stem, side, epochs):
    images = ImageSet.of(np.zeros((4000, 1, side, side), np.uint8))
    assert sum(Classifier(stem=stem, epochs="auto").epochs_of(images)) == epochs


def test_a_further_round_goes_on_from_the_trunk_with_another_head():
    rng = np.random.default_rng(0)
    images = ImageSet.of(rng.integers(0, 256, (40, 1, 8, 8), np.uint8))
    # so slow that nothing moves but batch norm's statistics
    stage3 = Classifier(width=16, epochs=4, rounds=3, rotations=2, learning_rate=1e-12)
    labels = rng.integers(2, size=40)
    stage3.fit(images, labels, 2, RUNTIME)
    first, losses = copy.deepcopy(stage3.network_), list(stage3.losses_)
    assert len(losses) == 2
    stage3.refine(images, labels.copy(), 2, RUNTIME)
    torch.testing.assert_close(stage3.network_.head.weight, first.head.weight, rtol=0, atol=1e-6)
    stage3.refine(images, rng.integers(5, size=40), 5, RUNTIME)
    assert stage3.losses_[:2] == losses
    assert len(stage3.losses_) == 4
    assert stage3.network_.head.out_features == 5 * 2
    for one, other in zip(
        first.trunk.parameters(), stage3.network_.trunk.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert torch.equal(first.standardize.mean, stage3.network_.standardize.mean)


def test_other_labels_of_as_many_classes_have_another_head():
    rng = np.random.default_rng(0)
    images = ImageSet.of(rng.integers(0, 256, (40, 1, 8, 8), np.uint8))
    stage3 = Classifier(width=16, epochs=2, rounds=2, learning_rate=1e-12)
    stage3.fit(images, np.arange(40) % 2, 2, RUNTIME)
    before = stage3.network_.head.weight.detach().clone()
    stage3.refine(images, np.arange(40) // 20, 2, RUNTIME)
    assert not torch.allclose(stage3.network_.head.weight, before, atol=1e-3)


def test_the_schedule_spans_all_rounds_and_begins_anew_where_the_labels_do(monkeypatch):
    """Five epochs of two batches: the share of the schedule that is done before each."""
    asked = []
    monkeypatch.setattr(
        "clad.training.learning_rate", lambda schedule, base, done: asked.append(done) or base
    )
    images = ImageSet.of(np.random.default_rng(0).integers(0, 256, (8, 1, 8, 8), np.uint8))
    halves, quarters = np.arange(8) % 2, np.arange(8) % 4

    def shares(rounds, *labels):
        asked.clear()
        stage3 = Classifier(width=16, epochs=5, rounds=rounds, batch_size=4)
        stage3.fit(images, halves, 2, RUNTIME)
        for each in labels:
            stage3.refine(images, each, len(np.unique(each)), RUNTIME)
        return asked

    assert shares(2, halves.copy()) == pytest.approx(np.arange(10) / 10)
    assert shares(2, quarters) == pytest.approx([*np.arange(6) / 10, 0, 1 / 4, 2 / 4, 3 / 4])
    assert shares(3, quarters, quarters) == pytest.approx([0, 0.1, 0.2, 0.3, *np.arange(6) / 6])


@pytest.mark.parametrize(("mirror", "of_top", "of_middle"), [(False, 1, 4), (True, 2, 8)])
def test_what_held_out_images_cannot_tell_is_not_asked_for_again(
    mirror, of_top, of_middle, make_images, runtime
):
    """Bright at the top there is one way up, left and right alike; in the middle there is none."""
    top_or_middle = np.arange(90) % 3 != 1
    images, unseen = (make_images(n=90, seed=s).take(top_or_middle) for s in (0, 1))
    kinds = np.arange(60) % 2
    stage = Classifier(
        stem="small-stride",
        width=16,
        epochs=20,
        rounds=2,
        batch_size=10,
        learning_rate=0.003,
        rotations=4,
        mirror=mirror,
        schedule="one-cycle",
    )
    stage.fit(images, kinds, 2, runtime)
    believed = stage.believe(unseen, runtime)
    np.testing.assert_allclose(np.exp(believed).sum(axis=2), 1, rtol=1e-5)
    told = stage.transformations_
    alike = look_alike(believed, kinds, 2, told)
    assert alike.sum(axis=1).tolist() == [of_top, of_middle]
    n = len(told)
    assert stage.believe(unseen.take(np.arange(0)), runtime).shape == (0, n, n)
    stage.refine(images, kinds, 2, runtime, alike=alike)
    with torch.inference_mode():
        middle = stage.network_.eval()(runtime.floats(unseen.read()))[kinds == 1]
    shares = middle.softmax(1)[:, n:].mean(0)
    assert shares.tolist() == pytest.approx([1 / n] * n, abs=0.1)


class Slant(torch.nn.Module):
    """In the place of a network: how elongated what an image shows is, and at which angle."""

    def features(self, x):
        weights = x[:, 0] / x.sum(dim=(1, 2, 3))[:, None, None]
        places = torch.arange(x.shape[2]) - (x.shape[2] - 1) / 2
        high, wide = ((weights.sum(dim=d) * places**2).sum(dim=1) for d in (2, 1))
        both = (weights * places[:, None] * places).sum(dim=(1, 2))
        return torch.stack([high - wide, 2 * both, 0.5 * (high + wide)], dim=1)


def test_upright_and_slanted_ones_are_one_cluster(monkeypatch):
    """Bars at 0 to 15 and at 25 to 40 degrees, and discs: small turns join the bars alone."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-11.5:12, -11.5:12]

    def bar(degrees):
        along = x * np.sin(np.radians(degrees)) + y * np.cos(np.radians(degrees))
        across = x * np.cos(np.radians(degrees)) - y * np.sin(np.radians(degrees))
        return np.clip(8 - np.abs(along), 0, 1) * np.clip(2.5 - np.abs(across), 0, 1)

    bars = [bar(angle) for low in (0, 25) for angle in rng.uniform(low, low + 15, 80)]
    discs = [np.clip(radius - np.hypot(x, y), 0, 1) for radius in rng.uniform(3, 9, 80)]
    images = ImageSet.of((255 * np.stack([*bars, *discs])[:, None]).astype(np.uint8))
    monkeypatch.setattr("clad.stages.graph.RESOLUTIONS", (0.1,))
    stage = Classifier(agreement=0.75)
    stage.network_ = Slant()
    features = stage.transform(images, RUNTIME)
    graph = GraphClustering(seed=0).fit(features)
    kinds = np.repeat([0, 1, 2], 80)
    assert adjusted_rand_score(graph.labels_, kinds) > 0.95
    found = stage.find_again(graph, features, images, Augmentation(), RUNTIME)
    assert adjusted_rand_score(found, kinds // 2) > 0.95
    monkeypatch.setattr("clad.stages.classifier.SLANT", 2.0)
    found = stage.find_again(graph, features, images, Augmentation(), RUNTIME)
    np.testing.assert_array_equal(found, graph.labels_)


def test_features_are_of_unit_length():
    images = ImageSet.of(np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), np.uint8))
    stage3 = Classifier(width=16, epochs=1).fit(images, np.arange(20) % 2, 2, RUNTIME)
    features = stage3.transform(images, RUNTIME, batch_size=7)
    assert features.shape == (20, 128)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(features, stage3.transform(images, RUNTIME), atol=1e-5)
    copies = [stage3.transform(images, RUNTIME, augment=Augmentation(crop=0.5)) for _ in range(2)]
    np.testing.assert_array_equal(copies[0], copies[1])
    assert not np.allclose(copies[0], features, atol=1e-3)
