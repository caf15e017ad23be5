"""The one door where labels are left behind: benchmark + scenario -> images, and answers apart."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from clad.data.groups import duplicate_groups, merge_groups
from clad.data.images import ImageSet
from clad.data.labelled import Benchmark, Labelled
from clad.data.near_duplicates import near_duplicate_groups
from clad.data.scenarios import Scenario, known
from clad.errors import DataError

if TYPE_CHECKING:
    from clad.data.large import LargeImages

S = TypeVar("S", "ImageSet", "LargeImages")
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Answers:
    """What evaluation may see once the scores exist; positions of ``Task.train`` and ``.test``.

    ``train_labels``, ``test_labels``: int64, positions in ``classes``; ``test_anomalous``: bool.
    """

    train_labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]
    test_anomalous: NDArray[np.bool_]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Task:
    """What a detector may see: training images of normal classes, test images of all."""

    train: ImageSet
    test: ImageSet
    answers: Answers


def make_task(benchmark: Benchmark, scenario: Scenario) -> Task:
    """Training images of the normal classes only; test images of normal and anomalous classes.

    Raises DataError where the scenario names a class the benchmark does not know, or one that has
    no images: it is never counted as normal.
    """
    code = {label: i for i, label in enumerate(benchmark.classes)}
    for label in (*scenario.normal, *scenario.anomalous):
        known(label, benchmark.classes, f"class of {benchmark.name}")
    normal = [code[label] for label in scenario.normal]
    anomalous = [code[label] for label in scenario.anomalous]
    train, train_labels = _select(benchmark.train, normal)
    test, test_labels = _select(benchmark.test, normal + anomalous)
    for what, labels, wanted in (
        ("training", train_labels, normal),
        ("test", test_labels, normal + anomalous),
    ):
        missing = [benchmark.classes[i] for i in wanted if not (labels == i).any()]
        if missing:
            raise DataError(
                f"{benchmark.name}: no {what} images of class {', '.join(missing)}; "
                "import the complete data set"
            )
    answers = Answers(train_labels, test_labels, np.isin(test_labels, anomalous), benchmark.classes)
    return Task(train, test, answers)


def hold_out(benchmark: Benchmark, fraction: float, seed: int = 0) -> Benchmark:
    """The benchmark with its test part replaced: about that share of the training images of each
    class is tested with, the others are trained on. To choose by, as test images must not be.

    Groups and a class's duplicates stay whole. Raises DataError as ``fit_calibration_split``.
    """
    train = benchmark.train
    held = np.zeros(len(train), bool)
    for label in np.unique(train.labels):
        of_class = train.images.take(train.labels == label)
        _, tested = fit_calibration_split(of_class, fraction, 1, seed)
        held |= np.isin(train.images.index, tested.index)
    kept, test = (
        Labelled(train.images.take(chosen), train.labels[chosen], train.classes)
        for chosen in (~held, held)
    )
    return replace(benchmark, train=kept, test=test)


def _select(part: Labelled, labels: list[int]) -> tuple[ImageSet, NDArray[np.int64]]:
    chosen = np.isin(part.labels, labels)
    return part.images.take(chosen), part.labels[chosen]


def fit_calibration_split(images: S, fraction: float, minimum: int, seed: int) -> tuple[S, S]:
    """(fit, calibration): no group and no set of exact or near duplicates on both sides.

    Calibration gets whole groups, drawn at random, until it holds ``max(fraction * N, minimum)``
    images, and never more than half of all. The duplicates found are logged (count_duplicates tells
    their number). Raises DataError where fewer than two groups leave nothing to split.
    """
    if not 0 < fraction < 1:
        raise DataError(f"fraction={fraction} must lie between 0 and 1")
    n = len(images)
    groups = _kept_together(images)
    sizes = np.bincount(groups, minlength=1)
    half = n // 2
    wanted = min(max(round(fraction * n), minimum, 1), half)
    chosen = np.zeros(len(sizes), bool)
    held = 0
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        if held >= wanted:
            break
        if held + sizes[group] <= half:
            chosen[group] = True
            held += sizes[group]
    if not held:
        raise DataError(
            f"{n} images in {np.count_nonzero(sizes)} groups cannot be split into fit and "
            "calibration; give at least two images (or groups) that differ"
        )
    calibration = chosen[groups]
    return images.take(~calibration), images.take(calibration)


def validation_split(
    images: ImageSet, fraction: float, maximum: int, seed: int
) -> NDArray[np.bool_]:
    """bool (N,): images that no stage trains on, by which stage 4 weighs its scores.

    About ``min(fraction * N, maximum)`` of them, two at least; none for a fraction of 0. Groups and
    exact duplicates stay whole.
    """
    if fraction == 0:
        return np.zeros(len(images), bool)
    _, held_out = fit_calibration_split(images, min(fraction, maximum / len(images)), 2, seed)
    return np.isin(images.index, held_out.index)


def calibration_folds(images: S, folds: int, seed: int) -> list[NDArray[np.bool_]]:
    """For each fold bool (N,): the images in it. Every image is in one; groups stay whole.

    Folds are as even as the groups allow. Raises DataError where there are fewer groups than folds.
    """
    from sklearn.model_selection import GroupKFold

    _, groups = np.unique(_kept_together(images), return_inverse=True)
    found = groups.max(initial=-1) + 1
    if found < folds:
        raise DataError(
            f"{len(images)} images in {found} groups cannot fill calibration.folds={folds}; "
            "give more images or fewer folds"
        )
    shuffled = np.random.default_rng(seed).permutation(found)[groups]
    masks = []
    for _, held_out in GroupKFold(folds).split(shuffled, groups=shuffled):
        mask = np.zeros(len(images), bool)
        mask[held_out] = True
        masks.append(mask)
    return masks


def _kept_together(images: ImageSet | LargeImages) -> NDArray[np.int64]:
    """(N,) group numbers: the images' own groups, and duplicates; those found are logged."""
    exact = duplicate_groups(images)
    _, first = np.unique(exact, return_index=True)
    near = np.arange(len(first))
    if isinstance(images, ImageSet):  # large ones of aligned things are alike by nature
        near = near_duplicate_groups(images.take(first))
    for how, count in (
        ("exactly", len(images) - len(first)),
        ("nearly", len(first) - len(np.unique(near))),
    ):
        if count:
            log.info("%d of %d images repeat another %s; kept on one side", count, len(images), how)
    own, duplicates = images.groups, near[exact]
    return duplicates if own is None else merge_groups(own, duplicates)
