"""A tiled model: one score an image, calibrated on whole images, whatever their size."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import numpy as np
import pytest

from clad import CLAD
from clad.artifact import read_bundle, write_bundle
from clad.data import windows
from clad.data.boards import board, defective
from clad.data.images import ImageSet
from clad.data.large import read_large
from clad.data.rows import ArrayRows
from clad.errors import ConfigError, DataError, FitError, ModelError
from clad.stages.local import REACH, STEP
from clad.threshold import Conformal

SETTINGS = {
    "tiles": {"size": 32, "samples": 200},
    "local": {"crops": 60, "width": 4, "epochs": 2},
    "autoencoder": {"epochs": 1, "batch_size": 64},
    "dec": {"clusters": 3, "epochs": 1, "restarts": 1},
    "classifier": {"epochs": 1, "width": 16, "batch_size": 64},
    "threshold": {"alpha": 0.1},
}


def settings(**tiles):
    made = copy.deepcopy(SETTINGS)
    made["tiles"].update(tiles)
    return made


@pytest.fixture(scope="module")
def normal():
    return [board(128, seed) for seed in range(24)]


@pytest.fixture(scope="module")
def fitted(normal):
    return CLAD(settings()).fit(normal)


@pytest.fixture(scope="module")
def new():
    """Three normal images and three with a part missing, of mixed sizes."""
    return [
        *(board(side, 100 + side) for side in (96, 128, 150)),
        *(defective(side, 200 + side, (40, 40)).image for side in (96, 128, 150)),
    ]


def mapped(detector, images, **changes):
    maps = []
    measured = detector.measure(images, lambda position, found: maps.append(found))
    return measured, maps


# -- one score an image --------------------------------------------------------------------------


def test_calibration_is_of_whole_images(fitted, normal):
    assert len(fitted.fit_images_) == len(fitted.calibration_) == 12
    assert set(fitted.fit_images_.names).isdisjoint(fitted.calibration_.names)
    assert fitted.guarantee_.promised == 0.1
    k = int(np.ceil(13 * 0.9))
    assert fitted.threshold_ == np.sort(fitted.calibration_.scores)[k - 1]
    assert fitted.calibration_.sizes.tolist() == [[128, 128]] * 12


def test_the_score_is_the_maps_highest(fitted, new):
    measured, maps = mapped(fitted, new)
    assert [m.size for m in maps] == [image.shape for image in new]
    for score, found in zip(measured.score, maps, strict=True):
        assert found.step == 4
        assert score == found.values.max()


def test_a_defect_raises_the_map_where_it_is(fitted):
    found = defective(400, 7, (40, 40))
    _, (bad, good) = mapped(fitted, [found.image, board(400, 7)])
    changed = np.abs(bad.values - good.values) > 1e-3
    near = np.zeros((400, 400), bool)
    rows, columns = np.nonzero(found.mask)
    reach = REACH + STEP
    top, left = max(rows.min() - reach, 0), max(columns.min() - reach, 0)
    near[top : rows.max() + reach, left : columns.max() + reach] = True
    assert not changed[~near[::4, ::4]].any()
    assert changed.any()


def test_blocks_make_no_difference(fitted, new, monkeypatch):
    whole = fitted.measure(new).score
    monkeypatch.setattr(windows, "SIDE", 32)
    np.testing.assert_allclose(fitted.measure(new).score, whole, rtol=1e-3)


def test_a_mean_of_the_highest_tiles(fitted, new):
    of_tiles = fitted.model_._map(ArrayRows(new[1][None]), fitted.runtime_)[1]
    config = fitted.config_.model_copy(
        update={"tiles": fitted.config_.tiles.model_copy(update={"top": 3})}
    )
    model = replace(fitted.model_, stages=replace(fitted.model_.stages, config=config))
    score = model.measure(read_large([new[1]])[0], fitted.runtime_).score[0]
    np.testing.assert_allclose(score, np.sort(of_tiles.ravel())[-3:].mean(), rtol=1e-6)


def test_more_tiles_do_not_mean_more_false_alarms():
    """The promise on simulated images of 1, 50 and 5,000 tiles: each calibrated as a whole."""
    rng = np.random.default_rng(0)
    for tiles in (1, 50, 5000):
        rates = []
        for _ in range(300):
            of_images = rng.gumbel(size=250) + np.log(tiles)  # maxima of so many exponentials
            rule = Conformal(alpha=0.05).fit(of_images[:50])
            rates.append(rule.predict(of_images[50:]).mean())
        assert 0.03 < np.mean(rates) < 0.05, "at most alpha, k = 49 of 51 promise 3.9%"


def test_per_tile_calibration_would_break_the_promise():
    rng = np.random.default_rng(0)
    tiles = rng.exponential(size=(250, 500))
    of_tiles = Conformal(alpha=0.05).fit(tiles[:50].ravel())
    assert (tiles[50:].max(axis=1) > of_tiles.threshold_).mean() > 0.99


# -- choices -------------------------------------------------------------------------------------


def test_a_tile_scored_by_stage_four(normal, new):
    detector = CLAD(settings(score="stages")).fit(normal)
    measured, maps = mapped(detector, new)
    model = detector.model_
    values = model._of_tiles(ArrayRows(new[2][None]), detector.runtime_)
    assert values.shape == (6, 6)  # sides of 150, tiles of 32 at most 24 apart
    tile = new[2][:32, :32][None, None]
    own = model.stages.measure(ImageSet.of(tile), detector.runtime_)
    np.testing.assert_allclose(values[0, 0], own.score[0], rtol=1e-3)
    np.testing.assert_allclose(measured.score[2], values.max(), rtol=1e-4)
    assert maps[2].values.shape == (38, 38)
    assert maps[2].values.max() <= values.max() + 1e-4, "blended"
    np.testing.assert_allclose(maps[2].values[0, 0], values[0, 0], rtol=1e-3)


def test_regions_count_from_what_is_usual_there(fitted):
    """A place that is always odd is normal there, and odd elsewhere."""
    values = np.full((4, 6), 1.0, np.float32)
    values[0, 0] = 5.0
    usual = np.stack([[[5.0, 1.0], [1.0, 1.0]], np.full((2, 2), 0.5)])
    model = replace(fitted.model_, usual=usual)
    expected = np.zeros((4, 6))
    expected[:2, :3] = -8.0
    expected[0, 0] = 0.0
    np.testing.assert_allclose(model._against_usual(values), expected)


def test_regions_are_learnt_from_the_images_fitted_on(normal):
    detector = CLAD(settings(regions=2)).fit(normal)
    model = detector.model_
    assert model.usual.shape == (2, 2, 2)
    plain = replace(model, usual=np.stack([np.zeros((1, 1)), np.ones((1, 1))]))
    highest = []
    for i in range(len(detector.fit_images_)):
        with detector.fit_images_.open(i) as rows:
            values = plain._map(rows, detector.runtime_)[0].values
        highest.append(
            [
                [values[:16, :16].max(), values[:16, 16:].max()],
                [values[16:, :16].max(), values[16:, 16:].max()],
            ]
        )
    np.testing.assert_allclose(model.usual[0], np.mean(highest, axis=0), rtol=1e-4)
    np.testing.assert_allclose(model.usual[1], np.std(highest, axis=0), rtol=1e-3)


def test_folds_are_of_images(normal):
    made = settings()
    made["calibration"] = {"method": "cross", "folds": 2}
    detector = CLAD(made).fit(normal)
    assert len(detector.calibration_) == len(detector.fit_images_) == 24
    assert detector.calibration_.cross


def test_the_synthetic_rule(normal, fitted):
    assert len(fitted.calibration_.synthetic) == 12
    assert (fitted.calibration_.synthetic >= fitted.calibration_.scores.min()).all()
    threshold = copy.copy(fitted).set_threshold(method="synthetic-f1").threshold_
    assert np.isfinite(threshold)


def test_two_fits_with_one_seed_agree(normal, fitted, new):
    again = CLAD(settings()).fit(normal)
    np.testing.assert_array_equal(again.decision_function(new), fitted.decision_function(new))


# -- kept on disk --------------------------------------------------------------------------------


def test_saved_and_loaded_it_says_the_same(fitted, new, tmp_path):
    fitted.save(tmp_path)
    loaded = CLAD.load(tmp_path)
    np.testing.assert_array_equal(loaded.decision_function(new), fitted.decision_function(new))
    assert loaded.predict(new).tolist() == fitted.predict(new).tolist()
    assert loaded.shape_ == (1, 32, 32)


def test_a_model_of_format_3_scores_on_one_grid_as_it_did(fitted, new, tmp_path):
    fitted.save(tmp_path / "new")
    bundle = read_bundle(tmp_path / "new")
    arrays = {group: dict(each) for group, each in bundle.arrays.items()}
    assert arrays["regions"].pop("grids").tolist() == [2]
    write_bundle(tmp_path / "old", replace(bundle, arrays=arrays))
    old = CLAD.load(tmp_path / "old")
    old.save(tmp_path / "again")
    logits = old.model_.local._logits(new[0][None], old.runtime_)
    for loaded in (old, CLAD.load(tmp_path / "again")):
        assert loaded.decision_function(new)[0] == logits.max().item()
    assert fitted.decision_function(new)[0] != logits.max().item()


@pytest.mark.parametrize(
    ("group", "name", "wrong", "message"),
    [
        ("regions", "grids", np.zeros(2, np.int64), "tensor 'grids' is int64 of shape (2,)"),
        ("local", "head.0.bias", np.zeros(5, np.float32), "tensor 'head.0.bias' has shape (5,)"),
        ("local", "head.2.bias", None, "local: tensor 'head.2.bias' is missing"),
        ("local", "more", np.zeros(5, np.float32), "tensor 'more' has no place in this model"),
        ("regions", "usual", np.zeros((2, 3, 3)), "tensor 'usual' is float64 of shape"),
    ],
)
def test_a_wrong_array_is_named(fitted, tmp_path, group, name, wrong, message):
    fitted.save(tmp_path)
    bundle = read_bundle(tmp_path)
    arrays = {group: dict(each) for group, each in bundle.arrays.items()}
    if wrong is None:
        del arrays[group][name]
    else:
        arrays[group][name] = wrong
    write_bundle(tmp_path, replace(bundle, arrays=arrays))
    with pytest.raises(ModelError, match=re.escape(message)):
        CLAD.load(tmp_path)


# -- what cannot be ------------------------------------------------------------------------------


def test_calibrating_on_images_fitted_on_is_refused(fitted, normal):
    name = int(fitted.fit_images_.names[0])
    with pytest.raises(DataError, match="1 of 1 calibration images were fitted on"):
        copy.copy(fitted).calibrate([normal[name]])


def test_recalibrated_on_new_images(fitted):
    images = [board(160, 900 + i) for i in range(10)]
    again = copy.copy(fitted).calibrate(images)
    assert len(again.calibration_) == 10
    assert again.calibration_.sizes[0].tolist() == [160, 160]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"images": {"size": [8, 8]}},
            ConfigError,
            "exclude each other",
        ),
        ({"tiles": {"size": 300}}, DataError, "128x128 is smaller than a tile of 300 pixels"),
        ({"tiles": {"size": 32, "regions": 99}}, FitError, "regions"),
    ],
)
def test_settings_that_cannot_be(normal, changes, error, message, untrained):
    with pytest.raises(error, match=message):
        CLAD({**settings(), **changes}).fit(normal)


def test_wrong_images_to_score(fitted):
    with pytest.raises(DataError, match=r"0 \(20x128 is smaller than a tile of 32 pixels"):
        fitted.predict([board(128, 0)[:20]])
    with pytest.raises(DataError, match=r"0 \(3 channels, where 1 are expected"):
        fitted.predict([np.zeros((64, 64, 3), np.uint8)])


def test_flat_images():
    with pytest.raises(DataError, match="no variation"):
        CLAD(settings()).fit([np.full((64, 64), level, np.uint8) for level in range(24)])


def test_latents_are_means_over_tiles(fitted, new):
    latents = fitted.latents(new)
    assert latents.shape == (6, fitted.model_.centers.shape[1])
    assert np.isfinite(latents).all()
    np.testing.assert_array_equal(latents, fitted.latents(new))
