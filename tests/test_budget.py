"""The time that is given: epochs worked out by hand from a trial of known speed."""

import math
import re

import numpy as np
import pytest

from clad import CLAD, budget
from clad.budget import MOST, SHARE, TRIAL, within
from clad.checkpoints import CheckpointFolder
from clad.config import build
from clad.data.images import ImageSet
from clad.errors import ConfigError
from clad.provenance import fingerprint
from clad.runtime import Runtime
from clad.stages import classifier, colours

N = 10_000


class Trial:
    """Stages of known cost, in seconds an image; what a wider classifier costs goes by its width.

    It takes no time itself, so that what is left can be worked out.
    """

    def __init__(self, growth=1, **more):
        self.growth = growth
        self.more = more
        self.asked = []

    def __call__(self, config, images):
        self.asked.append((config, len(images)))
        classifier = 2e-3 * (config.classifier.width / 32) ** self.growth
        cost = {"autoencoder": 1e-3, "dec": 1e-4, "classifier": classifier, "score": 1e-4}
        cost.update(self.more)
        return {stage: value * len(images) for stage, value in cost.items()}, len(images)


@pytest.fixture
def images():
    return ImageSet.of(np.zeros((N, 1, 4, 4), np.uint8))


@pytest.fixture(autouse=True)
def a_clock_that_stands(monkeypatch):
    monkeypatch.setattr("clad.budget.time.monotonic", lambda: 0.0)


def chosen(images, trial, **settings):
    return within(build(settings), images, trial, Runtime())


def test_epochs_by_hand(images):
    """Of 400 s 360 are planned with. Fixed: clustering twice 1 s, scoring of 6,000 images 0.6 s.
    An epoch of the autoencoder takes 10 s: 8 of them in a quarter of 357.4 s. The rest, 277.4 s,
    holds 13 epochs of 20 s."""
    trial = Trial()
    found = chosen(images, trial, budget="400s")
    assert found == {
        "autoencoder": {"epochs": 8},
        "classifier": {"epochs": 13, "width": 32, "rounds": 2},
    }
    assert [n for _, n in trial.asked] == [TRIAL // 6, TRIAL], "the first one warms up"
    config = trial.asked[1][0]
    assert (config.budget, config.classifier.epochs, config.autoencoder.epochs) == (None, 1, 1)


def test_colours_have_a_quarter_of_the_epochs(images):
    """As above, and an epoch of colours takes 20 s too: the 277.4 s hold 11 of 20 + 20 / 4 s."""
    assert budget.OF_COLOURS == colours.SHARE == 1 / 4
    found = chosen(images, Trial(colours=2e-3), budget="400s")
    assert (found["autoencoder"]["epochs"], found["classifier"]["epochs"]) == (8, 11)


def test_little_time_makes_the_classifier_narrower_and_much_makes_it_wider(images):
    little = chosen(images, Trial(), budget=120)
    assert little["classifier"] == {"epochs": 8, "width": 16, "rounds": 2}
    much = chosen(images, Trial(), budget="3h")
    assert much["classifier"]["width"] == 64
    assert MOST // 2 <= much["classifier"]["epochs"] <= MOST
    assert chosen(images, Trial(growth=2), budget="40m")["classifier"]["width"] == 32, "too dear"


@pytest.mark.parametrize("epochs", [20, 120])
def test_no_more_epochs_than_configured(images, epochs):
    """5 hours hold 402 epochs of 40 s, with a classifier as wide as there is."""
    of_recipe = chosen(images, Trial(), budget="5h", classifier={"epochs": epochs})
    assert of_recipe["classifier"] == {"epochs": epochs, "width": 64, "rounds": 2}
    assert chosen(images, Trial(), budget="5h")["classifier"]["epochs"] == MOST == classifier.MOST


def test_few_epochs_configured_are_no_sign_of_little_time(images):
    """Nor is a wider classifier asked for that would not fit: 51.4 s hold an epoch of the
    autoencoder, 10 s, and two of the classifier, but none of 320 s."""
    much = chosen(images, Trial(), budget="5h", classifier={"epochs": 1, "width": 64})
    assert much["classifier"] == {"epochs": 1, "width": 64, "rounds": 1}
    little = chosen(images, Trial(growth=4), budget=60, classifier={"epochs": 1, "width": 32})
    assert little["classifier"] == {"epochs": 1, "width": 32, "rounds": 1}


def test_one_round_where_there_is_one_epoch(images):
    found = chosen(images, Trial(), budget=45, classifier={"width": 16})
    assert found["classifier"] == {"epochs": 2, "width": 16, "rounds": 1}


def test_too_little_time_says_how_much_is_needed(images):
    with pytest.raises(ConfigError, match=r"budget = 10 s: 10000 images take at least \d+ s"):
        chosen(images, Trial(), budget=10)
    with pytest.raises(ConfigError) as error:
        chosen(images, Trial(), budget=10, classifier={"width": 16})
    needed = int(re.search(r"least (\d+) s", str(error.value))[1])
    assert needed == math.ceil((20 + 2.6) / SHARE)
    assert chosen(images, Trial(), budget=needed, classifier={"width": 16})


@pytest.mark.parametrize(
    ("written", "seconds"), [("90s", 90), ("5m", 300), ("1.5h", 5400), (12, 12), ("2 m", 120)]
)
def test_times(written, seconds):
    assert build({"budget": written}).budget == seconds


@pytest.mark.parametrize("written", ["5", "5 minutes", "m", "-5m", "", 0, "0s", [5]])
def test_no_times(written):
    with pytest.raises(ConfigError, match=r"budget"):
        build({"budget": written})


def test_a_run_that_goes_on_keeps_what_was_chosen(tiny, normals, tmp_path, monkeypatch):
    tiny["budget"] = 3600
    train = normals[:150]
    config = build(tiny)
    checkpoints = CheckpointFolder(tmp_path, fingerprint(config), every=0.0)
    picked = {"autoencoder": {"epochs": 2}, "classifier": {"epochs": 3, "width": 16, "rounds": 1}}
    monkeypatch.setattr("clad.pipeline.within", lambda *_: picked)
    first = CLAD(config).fit(train, checkpoints=checkpoints)
    assert len(first.losses_["classifier"]) == 3
    assert first.config_.classifier.epochs == 3
    monkeypatch.delattr("clad.pipeline.within")
    again = CLAD(config).fit(train, checkpoints=checkpoints)
    assert again.threshold_ == first.threshold_


def test_a_real_trial(tiny, normals, monkeypatch):
    monkeypatch.undo()  # the clock goes again
    monkeypatch.setattr("clad.budget.MOST", 4)
    tiny["budget"] = "1h"
    tiny["classifier"]["epochs"] = "auto"
    found = CLAD(tiny).fit(normals[:150])
    assert found.config_.classifier.epochs == 4
    assert found.config_.autoencoder.epochs == tiny["autoencoder"]["epochs"]
    assert len(found.losses_["classifier"]) == 4


def test_where_there_is_no_budget(tiny, normals):
    tiny["budget"], tiny["calibration"] = 60, {"method": "cross"}
    with pytest.raises(ConfigError, match=r"budget: calibration\.method cross"):
        CLAD(tiny).fit(normals[:60])
    large = {"budget": 60, "tiles": {"size": 8}}
    with pytest.raises(ConfigError, match=r"budget is for images that stay whole"):
        CLAD(large).fit(
            [
                np.random.default_rng(i).integers(0, 256, (40, 40)).astype(np.uint8)
                for i in range(60)
            ]
        )
