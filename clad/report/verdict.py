"""The verdict on a page: what was promised, and what happened on these images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clad import metrics
from clad.monitor import check
from clad.report.canvas import short
from clad.report.subject import Subject

UNLIKELY = 0.01  # more false alarms than chance brings this often are more than promised


class Line(NamedTuple):
    """One line of the table; ``state``: good, bad or none."""

    what: str
    promised: str
    happened: str
    state: str = ""


def verdict(subject: Subject) -> list[Line]:
    """The lines, most important first."""
    truth = subject.anomalous
    lines = [_alarms(subject)]
    if truth is not None and truth.any():
        detected = int((subject.flagged & truth).sum())
        lines.append(Line("anomalies detected", "", _share(detected, int(truth.sum()))))
    if truth is not None and truth.any() and not truth.all():
        area = metrics.auroc(subject.scores, truth)
        between = subject.facts.get("auroc_interval")
        known = f" (95% interval {between[0]:.3f} to {between[1]:.3f})" if between else ""
        lines += [
            Line("AUROC", "", f"{area:.3f}{known}"),
            Line("average precision", "", f"{metrics.aupr_anomaly(subject.scores, truth):.3f}"),
            Line(
                "false alarms where 95% are detected",
                "",
                _percent(metrics.fpr95(subject.scores, truth)),
            ),
        ]
    method, threshold = subject.config.threshold.method, subject.rule.threshold_
    lines.append(Line("threshold", method, short(threshold, subject.calibration.scores)))
    held_out = len(subject.calibration)
    fitted = int(subject.calibration.train_counts.sum())
    learnt = f"{fitted} {subject.fitted_on} fitted on, {held_out} images held out"
    lines.append(Line("images", learnt, f"{len(subject)} here"))
    for finding in subject.facts.get("health", ()):
        lines.append(Line("warning", "", str(finding), "bad"))
    if skipped := subject.facts.get("skipped"):
        lines.append(Line("warning", "", f"{len(skipped)} unreadable files were skipped", "bad"))
    return lines


def _alarms(subject: Subject) -> Line:
    """False alarms where the truth is known (or all images are normal), else the flags."""
    promise = subject.guarantee.text
    if subject.calibrating:
        flagged = _share(int(subject.flagged.sum()), len(subject))
        return Line("false alarms", promise, f"{flagged}: the threshold was set on these images")
    if subject.anomalous is None:
        return Line("flagged", promise, _share(int(subject.flagged.sum()), len(subject)))
    normal = ~subject.anomalous
    if not normal.any():
        return Line("false alarms", promise, "no normal image among these")
    alarms = int((subject.flagged & normal).sum())
    happened, state = _share(alarms, int(normal.sum())), _kept(subject, normal)
    if state:
        happened += ": as promised" if state == "good" else ": more than promised"
    return Line("false alarms", promise, happened, state)


def _kept(subject: Subject, normal: NDArray[np.bool_]) -> str:
    """Whether so many false alarms fit the promise, by ``monitor``'s beta-binomial law.

    It holds for one threshold over independent images: otherwise nothing is said.
    """
    rule, single = subject.rule, subject.config.threshold.method.startswith("conformal")
    if subject.guarantee.promised is None or not single:
        return ""
    flags = check(subject.calibration, rule, {"score": subject.scores[normal].tolist()})[0]
    rate = float(subject.flagged[normal].mean())
    many = flags.p_value is not None and flags.p_value < UNLIKELY
    return "bad" if many and rate > subject.guarantee.promised else "good"


def _share(part: int, whole: int) -> str:
    return f"{_percent(part / whole if whole else 0.0)} ({part} of {whole})"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}%"
