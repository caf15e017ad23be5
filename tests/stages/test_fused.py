"""The fused score on a network whose maps, features and logits are known by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t
from torch import nn

from clad.data.images import ImageSet
from clad.errors import FitError
from clad.runtime import Runtime
from clad.stages import fused as module
from clad.stages.fused import (
    NORMAL,
    PARTS,
    Fused,
    exchanged,
    log_tail,
    of_logits,
    texture_of,
    weight_of_classifier,
)
from clad.stages.layers import FeatureModel
from clad.stages.resnet import ResNet18
from clad.stages.transformations import Transformations

RUNTIME = Runtime()


class Halves(FeatureModel):
    """Maps: the image, and twice it beside its square. Features: its upper two pixels. Logits:
    their weighted sums."""

    def __init__(self, weights):
        super().__init__()
        weights = torch.tensor(weights, dtype=torch.float32)
        self.head = nn.Linear(2, len(weights), bias=False)
        self.head.weight.data.copy_(weights)

    def maps(self, x):
        both = torch.cat([x, x.square()], dim=1)
        return [x, both, both]

    def pool(self, last):
        return last[:, 0, 0, :]


def images(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return ImageSet.of(rng.integers(60, 200, (n, 1, 2, 2)).astype(np.uint8))


def masked(n, last):
    held_out = np.zeros(n, bool)
    held_out[-last:] = True
    return held_out


def fitted(method="fused", rotations=1, limit=99, n=40, mirrored=False):
    told = Transformations(rotations, mirrored)
    network = Halves(np.eye(2).tolist() if len(told) == 1 else np.ones((len(told), 2)).tolist())
    fused = Fused(method, transformations=told, limit=limit, seed=3)
    return network, fused.fit(network, images(n), masked(n, 10), RUNTIME)


def test_texture_by_hand():
    """Of (0, 2, 4, 6): mean 3, variance (9 + 1 + 1 + 9) / 4 = 5; of twice that sqrt(20). In a ratio
    of 1 to 2 they are 1 / sqrt(5) and 2 / sqrt(5) of unit length; what is even has none."""
    pixels = torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]])
    even = torch.ones_like(pixels)
    maps = [even, torch.cat([pixels, 2 * pixels], dim=1), torch.cat([even, pixels], dim=1), even]
    second, third = texture_of(maps)
    torch.testing.assert_close(second, torch.tensor([[1.0, 2.0]]) / math.sqrt(5))
    torch.testing.assert_close(third, torch.tensor([[0.0, 1.0]]), atol=1e-6, rtol=0)

    # up to format 8, means and deviations of the first two
    (whitened,) = texture_of(maps, 2 * torch.eye(6))
    moments = [1.0, 0.0, 3.0, 6.0, math.sqrt(5), math.sqrt(20)]
    torch.testing.assert_close(whitened, 2 * torch.tensor([moments]), atol=1e-5, rtol=0)


def test_texture_has_a_gradient_where_a_map_is_even():
    pixels = torch.rand(2, 3, 1, 1, requires_grad=True)
    second, third = texture_of([pixels, pixels, pixels, pixels])
    (gradient,) = torch.autograd.grad((second + third).sum(), pixels)
    assert torch.isfinite(gradient).all()


def test_scores_of_logits_by_hand():
    """Two clusters x two turns, cluster by cluster; turned by 1: its logits are log 2 and log 4,
    the sum of all exponentials is 1 + 2 + 3 + 4 = 10."""
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).double().log()
    scores = {name: value.item() for name, value in of_logits(logits, 1, 2).items()}
    assert scores == pytest.approx(
        {"logits": -math.log(4), "energy": -math.log(6), "turns": -math.log(6 / 10)}
    )


def test_log_odds_of_exchanged_colours_by_hand():
    """Three to one that they are as they should be."""
    logits = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log()
    assert exchanged(logits).tolist() == pytest.approx([-math.log(3), 0.0])


def joining(weights=(1.0, 1.0, 1.0, 1.0), degrees=NORMAL):
    fused = Fused()
    fused.parts_ = PARTS
    fused.places_, fused.scales_ = np.array([1.0, 2.0, 3.0, 0.0]), np.array([1.0, 0.5, 2.0, 1.0])
    fused.weights_, fused.degrees_ = np.array(weights), np.array([degrees])

    def join(*z):
        values = fused.places_ + fused.scales_ * np.array(z)
        parts = {name: np.array([value]) for name, value in zip(PARTS, values, strict=True)}
        return fused.join(parts)[0]

    return join


def test_fishers_join_by_hand():
    """Of z = 0, 0, 1.6449 (tail 5%) and 0: -3 log 0.5 - log 0.05."""
    join = joining()
    assert join(0, 0, 1.644854, 0) == pytest.approx(-math.log(0.5**3 * 0.05), rel=1e-5)
    join = joining((0.8, 0.8, 0.2, 0.2))
    assert join(0, 0, 1.644854, 0) == pytest.approx(-1.8 * math.log(0.5) - 0.2 * math.log(0.05))


@pytest.mark.parametrize(
    ("degrees", "z", "tail"), [(1, 1, 1 / 4), (1, 1 / math.sqrt(3), 1 / 3), (2, math.sqrt(2), None)]
)
def test_tails_of_few_by_hand(degrees, z, tail):
    """Student's with one degree is Cauchy's: 1 / 2 - atan(z) / pi; with two it is
    (1 - z / sqrt(2 + z^2)) / 2, for z = sqrt(2) (1 - sqrt(1 / 2)) / 2."""
    tail = tail or (1 - math.sqrt(0.5)) / 2
    found = log_tail(torch.tensor([z, -z]).double(), degrees)
    assert found.tolist() == pytest.approx([math.log(tail), math.log(1 - tail)], abs=0.02)


@given(
    degrees=st.integers(1, 2000),
    z=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9).map(sorted),
)
def test_tails_are_finite_in_order_and_near_students(degrees, z):
    found = log_tail(torch.tensor(z).double(), degrees).numpy()
    assert np.isfinite(found).all()
    assert (np.diff(found) <= 0).all()
    exact = t.logsf(z, degrees)
    near = np.isfinite(exact) & (np.abs(z) < 50)
    np.testing.assert_allclose(found[near], exact[near], rtol=0.12, atol=0.01)


def test_a_part_of_which_little_is_known_does_not_drown_the_others():
    """Of two tracks' frames one part's deviation was 30 times too small: a normal image's 30 and
    an anomaly's 3 and 3 in parts that were right."""
    assert joining()(30.0, 0, 0, 0) > joining()(0, 3.0, 3.0, 3.0)
    assert joining(degrees=1)(30.0, 0, 0, 0) < joining(degrees=1)(0, 3.0, 3.0, 3.0)


def test_degrees_of_freedom_are_of_independent_images():
    network, fused = fitted()
    assert fused.degrees_.tolist() == [9.0]
    for size, degrees in ((5, 1.0), (20, 1.0)):
        grouped = ImageSet.of(images().read(), groups=np.arange(40) // size)
        fused.fit(network, grouped, masked(40, 10), RUNTIME)
        assert fused.degrees_.tolist() == [degrees], "one at least"


def test_a_part_that_is_low_does_not_take_back_what_another_says():
    join = joining()
    assert join(5.0, -9.0, -9.0, -9.0) > join(2.0, 2.0, 0.0, 0.0)
    assert np.isfinite(join(60.0, 60.0, 60.0, 60.0))
    assert join(60.0, 0.0, 0.0, 0.0) > join(50.0, 0.0, 0.0, 0.0)


def test_colours_are_a_part_that_counts_as_much_as_is_known_of_them():
    """Of the features that the network has, the image's upper pixels, the second is their logit."""
    given = images(), masked(40, 10), RUNTIME
    fused = Fused(limit=99)
    fused.fit(Halves(np.eye(2).tolist()), *given, 0.9, Halves([[1, 0], [0, 1]]), 0.4)
    share = weight_of_classifier(0.9, 10)
    assert fused.weights_[-2:].tolist() == pytest.approx([1 - share, 0.4 * (1 - share)])
    new = images(seed=1)
    _, _, parts = fused.score(Halves(np.eye(2).tolist()), new, RUNTIME)
    left, right = new.read()[:, 0, 0].astype(float).T / 255
    np.testing.assert_allclose(parts["colours"], right - left, atol=1e-6)
    alone = Fused("colours", limit=99)
    alone.fit(Halves(np.eye(2).tolist()), *given, 0.9, Halves([[1, 0], [0, 1]]), 0.4)
    only = alone.score(Halves(np.eye(2).tolist()), new, RUNTIME)[0]
    np.testing.assert_array_equal(only, parts["colours"])


def test_weight_of_the_classifier_by_hand():
    """0.6 known: 0.36 / (0.36 + 0.16) = 9 / 13. Ten images say as much as a guess of 1 / 2."""
    assert weight_of_classifier(0.6, 10**9) == pytest.approx(9 / 13)
    assert weight_of_classifier(0.6, 10) == pytest.approx((9 / 13 + 1 / 2) / 2)
    assert weight_of_classifier(0.6, 0) == 0.5
    assert weight_of_classifier(0.0, 30) == pytest.approx(5 / 40)
    assert weight_of_classifier(1.0, 10) == pytest.approx(0.75)
    assert weight_of_classifier(1.0, 90) == 0.8, "patches have a fifth at least"


def test_the_classifier_counts_as_much_as_it_knows_of_the_turns():
    def weights(known, n=10):
        weight = weight_of_classifier(known, n)
        return pytest.approx([weight, max(weight, 0.5), 0.4, 1 - weight])

    network, fused = fitted(rotations=2)
    even = [0.5, 0.5, 0.4, 0.5]
    assert fused.weights_.tolist() == even, "nothing known of the turns, nothing weighed"
    fused.fit(network, images(), masked(40, 10), RUNTIME, 0.9)
    assert fused.weights_.tolist() == weights(0.9)

    # it knows no turn, and its features tell something all the same
    fused.fit(network, images(), masked(40, 10), RUNTIME, 0.0)
    assert fused.weights_.tolist() == [0.25, 0.5, 0.4, 0.75]

    # of two clusters logits count half: they tell those too
    both = Halves(np.ones((4, 2)).tolist())
    fused.fit(both, images(), masked(40, 10), RUNTIME, 0.9)
    weight = weight_of_classifier(0.9, 10)
    expected = [weight / 2, weight, 0.4, 1 - weight]
    assert fused.weights_.tolist() == pytest.approx(expected)

    # images of one group are one that says so
    grouped = ImageSet.of(images().read(), groups=np.arange(40) // 5)
    fused.fit(network, grouped, masked(40, 10), RUNTIME, 0.9)
    assert fused.weights_.tolist() == weights(0.9, 2)


def test_a_part_that_is_the_score_alone_costs_nothing_of_the_others(monkeypatch):
    network, fused = fitted("logits")
    score, *_ = fused.score(network, images(), RUNTIME)
    monkeypatch.setattr("clad.stages.fused.nearest", None)
    monkeypatch.setattr("clad.stages.fused.rows_of", None)
    np.testing.assert_array_equal(fused.score(network, images(), RUNTIME)[0], score)


def test_parts_are_standardised_on_images_held_out_and_the_bank_is_of_the_others():
    network, fused = fitted()
    assert fused.kept_.tolist() == [True] * 30 + [False] * 10
    assert fused.features_.shape == (1, 30, 2)
    parts, _ = fused._parts(network, images().take(np.arange(30, 40)), RUNTIME, None, PARTS)
    for i, name in enumerate(PARTS):
        assert fused.places_[i] == pytest.approx(parts[name].mean())
        assert fused.scales_[i] == pytest.approx(parts[name].std())


def test_features_and_logits_are_those_of_the_neighbours_score():
    network, fused = fitted()
    new = ImageSet.of(np.array([[[[204, 153], [0, 0]]]], np.uint8))
    parts, logits = fused._parts(network, new, RUNTIME, None, PARTS)
    np.testing.assert_allclose(logits, [[0.8, 0.6]], atol=1e-6)
    assert parts["logits"] == pytest.approx([-0.8])
    bank = images().read(slice(0, 30))[:, 0, 0].astype(float)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    nearest = np.linalg.norm(bank - [0.8, 0.6], axis=1).min()
    assert parts["features"] == pytest.approx([nearest], abs=1e-5)


def test_texture_is_the_mean_distance_of_two_maps_to_the_nearest_image():
    network, fused = fitted("texture", rotations=2)
    new = images(5, seed=1)
    pixels, bank = (torch.from_numpy(x.read() / 255.0) for x in (new, images().take(np.arange(30))))
    distances = []
    for turn in range(2):
        turned, known = (
            texture_of(network.maps(fused.transformations.apply(x.float(), turn)))
            for x in (pixels, bank)
        )
        distances += [torch.cdist(*kind).amin(dim=1) for kind in zip(turned, known, strict=True)]
    found, *_ = fused.score(network, new, RUNTIME)
    np.testing.assert_allclose(found, torch.stack(distances).mean(dim=0), atol=1e-3)


@pytest.mark.parametrize("method", [*PARTS, "energy", "turns"])
def test_a_part_alone_is_what_it_was_asked_for(method):
    network, fused = fitted(method)
    new = images(5, seed=1)
    parts, _ = fused._parts(network, new, RUNTIME, None, PARTS)
    score, *_ = fused.score(network, new, RUNTIME)
    np.testing.assert_array_equal(score, parts[method])


def test_an_image_of_the_bank_is_no_neighbour_of_its_own():
    network, fused = fitted("features")
    own, *_ = fused.score(network, images(), RUNTIME, fused.kept_)
    new, *_ = fused.score(network, images(), RUNTIME)
    assert (new[:30] < 1e-3).all()
    assert (own[:30] > new[:30]).all()
    np.testing.assert_array_equal(own[30:], new[30:])


@pytest.mark.parametrize("mirrored", [False, True])
def test_turns_and_limit_shape_the_bank_and_batches_change_nothing(mirrored):
    network, fused = fitted(rotations=4, limit=12, mirrored=mirrored)
    assert {each.shape[:2] for each in (fused.features_, *fused.textures_)} == {(4, 12)}
    assert fused.kept_.sum() == 12
    assert not fused.kept_[30:].any()

    def responses(batch_size):
        upright, scores, features, textures = fused._respond(network, images(), RUNTIME, batch_size)
        return upright, *scores.values(), features, *textures

    for one, other in zip(responses(512), responses(7), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_scores_come_in_portions_of_images_and_are_the_same(monkeypatch):
    network, fused = fitted()
    one, logits, parts = fused.score(network, images(), RUNTIME, fused.kept_)
    seen = []
    monkeypatch.setattr(module, "PORTION", 7)
    respond = fused._respond
    monkeypatch.setattr(fused, "_respond", lambda *a: seen.append(len(a[1])) or respond(*a))
    other, *rest = fused.score(network, images(), RUNTIME, fused.kept_)
    assert seen == [7] * 5 + [5]
    np.testing.assert_allclose(other, one, rtol=1e-5)
    np.testing.assert_array_equal(rest[0], logits)
    assert rest[1].keys() == parts.keys()


def test_bfloat16_reaches_the_convolutions_and_moves_scores_little(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 1, 16, 16)).astype(np.uint8)
    textured, n = ImageSet.of(pixels), np.arange(60)
    torch.manual_seed(0)
    network = ResNet18(1, 8, width=16, stem="small-stride")
    fused = Fused(transformations=Transformations(4)).fit(network, textured, n >= 40, RUNTIME)
    exact, logits, parts = fused.score(network, textured, RUNTIME)
    seen, forward = [], nn.Conv2d.forward

    def recorder(self, x):
        out = forward(self, x)
        seen.append(out.dtype)
        return out

    monkeypatch.setattr(nn.Conv2d, "forward", recorder)
    found, rounded, of_rounded = fused.score(network, textured, Runtime(bfloat16_scores=True))
    assert set(seen) == {torch.bfloat16}
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, logits, atol=0.05 * logits.std())
    # of noise, which an untrained network hardly tells apart: the least favourable case
    assert np.corrcoef(found[n >= 40], exact[n >= 40])[0, 1] > 0.99
    assert of_rounded["patches"] == pytest.approx(parts["patches"])


def test_one_image_held_out_is_too_few():
    with pytest.raises(FitError, match=r"1 images held out .* raise validation\.fraction"):
        Fused().fit(Halves([[1.0, 0.0]]), images(), masked(40, 1), RUNTIME)
