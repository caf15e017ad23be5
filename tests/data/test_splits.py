import dataclasses
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clad.data.groups import duplicate_groups, merge_groups
from clad.data.images import ImageSet
from clad.data.labelled import Benchmark, Labelled
from clad.data.near_duplicates import near_duplicate_groups
from clad.data.scenarios import Scenario, custom
from clad.data.splits import calibration_folds, fit_calibration_split, hold_out, make_task
from clad.errors import DataError

CLASSES = tuple("abc")


@pytest.fixture
def benchmark(rng):
    def part(labels):
        array = rng.integers(0, 256, (len(labels), 1, 4, 4), dtype=np.uint8)
        return Labelled(ImageSet.of(array), np.array(labels, np.int64), CLASSES)

    return Benchmark("mnist", CLASSES, part([0, 1, 2, 0, 1, 2]), part([2, 1, 0, 2]))


def test_train_is_normal_only_and_test_is_all(benchmark):
    task = make_task(benchmark, custom("mnist", ["a", "c"], CLASSES))
    assert task.train.names == ["0", "2", "3", "5"]
    assert task.answers.train_labels.tolist() == [0, 2, 0, 2]
    assert task.test.names == ["0", "1", "2", "3"]
    assert task.answers.test_labels.tolist() == [2, 1, 0, 2]
    assert task.answers.test_anomalous.tolist() == [False, True, False, False]


def test_a_class_outside_the_scenario_is_in_neither_part(benchmark):
    task = make_task(benchmark, Scenario("mnist", "x", ("a",), ("b",)))
    assert task.train.names == ["0", "3"]
    assert task.test.names == ["1", "2"]


def test_what_a_detector_gets_has_no_labels(benchmark):
    task = make_task(benchmark, custom("mnist", ["a"], CLASSES))
    for images in (task.train, task.test):
        assert type(images) is ImageSet
        held = {f.name: getattr(images, f.name) for f in dataclasses.fields(images)}
        assert set(held) == {"array", "index", "all_names", "all_groups", "all_origins"}
        assert not any(value is benchmark.train.labels for value in held.values())


def test_the_split_does_not_depend_on_hidden_labels(benchmark):
    """Relabelling classes within the normal ones changes nothing that training sees."""
    scenario = custom("mnist", ["a", "b"], CLASSES)
    swapped = np.array([1, 0, 2])[benchmark.train.labels]
    other = dataclasses.replace(benchmark, train=Labelled(benchmark.train.images, swapped, CLASSES))
    splits = [
        fit_calibration_split(make_task(b, scenario).train, 0.3, 1, seed=5)
        for b in (benchmark, other)
    ]
    assert [part.names for part in splits[0]] == [part.names for part in splits[1]]


def test_unknown_and_empty_classes_are_errors(benchmark):
    with pytest.raises(DataError, match="unknown class of mnist 'd'; known are a, b, c"):
        make_task(benchmark, Scenario("mnist", "x", ("a",), ("d",)))
    some = benchmark.train.labels != 0
    part = Labelled(benchmark.train.images.take(some), benchmark.train.labels[some], CLASSES)
    with pytest.raises(DataError, match="no training images of class a; import"):
        make_task(dataclasses.replace(benchmark, train=part), custom("mnist", ["a"], CLASSES))


def keys(images):
    own = [] if images.groups is None else [images.groups]
    return [duplicate_groups(images), *own]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), min_size=2, max_size=60),
    grouped=st.booleans(),
    fraction=st.floats(0.05, 0.6),
    minimum=st.integers(0, 40),
    seed=st.integers(0, 2**32),
)
def test_nothing_straddles_the_split(make_images, rows, grouped, fraction, minimum, seed):
    levels, groups = zip(*rows, strict=True)
    images = make_images(*(2 * level for level in levels), groups=groups if grouped else None)
    try:
        fit, calibration = fit_calibration_split(images, fraction, minimum, seed)
    except DataError:  # nothing smaller than half the images can be set apart
        exact = duplicate_groups(images)
        near = near_duplicate_groups(images.take(np.unique(exact, return_index=True)[1]))
        tied = merge_groups(*keys(images), near[exact])
        assert np.bincount(tied).min() > len(images) // 2
        return
    assert sorted(fit.names + calibration.names, key=int) == images.names
    assert 0 < len(calibration) <= len(images) // 2
    for key in keys(images):
        assert set(key[fit.index]).isdisjoint(key[calibration.index])


def test_sizes_and_seeds(rng):
    images = ImageSet.of(rng.integers(0, 256, (100, 1, 4, 4), dtype=np.uint8))
    assert len(fit_calibration_split(images, 0.1, 0, seed=1)[1]) == 10
    assert len(fit_calibration_split(images, 0.1, 30, seed=1)[1]) == 30
    assert len(fit_calibration_split(images, 0.1, 99, seed=1)[1]) == 50
    one, again, two = (fit_calibration_split(images, 0.1, 0, seed=s)[1].names for s in (1, 1, 2))
    assert one == again != two


def test_held_out_training_images_take_the_place_of_test_images(rng):
    array = rng.integers(0, 256, (80, 1, 4, 4), dtype=np.uint8)
    tracks, labels = np.arange(80) // 4, np.repeat([0, 1, 2, 0], 20)
    train = Labelled(ImageSet.of(array, groups=tracks), labels, CLASSES)
    test = Labelled(ImageSet.of(array[:3]), np.arange(3), CLASSES)
    split = hold_out(Benchmark("mnist", CLASSES, train, test), 0.25)
    sides = split.train, split.test
    assert sorted(name for side in sides for name in side.images.names) == sorted(
        train.images.names
    )
    assert set(split.train.images.groups).isdisjoint(split.test.images.groups)
    for side in sides:
        assert (side.labels == labels[side.images.index]).all()
    assert np.bincount(split.test.labels).tolist() == [12, 8, 8], "whole tracks, of each class"
    again = hold_out(Benchmark("mnist", CLASSES, train, train), 0.25)
    assert again.test.images.names == split.test.images.names, "whatever the test part is"


def test_duplicates_are_reported(make_images, caplog):
    with caplog.at_level(logging.INFO, "clad"):
        fit_calibration_split(make_images(2, 4, 2, 6, 2), 0.2, 1, seed=0)
    assert "2 of 5 images repeat another exactly" in caplog.text


def test_near_duplicates_stay_on_one_side(rng, caplog):
    array = rng.integers(50, 200, (40, 3, 8, 8), dtype=np.uint8)
    again = np.concatenate([array, array[:15] + 2, array[:5]])  # brighter, and exact copies
    images = ImageSet.of(again)
    for seed in range(5):
        with caplog.at_level(logging.INFO, "clad"):
            _, calibration = fit_calibration_split(images, 0.3, 1, seed)
        held = np.isin(np.arange(60), calibration.index)
        assert (held[:15] == held[40:55]).all()
        assert (held[:5] == held[55:]).all()
    assert "5 of 60 images repeat another exactly" in caplog.text
    assert "15 of 60 images repeat another nearly" in caplog.text
    assert not any((held[:15] != held[15:30]).all() for held in calibration_folds(images, 3, 0))


@pytest.mark.parametrize(
    ("levels", "fraction", "match"),
    [
        ((2,), 0.2, "1 images in 1 groups cannot be split"),
        ((2, 2, 2), 0.2, "3 images in 1 groups cannot be split"),
        ((2, 4), 1.0, r"fraction=1.0 must lie between 0 and 1"),
    ],
)
def test_too_few(make_images, levels, fraction, match):
    with pytest.raises(DataError, match=match):
        fit_calibration_split(make_images(*levels), fraction, 1, seed=0)


@pytest.mark.parametrize("labels", [[0], [0, 3], [-1, 0]])
def test_labels_must_fit(labels):
    with pytest.raises(DataError, match="labels"):
        Labelled(ImageSet.of(np.zeros((2, 1, 4, 4), np.uint8)), np.array(labels), CLASSES)


@settings(deadline=None)
@given(st.integers(6, 40), st.integers(2, 5), st.integers(0, 9))
def test_folds_are_even_and_hold_every_image_once(n, folds, seed):
    array = np.random.default_rng(n).integers(0, 256, (n, 1, 4, 4), dtype=np.uint8)
    images = ImageSet.of(array)
    masks = calibration_folds(images, folds, seed)
    assert len(masks) == folds
    assert np.stack(masks).sum(axis=0).tolist() == [1] * n
    sizes = [mask.sum() for mask in masks]
    assert max(sizes) - min(sizes) <= 1


def test_folds_keep_groups_and_duplicates_whole(rng):
    array = rng.integers(0, 256, (30, 1, 4, 4), dtype=np.uint8)
    array[29] = array[0]
    groups = np.repeat(np.arange(15), 2)
    masks = calibration_folds(ImageSet.of(array, groups=groups), 3, 0)
    for mask in masks:
        assert (mask[::2] == mask[1::2]).all()
        assert mask[0] == mask[29]
    other = calibration_folds(ImageSet.of(array, groups=groups), 3, 1)
    assert any((a != b).any() for a, b in zip(masks, other, strict=True))


def test_too_few_groups_for_the_folds(rng):
    array = rng.integers(0, 256, (9, 1, 4, 4), dtype=np.uint8)
    images = ImageSet.of(array, groups=np.repeat([0, 1, 2], 3))
    with pytest.raises(DataError, match=r"9 images in 3 groups .* calibration.folds=4"):
        calibration_folds(images, 4, 0)
