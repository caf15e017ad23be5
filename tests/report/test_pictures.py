"""The pictures of one run: all of them, from a detector as it is, few images or many."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from clad.report import pictures

NAMES = ["clusters", "latents", "most_anomalous", "overview", "roc", "scores"]


@pytest.fixture(scope="module")
def scores(detector, task):
    return detector.score_images(task.test)


@pytest.fixture(scope="module")
def drawn(detector, task, scores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    pictures.draw(
        folder, detector, task.test, scores, task.answers.test_anomalous, "digits CUR, tiny"
    )
    return folder


def test_every_picture_is_there_and_shows_something(drawn):
    assert sorted(path.name for path in drawn.iterdir()) == [f"{name}.png" for name in NAMES]
    for path in drawn.iterdir():
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) > 200, path.name
        assert pixels.std() > 5, path.name


def watch(monkeypatch, name):
    """Note what a plot is given, and draw nothing."""
    calls = []

    def note(*args, **kwargs):
        calls.append((args, kwargs))

    monkeypatch.setattr(pictures.plots, name, note)
    return calls


@pytest.fixture
def given(monkeypatch):
    names = ("score_histogram", "roc", "latent_map", "cluster_gallery", "most_anomalous")
    return {name: watch(monkeypatch, name) for name in (*names, "overview")}


def test_plots_get_the_detectors_own_numbers(given, detector, task, scores, tmp_path):
    truth = task.answers.test_anomalous
    pictures.draw(tmp_path, detector, task.test, scores, truth, "title")
    (_, calibration, test, threshold, anomalous), _ = given["score_histogram"][0]
    np.testing.assert_array_equal(calibration, detector.calibration_.scores)
    np.testing.assert_array_equal(test, scores.score)
    np.testing.assert_array_equal(anomalous, truth)
    assert threshold == detector.threshold_

    (_, images, clusters, distances), _ = given["cluster_gallery"][0]
    np.testing.assert_array_equal(images, detector.fit_images_.read())
    np.testing.assert_array_equal(clusters, detector.clusters_)
    latents = detector.latents(detector.fit_images_)
    own = detector.model_.centers[detector.clusters_]
    np.testing.assert_allclose(distances, np.linalg.norm(latents - own, axis=1), rtol=1e-6)

    (_, images, highest, wrong), _ = given["most_anomalous"][0]
    assert len(images) == len(highest) == len(wrong) == 40
    assert (np.diff(highest) <= 0).all()
    assert highest[0] == scores.score.max()
    top = np.argsort(-scores.score, kind="stable")[:40]
    np.testing.assert_array_equal(images, task.test.read(top))
    np.testing.assert_array_equal(wrong, truth[top])


def test_a_map_of_many_images_shows_some(given, detector, task, scores, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAP_POINTS", 40)
    truth = task.answers.test_anomalous
    pictures.draw(tmp_path, detector, task.test, scores, truth, "title")
    (_, embedding, clusters), _ = given["latent_map"][0]
    assert embedding.shape == (40, 2)
    assert clusters.shape == (40,)
    (_, images, _, distances), _ = given["cluster_gallery"][0]
    assert len(images) == len(distances) == 40


def test_few_test_images_are_enough(detector, task, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAP_POINTS", 12)
    truth = task.answers.test_anomalous
    few = np.r_[np.flatnonzero(truth)[:2], np.flatnonzero(~truth)[:2]]
    test = task.test.take(few)
    pictures.draw(tmp_path, detector, test, detector.score_images(test), truth[few], "few")
    assert len(list(tmp_path.iterdir())) == len(NAMES)
