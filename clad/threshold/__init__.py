"""Thresholds from the scores of held-out normal images alone; ``make`` knows them by name."""

from __future__ import annotations

import inspect
from typing import Any

from clad.errors import ConfigError
from clad.threshold.batch import BenjaminiHochberg
from clad.threshold.conformal import Conformal, ConformalPAC
from clad.threshold.mondrian import Mondrian
from clad.threshold.plain import IQR, KDE, MAD, Gaussian, Manual, Quantile
from clad.threshold.rule import Guarantee, Rule
from clad.threshold.synthetic import SyntheticF1
from clad.threshold.tail import PeaksOverThreshold

__all__ = [
    "IQR",
    "KDE",
    "MAD",
    "RULES",
    "BenjaminiHochberg",
    "Conformal",
    "ConformalPAC",
    "Gaussian",
    "Guarantee",
    "Manual",
    "Mondrian",
    "PeaksOverThreshold",
    "Quantile",
    "Rule",
    "SyntheticF1",
    "make",
]

RULES: dict[str, type[Rule]] = {
    "conformal": Conformal,
    "conformal-pac": ConformalPAC,
    "mondrian": Mondrian,
    "bh": BenjaminiHochberg,
    "pot": PeaksOverThreshold,
    "quantile": Quantile,
    "gaussian": Gaussian,
    "mad": MAD,
    "iqr": IQR,
    "kde": KDE,
    "synthetic-f1": SyntheticF1,
    "manual": Manual,
}


def make(method: str, **params: Any) -> Rule:
    """The rule a configuration names, not yet fitted.

    A configuration holds the parameters of all rules side by side, so that changing the method
    alone is enough: each rule takes its own, None means its default, and ConfigError is for a
    method or parameter that no rule knows, and for a manual rule without a value.
    """
    if method not in RULES:
        raise ConfigError(f"method={method!r} should be one of {', '.join(RULES)}")
    known = {name: set(inspect.signature(rule).parameters) for name, rule in RULES.items()}
    everything = set().union(*known.values())
    for name in params:
        if name not in everything:
            raise ConfigError(f"{name}= is no rule's: known are {', '.join(sorted(everything))}")
    own = {k: v for k, v in params.items() if k in known[method] and v is not None}
    if method == "manual" and "value" not in own:
        raise ConfigError("method='manual' needs a value, the threshold")
    return RULES[method](**own)
