"""Stage 4: temperature and perturbation by hand, and a ranking that survives T = 1000."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from clad.data.images import ImageSet
from clad.errors import FitError
from clad.runtime import Runtime
from clad.stages.odin import ODIN, PERTURBATIONS, choose, log_confidence
from clad.stages.resnet import ResNet18


class Linear(torch.nn.Module):
    """logits = W x; keeps what it was shown."""

    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float32))
        self.shown = []

    def forward(self, x):
        self.shown.append(x.detach().flatten(1).numpy().copy())
        return x.flatten(1) @ self.weight.T


def picture(*levels):
    return ImageSet.of(np.array(levels, np.uint8).reshape(1, 1, 1, -1))


def test_log_confidence_by_hand():
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 2.0, -math.inf]])
    found = log_confidence(logits, 1.0)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(
        [1 - math.log(math.e + 2), -math.log(3), -math.log(2)], rel=1e-15
    )
    # T = 1000: scaled logits 0.003, 0.001, 0.002.
    (found,) = log_confidence(torch.tensor([[3.0, 1.0, 2.0]]), 1000.0).tolist()
    assert found == pytest.approx(-math.log1p(math.exp(-0.002) + math.exp(-0.001)), rel=1e-14)
    assert math.exp(found) == pytest.approx((1 + (3 - 2) / 1000) / 3, abs=1e-6)  # centred form


def test_the_ranking_survives_a_temperature_of_1000():
    leads = torch.linspace(5.0, 5.001, 200)
    logits = torch.zeros(200, 10)
    logits[:, 4] = leads
    ours = log_confidence(logits, 1000.0).numpy()
    assert (np.diff(ours) > 0).all()
    float32 = torch.softmax(logits / 1000.0, dim=1).amax(dim=1).numpy()
    assert len(np.unique(float32)) < 100  # what this is there against


def test_huge_logits_stay_finite():
    found = log_confidence(torch.tensor([[3e38, -3e38], [0.0, 700.0]]), 1.0)
    assert found.tolist() == [0.0, pytest.approx(0.0)]


def test_a_step_by_hand(runtime):
    # Class 0 leads; grad log S = (w_0 - w_1)(1 - S) / T, whose signs are +, -, 0, +.
    network = Linear([[3.0, 0.0, 1.0, 2.0], [1.0, 2.0, 1.0, 0.0]])
    answer = ODIN(temperature=2.0, perturbation=0.1).score(
        network, picture(255, 51, 102, 0), runtime
    )
    x, stepped = network.shown
    assert x[0] == pytest.approx([1.0, 0.2, 0.4, 0.0])
    assert stepped[0] == pytest.approx([1.1, 0.1, 0.4, 0.1])  # in pixel units, and not clipped
    lead = (3 * 1.1 + 0.4 + 2 * 0.1) - (1.1 + 2 * 0.1 + 0.4)  # 2.2
    confidence = 1 / (1 + math.exp(-lead / 2))
    assert answer.confidence[0] == pytest.approx(confidence, rel=1e-6)
    assert answer.scores[0] == pytest.approx(-2 * (math.log(confidence) + math.log(2)), rel=1e-5)
    assert answer.classes.tolist() == [0]
    assert (answer.scores.dtype, answer.classes.dtype) == (np.float64, np.int64)


def test_no_perturbation_is_one_look_at_the_image_itself(runtime):
    network = Linear([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    answer = ODIN(temperature=1.0, perturbation=0.0).score(network, picture(0, 255), runtime)
    assert len(network.shown) == 1
    assert network.shown[0].tolist() == [[0.0, 1.0]]
    assert answer.confidence[0] == pytest.approx(math.e / (math.e + 2))
    assert answer.classes.tolist() == [1]


class Flip(torch.nn.Module):
    """Class 0 up to a level of 0.4, class 1 above; the slope points upwards everywhere."""

    def forward(self, x):
        level = x.flatten(1)
        low, high = torch.cat([level, -1 - level], 1), torch.cat([-level, level], 1)
        return torch.where(level < 0.4, low, high)


def test_the_predicted_class_is_the_images_own_not_the_stepped_ones(runtime):
    answer = ODIN(temperature=1.0, perturbation=0.5).score(Flip(), picture(0), runtime)
    assert answer.classes.tolist() == [0]  # the step carries it over to 1
    assert answer.confidence[0] == pytest.approx(1 / (1 + math.exp(-1)))


def test_a_step_raises_the_confidence(images, runtime):
    torch.manual_seed(0)
    network = ResNet18(1, 4, width=16, stem="small-stride")
    plain = ODIN(temperature=10.0, perturbation=0.0).score(network, images, runtime)
    stepped = ODIN(temperature=10.0, perturbation=1e-4).score(network, images, runtime)
    assert (stepped.confidence > plain.confidence).mean() >= 0.9
    assert (stepped.classes == plain.classes).all()


@pytest.mark.parametrize("perturbation", [0.0, 0.01])
def test_batches_do_not_count(perturbation, images, runtime):
    network = Linear(np.random.default_rng(0).normal(size=(5, 144)))
    odin = ODIN(temperature=100.0, perturbation=perturbation)
    whole = odin.score(network, images, runtime)
    for batch_size in (1, 7, 30):
        parts = odin.score(network, images, runtime, batch_size)
        assert parts.scores == pytest.approx(whole.scores, rel=1e-4, abs=1e-4)
        assert (parts.classes == whole.classes).all()


def test_bfloat16_finds_the_step_and_float32_measures_what_it_did(images):
    class Watched(ResNet18):
        def forward(self, x):
            logits = super().forward(x)
            seen.append(logits.dtype)
            return logits

    torch.manual_seed(0)
    network, seen = Watched(1, 4, width=16, stem="small-stride"), []
    odin = ODIN(temperature=10.0, perturbation=1e-4)  # bfloat16 would not see such a step
    plain = ODIN(temperature=10.0, perturbation=0.0).score(network, images, Runtime())
    exact = odin.score(network, images, Runtime())
    seen.clear()
    found = odin.score(network, images, Runtime(bfloat16_scores=True))
    assert seen == [torch.bfloat16, torch.float32]
    gained = (found.confidence - plain.confidence).sum()
    assert gained == pytest.approx((exact.confidence - plain.confidence).sum(), rel=0.05)


def test_scoring_leaves_no_gradient_behind(images, runtime):
    network = Linear(np.ones((2, 144)))
    ODIN(perturbation=0.1).score(network, images, runtime)
    assert network.weight.grad is None


class Pixels(torch.nn.Module):
    """An image's pixels are its logits."""

    def forward(self, x):
        return 10 * x.flatten(1)


@settings(deadline=None, max_examples=50)
@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.just(1), st.just(2), st.just(3))),
    st.sampled_from([0.5, 1.0, 1000.0]),
)
def test_scores_fall_as_confidence_rises(array, temperature):
    answer = ODIN(temperature, 0.0).score(Pixels(), ImageSet.of(array), Runtime())
    order = np.argsort(answer.confidence)
    ties = np.diff(answer.confidence[order]) == 0
    assert ((np.diff(answer.scores[order]) < 0) | ties).all()
    assert (answer.confidence >= 1 / 6 - 1e-12).all()
    assert (answer.confidence <= 1).all()
    assert (answer.scores <= 1e-9).all()  # 0 where it knows nothing


def test_the_temperature_makes_what_was_held_out_likeliest():
    """Logits (10 log 3, 0) whatever the image, right for three of four: P = 3 / 4 at T = 10."""
    network = Linear([[10 * math.log(3)], [0.0]])
    images = ImageSet.of(np.full((4, 1, 1, 1), 255, np.uint8))
    found = choose("auto", 0.0, network, images, np.array([0, 0, 0, 1]), Runtime())
    assert found.temperature == pytest.approx(10, rel=1e-4)
    assert found.perturbation == 0


def test_the_perturbation_is_the_one_that_raises_confidence_most():
    shown = picture(100, 50)
    steep = choose(1.0, "auto", Linear([[1.0, 0.0], [0.0, 1.0]]), shown, np.array([0]), Runtime())
    assert steep.perturbation == max(PERTURBATIONS), "of a linear network the longest step does"
    flat = choose(1.0, "auto", Linear([[1.0, 1.0], [1.0, 1.0]]), shown, np.array([0]), Runtime())
    assert flat.perturbation == 0, "where none helps, none is taken"
    assert (steep.temperature, flat.temperature) == (1.0, 1.0)


@pytest.mark.parametrize("numbers", [("auto", 0.1), (2.0, "auto")])
def test_nothing_to_choose_by(numbers):
    none, network = picture(1, 2).take(np.zeros(1, bool)), Linear([[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(FitError, match=r"auto needs images held out .* validation\.fraction"):
        choose(*numbers, network, none, np.empty(0, np.int64), Runtime())
    given = choose(2.0, 0.1, network, none, np.empty(0, np.int64), Runtime())
    assert vars(given) == {"temperature": 2.0, "perturbation": 0.1}
