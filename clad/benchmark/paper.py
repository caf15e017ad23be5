"""AUROC in percent that Park et al. 2021 (arXiv 2104.09793) print in tables 1 to 4: one seed each.

CLAD's number of clusters is the best of their test curve (figure 3).
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files


@cache
def printed() -> dict[tuple[str, str, str], float]:
    """(data set, scenario, method as ``clad bench`` names it) -> AUROC in percent."""
    text = (files("clad.benchmark") / "paper_auroc.csv").read_text(encoding="utf-8")
    return {
        (row["dataset"], row["scenario"], row["method"]): float(row["auroc"])
        for row in csv.DictReader(text.splitlines())
    }
