"""The self-check after every fit, each sign alone and in a real fit."""

import logging
import math

import numpy as np
import pytest

from clad import CLAD
from clad.errors import FitError
from clad.health import check

SOUND = {
    "losses": {"autoencoder": [0.1, 0.02], "dec": [0.5], "classifier": [1.2, 0.3]},
    "variance": 0.08,
    "clusters": np.array([0] * 6 + [1] * 2),
    "n_clusters": 2,
    "n_transformations": 4,
    "scores": np.arange(20.0),
    "alpha": 0.05,
}
# entropy of the shares 3/4 and 1/4 in nats, and of four turns
GUESS = 2 * math.log(2) - 0.75 * math.log(3) + math.log(4)


def names(**changed):
    return [finding.name for finding in check(**{**SOUND, **changed})]


def losses(**changed):
    return {**SOUND["losses"], **changed}


def test_a_sound_detector():
    assert names() == []


def test_an_autoencoder_no_better_than_grey():
    assert names(losses=losses(autoencoder=[0.3, 0.08])) == ["autoencoder-flat"]
    assert names(losses=losses(autoencoder=[0.3, 0.0799])) == []


def test_a_classifier_no_better_than_guessing():
    assert names(losses=losses(classifier=[GUESS + 1e-9])) == ["classifier-flat"]
    assert names(losses=losses(classifier=[GUESS - 1e-9])) == []
    # turns alone: one cluster has no entropy of its own
    one = {"clusters": np.zeros(8, int), "n_clusters": 1}
    assert names(losses=losses(classifier=[math.log(4)]), **one) == ["classifier-flat"]
    assert names(losses=losses(classifier=[math.log(4) - 1e-9]), **one) == []


def test_one_of_several_clusters_with_nearly_everything():
    clusters = np.zeros(1000, int)
    clusters[:9] = 1
    assert "clusters-collapsed" in names(clusters=clusters)
    clusters[:10] = 1
    assert "clusters-collapsed" not in names(clusters=clusters)


def test_saturated_scores():
    scores = np.arange(20.0)
    scores[-2:] = 99.0  # 10% share the highest
    assert names(scores=scores) == ["scores-saturated"]
    assert names(scores=scores, alpha=0.1) == []


def test_flips_that_make_something_else_of_the_images():
    assert names(mirrored=0.55) == ["flip-not-harmless"]
    assert names(mirrored=0.549) == []


def test_flips_asked_for_are_measured(tiny, normals, caplog):
    """Digits 0, 3 and 8: a mirrored 3 is none."""
    tiny["augment"] = {"flip": True}
    with caplog.at_level(logging.WARNING, "clad"):
        found = [finding.name for finding in CLAD(tiny).fit(normals).health_]
    assert "flip-not-harmless" in found
    assert "of the images are nearer to others than their mirror images" in caplog.text
    tiny["augment"] = {"flip": "auto"}
    with caplog.at_level(logging.INFO, "clad"):
        found = [finding.name for finding in CLAD(tiny).fit(normals).health_]
    assert "flip-not-harmless" not in found
    assert "augment.flip: off; " in caplog.text


def test_auto_flips_where_left_and_right_mean_nothing(tiny, normals, caplog):
    both = np.concatenate([normals, normals[..., ::-1]])
    tiny["augment"] = {"flip": "auto"}
    with caplog.at_level(logging.INFO, "clad"):
        CLAD(tiny).fit(both)
    assert "augment.flip: on; " in caplog.text


@pytest.mark.parametrize(
    ("settings", "dimmed", "said"),
    [
        ({}, 5, "augment.brightness and contrast: 0.9; light varies by "),
        ({"contrast": 0.2}, 5, "augment.brightness: 0.9; light varies by "),
        ({}, 1, "augment.brightness and contrast: 0.3; light varies by "),
    ],
)
def test_auto_relights_a_lot_where_light_varies(tiny, normals, caplog, settings, dimmed, said):
    tiny["augment"] = settings
    night = normals.copy()
    night[::2] //= dimmed
    with caplog.at_level(logging.INFO, "clad"):
        CLAD(tiny).fit(night)
    assert said in caplog.text


def test_light_is_not_measured_where_relighting_is_given(tiny, normals, monkeypatch):
    tiny["augment"] = {"brightness": 0, "contrast": 0.2}
    monkeypatch.setattr("clad.learning.spread_of_light", None)
    CLAD(tiny).fit(normals)


@pytest.mark.parametrize("term", ["turns", "contrastive"])
def test_a_loss_with_other_terms_is_not_compared_with_grey(tiny, normals, term):
    """Each term alone is more than the variance of the pixels."""
    tiny["autoencoder"][term] = 1.0
    found = [finding.name for finding in CLAD(tiny).fit(normals).health_]
    assert "autoencoder-flat" not in found


def test_constant_scores_are_useless():
    with pytest.raises(FitError, match=r"all 20 calibration images have the same score \(3\)"):
        check(**{**SOUND, "scores": np.full(20, 3.0)})


def test_every_sign_says_what_to_try():
    bad = {"autoencoder": [1.0], "dec": [], "classifier": [9.0]}
    clusters = np.zeros(1000, int)
    found = check(
        **{
            **SOUND,
            "losses": bad,
            "clusters": clusters,
            "scores": np.ones(20) - (np.arange(20) < 3),
        }
    )
    assert len(found) == 4
    for finding in found:
        assert str(finding).startswith(f"{finding.name}: ")
        assert any(word in finding.text for word in ("raise ", "lower "))


def test_a_fit_that_learns_nothing_says_so(tiny, normals, caplog):
    tiny["classifier"]["learning_rate"] = 1e-12
    tiny["autoencoder"]["learning_rate"] = 1e-12
    with caplog.at_level(logging.WARNING, "clad"):
        detector = CLAD(tiny).fit(normals)
    found = [finding.name for finding in detector.health_]
    assert "classifier-flat" in found
    assert "classifier-flat: its loss ends at" in caplog.text
