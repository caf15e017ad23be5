import csv

import pytest

from clad.data.layouts import CIFAR10, DIGITS, GTSRB
from clad.data.scenarios import SCENARIOS, custom, scenario, scenario_names
from clad.errors import DataError

FORTY = tuple(sorted(c for s in SCENARIOS["tiny_imagenet"].values() for c in s))


def test_the_scenarios_are_the_papers(shared):
    with (shared / "reference/paper_auroc.csv").open() as stream:
        rows = {(r["dataset"], r["scenario"], r["normal_classes"]) for r in csv.DictReader(stream)}
    named = {(d, s, tuple(c.split())) for d, s, c in rows if not s.startswith("one-class:")}
    ours = {(d, s, c) for d, some in SCENARIOS.items() if d != "digits" for s, c in some.items()}
    assert ours == named
    classes = {"mnist": DIGITS, "cifar10": CIFAR10}
    for d, s, c in rows:
        if s.startswith("one-class:"):
            assert scenario(d, s, classes[d]).normal == (c,)


def test_anomalies_are_the_other_classes():
    task = scenario("gtsrb", "REGN", GTSRB)
    assert task.normal == ("6", "32", "41", "42")
    assert len(task.anomalous) == 39
    assert set(task.normal).isdisjoint(task.anomalous)
    assert scenario("digits", "CUR", DIGITS).anomalous == tuple("1245679")
    assert scenario_names("digits") == ("CUR", "STR", "MIX")


def test_tiny_imagenet_stays_within_its_forty_classes():
    all_200 = (*FORTY, *(f"n{i:08d}" for i in range(160)))
    task = scenario("tiny_imagenet", "ANML", all_200)
    assert len(task.anomalous) == 32
    assert set(task.anomalous) < set(FORTY)
    assert len(scenario("tiny_imagenet", f"one-class:{FORTY[0]}", all_200).anomalous) == 39
    assert len(custom("tiny_imagenet", ["n00000001"], all_200).anomalous) == 199


def test_the_users_own_classes():
    task = custom("cifar10", ["cat", "dog", "cat"], CIFAR10)
    assert task.normal == ("cat", "dog")
    assert len(task.anomalous) == 8


@pytest.mark.parametrize(
    ("ask", "match"),
    [
        (lambda: scenario("minst", "CUR", DIGITS), "data set 'minst'; .* did you mean 'mnist'"),
        (lambda: scenario_names("svhn"), "unknown data set 'svhn'; known are digits, mnist"),
        (lambda: scenario("mnist", "cur", DIGITS), "scenario of mnist 'cur'.*CUR, STR, MIX, one-"),
        (
            lambda: scenario("cifar10", "one-class:aeroplane", CIFAR10),
            "class of cifar10 'aeroplane'; known are airplane, .* did you mean 'airplane'",
        ),
        (lambda: custom("mnist", ["3", "11"], DIGITS), "unknown class of mnist '11'; known are 0,"),
        (lambda: custom("mnist", [], DIGITS), "no normal class given"),
        (lambda: custom("mnist", list(DIGITS), DIGITS), "every class is normal"),
        (lambda: scenario("tiny_imagenet", "ANML", FORTY[3:]), "unknown class of tiny_imagenet"),
    ],
)
def test_unknown_names(ask, match):
    with pytest.raises(DataError, match=match):
        ask()
