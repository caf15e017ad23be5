"""Do new images still look like the calibration images? Tests, never an adaptation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clad.calibration import Calibration
from clad.errors import DataError
from clad.metrics import score_vector
from clad.threshold import Rule

FEWEST = 20  # images a side; with fewer only a complete change would show
EXPECTED = 5.0  # images a cell of a chi-squared test, as the textbooks ask
MANY_SIZES = 20  # different sizes above which areas are compared


@dataclass(frozen=True)
class Check:
    """One comparison of new images with the calibration images.

    ``seen``: what was found, in words. ``p_value``: how often chance alone goes this far; None
    where the check was not made, and ``seen`` says why. ``drifted``: p under its limit.
    """

    name: str
    seen: str
    p_value: float | None
    drifted: bool = False


def check(
    calibration: Calibration,
    rule: Rule,
    new: Mapping[str, Sequence[Any]],
    level: float = 0.01,
) -> list[Check]:
    """Compare a score file's columns with a calibration and its fitted rule.

    ``flags`` looks at how many scores lie over the threshold; all other checks at the images under
    it alone, so that true anomalies are no drift. Limits are Holm's (1979): with no drift, any of
    the checks alarms with probability at most ``level``.

    Raises DataError without a column ``score``, or for scores that are not finite.
    """
    if "score" not in new:
        raise DataError("no column 'score' in the scores to monitor")
    scores = score_vector(new["score"], "score")
    made = [_flags(calibration, rule, scores, level)]
    ours, theirs = calibration.scores <= rule.threshold_, scores <= rule.threshold_
    if min(ours.sum(), theirs.sum()) < FEWEST:
        why = f"{theirs.sum()} unflagged images (calibration: {ours.sum()}), {FEWEST} are needed"
        return _holm([*made, *(Check(name, f"skipped: {why}", None) for name in CHECKS)], level)
    for name, (columns, compare) in CHECKS.items():
        missing = [column for column in columns if column not in new]
        if missing:
            made.append(Check(name, f"skipped: no column {', '.join(missing)}", None))
            continue
        before = [_column(calibration, column)[ours] for column in columns]
        after = [np.asarray(new[column])[theirs] for column in columns]
        made.append(replace(compare(before, after), name=name))
    return _holm(made, level)


def _flags(
    calibration: Calibration, rule: Rule, scores: NDArray[np.float64], level: float
) -> Check:
    """Flags among m new images follow BetaBinomial(m, n + 1 - k, k) if nothing has changed.

    k of the n calibration scores are at or under the threshold. Given the calibration set, the
    false-alarm rate over its k-th smallest score is Beta(n + 1 - k, k) distributed, whatever the
    scores' distribution; a threshold between two of them is taken for the lower one. With k = n the
    law is Beta(1, n); with k = 0 there is no score under the threshold and no law.
    """
    from scipy.stats import betabinom

    n, m = len(calibration), len(scores)
    k = int((calibration.scores <= rule.threshold_).sum())
    flagged = int((scores > rule.threshold_).sum())
    if k == 0:
        return Check("flags", "skipped: all calibration images lie over the threshold", None)
    law = betabinom(m, n + 1 - k, k)
    p = min(1.0, 2 * min(law.cdf(flagged), law.sf(flagged - 1)))
    tail = level / (len(CHECKS) + 1) / 2  # Holm's first limit: outside is drift for certain
    low, high = (int(law.ppf(q)) for q in (tail, 1 - tail))
    seen = f"{flagged} of {m} over the threshold; {low} to {high} expected"
    return Check("flags", seen, float(p))


def _column(calibration: Calibration, name: str) -> NDArray[Any]:
    """A calibration's column under the name it has in a score file."""
    columns: dict[str, ArrayLike] = {
        "score": calibration.scores,
        "cluster": calibration.clusters,
        "brightness": calibration.brightness,
        "height": calibration.sizes[:, 0],
        "width": calibration.sizes[:, 1],
        "mode": calibration.modes,
    }
    return np.asarray(columns[name])


def _same_numbers(before: list[NDArray[Any]], after: list[NDArray[Any]]) -> Check:
    """Two-sample Kolmogorov-Smirnov test of one column."""
    from scipy.stats import ks_2samp

    (old,), (new,) = before, after
    found = ks_2samp(old, score_vector(new, "column"))
    seen = f"median {np.median(old):.4g}, now {np.median(new):.4g}"
    return Check("", seen, float(found.pvalue))


def _same_shares(before: list[NDArray[Any]], after: list[NDArray[Any]]) -> Check:
    """Chi-squared test that categories have the same shares; rare ones are pooled."""
    from scipy.stats import chi2_contingency

    old = [" x ".join(map(str, row)) for row in zip(*before, strict=True)]
    new = [" x ".join(map(str, row)) for row in zip(*after, strict=True)]
    kinds, codes = np.unique([*old, *new], return_inverse=True)
    counts = np.stack(
        [np.bincount(part, minlength=len(kinds)) for part in np.split(codes, [len(old)])]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    most = int(np.argmax(np.abs(shares[1] - shares[0])))
    seen = f"{kinds[most]}: {100 * shares[0, most]:.0f}%, now {100 * shares[1, most]:.0f}%"
    smaller = counts.sum(axis=1).min() / counts.sum()
    rare = counts.sum(axis=0) * smaller < EXPECTED
    pooled = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    if pooled.shape[1] < 2:  # one kind on both sides
        return Check("", seen, 1.0)
    return Check("", seen, float(chi2_contingency(pooled, correction=False).pvalue))


def _same_sizes(before: list[NDArray[Any]], after: list[NDArray[Any]]) -> Check:
    """Height and width together: as categories, or by area where there are many."""
    kinds = {*zip(*before, strict=True), *zip(*after, strict=True)}
    if len(kinds) <= MANY_SIZES:
        return _same_shares(before, after)
    return _same_numbers([before[0] * before[1]], [after[0] * after[1]])


Compare = Callable[[list[NDArray[Any]], list[NDArray[Any]]], Check]
CHECKS: dict[str, tuple[tuple[str, ...], Compare]] = {
    "scores": (("score",), _same_numbers),
    "clusters": (("cluster",), _same_shares),
    "brightness": (("brightness",), _same_numbers),
    "size": (("height", "width"), _same_sizes),
    "mode": (("mode",), _same_shares),
}


def _holm(made: list[Check], level: float) -> list[Check]:
    """Mark what drifted: the smallest p under level / c, the next under level / (c - 1), ..."""
    judged = sorted((c for c in made if c.p_value is not None), key=lambda c: c.p_value or 0.0)
    drifted = set()
    for rank, each in enumerate(judged):
        if (each.p_value or 0.0) > level / (len(judged) - rank):
            break
        drifted.add(each.name)
    return [replace(each, drifted=each.name in drifted) for each in made]
