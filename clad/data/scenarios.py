"""The scenarios of the paper: which latent classes are normal, of which data set."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clad.errors import DataError

ONE_CLASS = "one-class:"

_STROKES = {"CUR": "0 3 8", "STR": "1 4 7", "MIX": "2 5 6 9"}
SCENARIOS: dict[str, dict[str, tuple[str, ...]]] = {
    dataset: {name: tuple(labels.split()) for name, labels in scenarios.items()}
    for dataset, scenarios in {
        "digits": _STROKES,
        "mnist": _STROKES,
        "gtsrb": {
            "SPDL": "0 1 2 3 4 5 7 8",
            "INST": "9 10 15 16",
            "WARN": "11 18 19 20 21 22 23 24 25 26 27 28 29 30 31",
            "DIRC": "33 34 35 36 37 38 39 40",
            "SPEC": "12 13 14 17",
            "REGN": "6 32 41 42",
        },
        "cifar10": {
            "THG": "airplane automobile ship truck",
            "LIV": "bird cat deer dog frog horse",
        },
        "tiny_imagenet": {
            "ANML": "n02099601 n02085620 n02106662 n02099712 "
            "n02113799 n02094433 n02125311 n02123394",
            "ISCT": "n02268443 n02233338 n02206856 n02226429 "
            "n02190166 n02236044 n02279972 n02281406",
            "ISTM": "n04560804 n02823428 n04398044 n03983396 "
            "n02815834 n04118538 n04540053 n03937543",
            "STRT": "n04486054 n04366367 n03388043 n04532670 "
            "n02788148 n04311004 n03837869 n02814860",
            "VHCL": "n04146614 n04487081 n04285008 n02917067 "
            "n03100240 n04465501 n03977966 n02814533",
        },
    }.items()
}


@dataclass(frozen=True)
class Scenario:
    """A task: images of the ``normal`` classes are learnt, those of ``anomalous`` must be found."""

    dataset: str
    name: str
    normal: tuple[str, ...]
    anomalous: tuple[str, ...]


def scenario_names(dataset: str) -> tuple[str, ...]:
    """The data set's named scenarios, in the paper's order; the first is the default."""
    return tuple(SCENARIOS[known(dataset, SCENARIOS, "data set")])


def scenario(dataset: str, name: str, classes: Sequence[str]) -> Scenario:
    """A named scenario or ``one-class:<label>`` over the classes at hand.

    Raises DataError for an unknown data set, scenario or class, listing the known ones.
    """
    known(dataset, SCENARIOS, "data set")
    if name.startswith(ONE_CLASS):
        return _over(dataset, name, (name.removeprefix(ONE_CLASS),), classes)
    named = SCENARIOS[dataset]
    if name not in named:
        known(name, [*named, f"{ONE_CLASS}<label>"], f"scenario of {dataset}")
    return _over(dataset, name, named[name], classes)


def custom(dataset: str, normal: Sequence[str], classes: Sequence[str]) -> Scenario:
    """The user's own choice of normal classes; named ``normal:a,b,c``. Raises as ``scenario``."""
    return _over(dataset, f"normal:{','.join(normal)}", tuple(dict.fromkeys(normal)), classes)


def _over(dataset: str, name: str, normal: tuple[str, ...], classes: Sequence[str]) -> Scenario:
    if not normal:
        raise DataError(f"no normal class given; known are {', '.join(classes)}")
    for label in normal:
        known(label, classes, f"class of {dataset}")
    universe = list(classes)
    if dataset == "tiny_imagenet":
        # The paper's task lies within its 40 classes, and a result must not depend on how many of
        # the 200 happen to be imported.
        forty = {label for labels in SCENARIOS[dataset].values() for label in labels}
        if forty.issuperset(normal):
            universe = [label for label in classes if label in forty]
    anomalous = tuple(label for label in universe if label not in normal)
    if not anomalous:
        raise DataError(f"{name}: every class is normal, so nothing is anomalous; leave one out")
    return Scenario(dataset, name, normal, anomalous)


def known(value: str, choices: Collection[str], what: str) -> str:
    """``value`` where it is among ``choices``; else DataError with the list and the nearest."""
    if value in choices:
        return value
    folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(value.casefold(), folded, n=1)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    raise DataError(f"unknown {what} {value!r}; known are {', '.join(choices)}{hint}")
