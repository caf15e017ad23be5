"""The verdict's words and states, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clad.report import subject
from clad.report.verdict import verdict


@pytest.fixture(scope="module")
def run(run_folder):
    return subject.of_run(run_folder)


def line_of(found, what):
    return next(line for line in verdict(found) if line.what == what)


def judged(run, alarms, normals=200, detected=30, anomalies=100):
    """A subject of which so many are flagged."""
    over, under = run.rule.threshold_ + 1, run.rule.threshold_ - 1
    groups = [(alarms, over), (normals - alarms, under)]
    groups += [(detected, over), (anomalies - detected, under)]
    scores = np.concatenate([np.full(n, score) for n, score in groups])
    return replace(
        run, scores=scores, flagged=scores > run.rule.threshold_,
        anomalous=np.repeat([False, True], [normals, anomalies]),
        names=[str(i) for i in range(normals + anomalies)],
    )  # fmt: skip


def test_counts_of_false_alarms_and_detections(run):
    found = judged(run, alarms=10)
    line = line_of(found, "false alarms")
    assert line.promised == run.guarantee.text
    assert line.happened == "5.0% (10 of 200): as promised"
    assert line.state == "good"
    assert line_of(found, "anomalies detected").happened == "30.0% (30 of 100)"
    # of the pairs, 0.3 * 0.95 are right, and those alike (0.3 * 0.05 + 0.7 * 0.95) count half
    assert line_of(found, "AUROC").happened.startswith("0.625 (95% interval 0.400 to 0.600)")


def test_many_false_alarms_break_the_promise_and_few_do_not(run):
    assert line_of(judged(run, alarms=90), "false alarms").state == "bad"
    assert "more than promised" in line_of(judged(run, alarms=90), "false alarms").happened
    assert line_of(judged(run, alarms=0), "false alarms").state == "good"


def test_no_promise_no_judgement(run):
    found = judged(run, alarms=90)
    none = replace(found, guarantee=replace(found.guarantee, promised=None))
    assert line_of(none, "false alarms").state == ""


def test_without_truth_only_flags_are_counted(run):
    found = replace(judged(run, alarms=10), anomalous=None)
    assert line_of(found, "flagged").happened == "13.3% (40 of 300)"
    assert not any(line.what in ("AUROC", "false alarms") for line in verdict(found))


def test_one_kind_alone_has_no_auroc(run):
    normal = judged(run, alarms=10, anomalies=0, detected=0)
    assert [line.what for line in verdict(normal)][:2] == ["false alarms", "threshold"]
    anomalies = judged(run, alarms=0, normals=0)
    assert line_of(anomalies, "false alarms").happened == "no normal image among these"


def test_warnings_of_the_fit_are_repeated(run):
    found = replace(run, facts={"health": ["dec-x: try y"], "skipped": ["a.png", "b.png"]})
    said = [line.happened for line in verdict(found) if line.what == "warning"]
    assert said == ["dec-x: try y", "2 unreadable files were skipped"]
