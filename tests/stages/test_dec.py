"""Stage 2b: equations 1 and 3 of Xie et al. by hand, the stopping rule, nothing lost on the way."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clad.errors import FitError
from clad.runtime import Runtime
from clad.stages import dec
from clad.stages.autoencoder import Autoencoder
from clad.stages.dec import DEC, soft_assignment, target_distribution
from clad.stages.graph import Partition
from clad.stages.kmeans import KMeans
from clad.stages.layers import encode


@pytest.fixture
def trained(images, runtime):
    return Autoencoder("cvae", 3, epochs=2, batch_size=10).fit(images, runtime).network_


def test_soft_assignment_by_hand():
    z = torch.zeros(1, 2)
    # Squared distances 0 and 1: similarities 1 and 1/2.
    q = soft_assignment(z, torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    assert q.tolist() == [pytest.approx([2 / 3, 1 / 3])]
    # 0 and 17: 1 and 1/18.
    q = soft_assignment(z, torch.tensor([[4.0, 1.0], [0.0, 0.0]]))
    assert q.tolist() == [pytest.approx([1 / 19, 18 / 19])]
    # alpha = 3: (1 + 3 / 3)^-2 = 1/4.
    q = soft_assignment(z, torch.tensor([[0.0, 0.0], [3.0**0.5, 0.0]]), alpha=3.0)
    assert q.tolist() == [pytest.approx([4 / 5, 1 / 5])]


def test_target_distribution_by_hand_and_over_all_rows():
    q = torch.tensor([[3 / 4, 1 / 4], [1 / 2, 1 / 2]])
    # f = (5/4, 3/4); q^2 / f = (9/20, 1/12) and (1/5, 1/3).
    p = target_distribution(q)
    assert p[0].tolist() == pytest.approx([27 / 32, 5 / 32])
    assert p[1].tolist() == pytest.approx([3 / 8, 5 / 8])
    assert target_distribution(q[:1])[0].tolist() == pytest.approx([3 / 4, 1 / 4])


numbers = st.floats(-1e3, 1e3, width=32)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=12), st.floats(0.5, 10))
def test_rows_sum_to_one_and_the_nearest_centre_comes_first(points, alpha):
    z = torch.tensor(points, dtype=torch.float32)
    q = soft_assignment(z, z[:3], alpha)
    p = target_distribution(q)
    assert q.sum(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    assert p.sum(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    squared = (z[:, None] - z[:3]).square().sum(dim=2)
    nearest = squared.gather(1, q.argmax(dim=1, keepdim=True))[:, 0]
    assert nearest.numpy() == pytest.approx(squared.amin(dim=1).numpy(), rel=1e-3, abs=1e-3)


def test_a_latent_on_a_centre_has_a_finite_gradient():
    z = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    centers = z.detach().clone().requires_grad_(True)
    soft_assignment(z, centers)[:, 0].log().sum().backward()
    # d/dz_1 log q_10 with u = z_1 - mu_0 = (2, 2) and s = 1 / 9 to centre 0, 1 to centre 1:
    # -(1 - q_10) * 2 u / (1 + |u|^2), q_10 = 1 / 10.
    assert z.grad[1].tolist() == pytest.approx([-0.9 * 4 / 9] * 2)
    assert torch.isfinite(centers.grad).all()


@pytest.mark.parametrize(("agreement", "n_clusters"), [(-1.0, 12), (0.95, 2), (1.01, 1)])
def test_taken_are_the_finest_communities_that_augmented_copies_have(
    agreement, n_clusters, images, runtime, trained, monkeypatch, caplog
):
    """Twelve by lot, two of k-means, one; the copy of an image is another of the same half."""
    rng = np.random.default_rng(0)
    n = len(images)
    halves = KMeans(2, seed=0).fit(encode(trained, images, runtime)).labels_
    by_lot = rng.permutation(np.arange(n) % 12)
    another = np.arange(n)
    for half in (halves == 0, halves == 1):
        another[half] = np.roll(another[half], 1)

    class Fixed:
        def __init__(self, seed):
            pass

        def fit(self, latents, groups):
            labels = by_lot, halves, np.zeros(n, np.int64)
            self.partitions_ = [Partition(1.0, 1.0, part) for part in labels]
            return self

    monkeypatch.setattr("clad.stages.dec.GraphClustering", Fixed)
    caplog.set_level("INFO", "clad")
    stage = DEC("auto", agreement=agreement, epochs=0)
    stage.fit(trained, images, runtime, augment=lambda x, _: x[another])
    assert len(stage.centers_) == n_clusters
    taken = {12: by_lot, 2: halves, 1: np.zeros(n)}[n_clusters]
    np.testing.assert_array_equal(stage.labels_, taken)
    asked = caplog.text.count("augmented copies agree with")
    assert asked == {12: 1, 2: 2, 1: 2}[n_clusters]


def test_no_epochs_is_k_means(images, runtime, trained):
    stage = DEC(3, epochs=0).fit(trained, images, runtime)
    latents = encode(trained, images, runtime)
    plain = KMeans(3, seed=runtime.seed_for("kmeans")).fit(latents)
    assert (stage.labels_ == plain.labels_).all()
    assert (stage.centers_ == plain.cluster_centers_).all()
    assert (stage.latents_ == latents).all()
    assert stage.losses_ == []


def test_training_sharpens_the_clusters_and_leaves_the_autoencoder(images, runtime, trained, equal):
    before = copy.deepcopy(trained)
    stage = DEC(3, epochs=5, batch_size=10, tolerance=0.0).fit(trained, images, runtime)
    assert equal(trained, before)
    assert not equal(stage.network_, before)
    assert len(stage.losses_) == 5

    def certainty(latents, centers):
        q = soft_assignment(torch.from_numpy(latents), torch.from_numpy(centers))
        return float(q.amax(dim=1).mean())

    start = DEC(3, epochs=0).fit(trained, images, runtime)
    sharp = certainty(stage.latents_, stage.centers_)
    assert sharp > certainty(start.latents_, start.centers_)
    assert stage.labels_.dtype == np.int64
    assert (stage.assign(stage.latents_) == stage.labels_).all()


def test_training_ends_when_fewer_labels_than_the_tolerance_change(make_images, runtime, caplog):
    images = make_images(90)
    network = Autoencoder("cvae", 3, epochs=3, batch_size=45).fit(images, runtime).network_

    def fit(epochs, tolerance=0.0):
        stage = DEC(3, epochs=epochs, learning_rate=0.1, batch_size=15, tolerance=tolerance)
        return stage.fit(network, images, runtime)

    labels = [fit(epochs).labels_ for epochs in range(6)]
    changed = [float((a != b).mean()) for a, b in pairwise(labels)]
    assert not caplog.records  # no cluster was lost and repaired, which would relabel images
    assert len(set(changed)) >= 3  # or this shows nothing
    for tolerance in (*changed, *(c + 1e-6 for c in changed), 0.999):
        expected = next((e + 1 for e, c in enumerate(changed) if c < tolerance), 5)
        assert len(fit(5, tolerance).losses_) == expected


def test_reconstruction_weight_trains_the_decoder_too(images, runtime, trained):
    def fit(weight):
        stage = DEC(3, epochs=2, batch_size=10, tolerance=0.0, reconstruction_weight=weight)
        return stage.fit(trained, images, runtime)

    def decoder(network):
        return torch.cat([p.flatten() for p in network.decoder.parameters()])

    plain, idec, heavy = fit(0.0), fit(0.1), fit(1.0)
    assert decoder(plain.network_).equal(decoder(trained))
    assert not decoder(idec.network_).equal(decoder(trained))
    assert plain.losses_[0] < idec.losses_[0] < heavy.losses_[0]  # KL + weight * error


def test_fewer_images_than_clusters_names_both(make_images, runtime, trained):
    with pytest.raises(FitError, match="n_samples=3 should be >= n_clusters=5"):
        DEC(5).fit(trained, make_images(3), runtime)


def test_a_collapsed_cluster_is_repaired(images, runtime, trained, monkeypatch):
    def lose_one(stage, model, *args, **kwargs):
        with torch.no_grad():
            model.centers[1] = 1e4
        return [0.0]

    monkeypatch.setattr(dec, "train", lose_one)
    stage = DEC(3, epochs=1).fit(trained, images, runtime)
    assert set(stage.labels_) == {0, 1, 2}
    assert np.abs(stage.centers_).max() < 1e3
    assert (stage.assign(stage.latents_) == stage.labels_).all()


def test_latents_fallen_into_one_point_are_an_error(images, runtime, trained, monkeypatch):
    def collapse(stage, model, *args, **kwargs):
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.zero_()
        return [0.0]

    monkeypatch.setattr(dec, "train", collapse)
    with pytest.raises(FitError, match="n_samples=1 distinct should be >= n_clusters=3"):
        DEC(3, epochs=1).fit(trained, images, runtime)


def test_same_seed_same_labels(images, trained, equal):
    one, again, other = (
        DEC(4, epochs=1, batch_size=10).fit(trained, images, Runtime(seed=s)) for s in (0, 0, 1)
    )
    assert equal(one.network_, again.network_)
    assert (one.centers_ == again.centers_).all()
    assert not equal(one.network_, other.network_)


@pytest.mark.parametrize("saves", [1, 2])
@pytest.mark.parametrize("architecture", ["cvae", "cvae_large"])
def test_a_run_cut_off_ends_at_the_same_labels_bit_for_bit(
    architecture, saves, images, runtime, equal, resume
):
    network = Autoencoder(architecture, 3, epochs=1, batch_size=10).fit(images, runtime).network_

    def fit(checkpoints):
        stage = DEC(4, epochs=3, batch_size=10, tolerance=0.0, reconstruction_weight=0.1)
        return stage.fit(network, images, runtime, checkpoints)

    whole, resumed = fit(None), resume(fit, saves)
    assert resumed.losses_ == whole.losses_
    assert equal(resumed.network_, whole.network_)
    assert (resumed.centers_ == whole.centers_).all()
    assert (resumed.labels_ == whole.labels_).all()
