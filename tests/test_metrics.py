"""Metrics against numbers worked out by hand, and against what must hold for any scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clad import metrics
from clad.errors import DataError

SCORES = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
TRUTH = [False, False, True, False, True, True]


def test_ranking_metrics_by_hand():
    assert metrics.auroc(SCORES, TRUTH) == pytest.approx(8 / 9)  # 2 + 3 + 3 of 9 pairs
    assert metrics.aupr_anomaly(SCORES, TRUTH) == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert metrics.aupr_normal(SCORES, TRUTH) == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert metrics.fpr95(SCORES, TRUTH) == pytest.approx(1 / 3)  # all 3 found from score 3 on


def test_ties_count_half():
    assert metrics.auroc([0, 0, 1], [False, True, True]) == pytest.approx(0.75)


def test_fpr95_at_exactly_95_percent():
    # 20 anomalies, 19 of them above every normal image: no false alarm is needed.
    scores = np.r_[np.zeros(10), -1.0, np.ones(19)]
    assert metrics.fpr95(scores, np.r_[np.zeros(10), np.ones(20)]) == 0.0


def test_auroc_under_half_is_not_flipped():
    assert metrics.auroc([3, 2, 1], [False, False, True]) == 0.0


def test_decision_metrics_by_hand():
    flagged = np.array(SCORES) > 3.5
    assert metrics.f1(flagged, TRUTH) == pytest.approx(2 / 3)  # TP 2, FP 1, FN 1
    assert metrics.false_alarm_rate(flagged, TRUTH) == pytest.approx(1 / 3)
    assert metrics.detection_rate(flagged, TRUTH) == pytest.approx(2 / 3)
    assert metrics.f1(np.zeros(6, int), TRUTH) == 0.0


def test_evaluate_by_hand():
    assert metrics.evaluate(SCORES, TRUTH, 3.5) == pytest.approx(
        {
            "auroc": 8 / 9,
            "aupr_anomaly": 11 / 12,
            "aupr_normal": 11 / 12,
            "fpr95": 1 / 3,
            "f1": 2 / 3,
            "false_alarm_rate": 1 / 3,
            "detection_rate": 2 / 3,
            "base_rate": 1 / 2,
        }
    )


def test_a_score_on_the_threshold_is_not_flagged():
    assert metrics.evaluate(SCORES, TRUTH, 4.0)["false_alarm_rate"] == 0.0


def test_evaluate_takes_the_decisions_of_a_rule_without_one_threshold():
    result = metrics.evaluate(SCORES, TRUTH, 3.5, decisions=[1, 0, 1, 0, 1, 1])
    assert result["detection_rate"] == 1.0
    assert result["false_alarm_rate"] == pytest.approx(1 / 3)


def test_per_class_auroc_by_hand():
    scores, truth = [1, 2, 0, 3, 1], [False, False, True, True, True]
    by_class = metrics.per_class_auroc(scores, truth, ["a", "b", "c", "d", "c"])
    assert by_class == pytest.approx({"c": 1 / 8, "d": 1.0})  # c: 0 and 1 against 1, 2


def test_nmi_ignores_names_of_clusters():
    assert metrics.nmi(["x", "x", "y", "y"], [5, 5, 2, 2]) == pytest.approx(1.0)
    assert metrics.nmi([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(0.0, abs=1e-12)
    # One bit shared by labels of 1 bit and clusters of 2: 1 / ((1 + 2) / 2).
    assert metrics.nmi([0, 0, 1, 1], [0, 1, 2, 3]) == pytest.approx(2 / 3)


ranked = st.lists(st.tuples(st.integers(-50, 50), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({anomalous for _, anomalous in rows}) == 2
)
RANKING = [metrics.auroc, metrics.aupr_anomaly, metrics.aupr_normal, metrics.fpr95]


@settings(deadline=None, max_examples=50)
@given(ranked)
def test_only_the_order_of_scores_counts(rows):
    scores, truth = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    for metric in RANKING:
        value = metric(scores, truth)
        assert 0 <= value <= 1
        assert metric(np.exp(scores / 10.0), truth) == pytest.approx(value)
        assert metric(1e6 * scores - 3, truth) == pytest.approx(value)


@settings(deadline=None, max_examples=50)
@given(ranked)
def test_auroc_of_turned_scores_or_turned_truth(rows):
    scores, truth = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    assert metrics.auroc(-scores, truth) == pytest.approx(1 - metrics.auroc(scores, truth))
    assert metrics.auroc(scores, ~truth) == pytest.approx(1 - metrics.auroc(scores, truth))


@settings(deadline=None, max_examples=50)
@given(ranked, st.randoms())
def test_the_order_of_images_does_not_count(rows, random):
    truth = [r[1] for r in rows]
    before = metrics.evaluate([r[0] for r in rows], truth, 0.0)
    random.shuffle(rows)
    after = metrics.evaluate([r[0] for r in rows], [r[1] for r in rows], 0.0)
    assert after == pytest.approx(before)


@pytest.mark.parametrize("metric", RANKING)
@pytest.mark.parametrize(
    ("scores", "truth", "said"),
    [
        ([0.0, float("nan"), 1.0], [0, 1, 0], r"scores\[1\] is nan: 1 of 3"),
        ([0.0, 1.0, float("inf")], [0, 1, 0], r"scores\[2\] is inf"),
        ([0.0, 1.0], [0, 1, 0], "2 scores, 3 anomalous"),
        ([0.0, 1.0], [0, 0], "2 normal and 0 anomalous"),
        ([0.0, 1.0], [1, 1], "0 normal and 2 anomalous"),
        ([], [], "0 normal and 0 anomalous"),
        ([[0.0, 1.0]], [0, 1], r"should be \(N,\), got \(1, 2\)"),
        ([0.0, 1.0], [0, 2], "anomalous should be bool or 0/1"),
        (["a", "b"], [0, 1], "scores should be numbers"),
    ],
)
def test_bad_input_is_named(metric, scores, truth, said):
    with pytest.raises(DataError, match=said):
        metric(scores, truth)


def test_bad_decisions_are_named():
    with pytest.raises(DataError, match="decisions should be bool or 0/1, got float64"):
        metrics.f1([0.3, 0.7], [0, 1])  # scores are not decisions
    with pytest.raises(DataError, match="got 0 of 2"):
        metrics.false_alarm_rate([0, 1], [1, 1])
    with pytest.raises(DataError, match="got 0 of 2"):
        metrics.detection_rate([0, 1], [0, 0])
    with pytest.raises(DataError, match="got 0 of 2"):
        metrics.f1([0, 1], [0, 0])
    with pytest.raises(DataError, match="3 labels, 2 clusters"):
        metrics.nmi([0, 1, 2], [0, 1])
    with pytest.raises(DataError, match="1 classes, 2 scores"):
        metrics.per_class_auroc([0, 1], [0, 1], ["a"])


def test_bootstrap_interval_holds_the_auroc_and_narrows_with_more_images():
    rng = np.random.default_rng(0)

    def drawn(n):
        truth = np.repeat([False, True], n)
        return rng.normal(size=2 * n) + truth, truth

    widths = []
    for n in (50, 800):
        scores, truth = drawn(n)
        low, high = metrics.auroc_interval(scores, truth)
        assert low < metrics.auroc(scores, truth) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2.5  # a quarter of the deviation with 16 times the images
    assert metrics.auroc_interval(np.arange(6001.0), np.arange(6001) > 9) is None


def test_bootstrap_interval_is_that_of_hanley_and_mcneil_on_normal_scores():
    """Their standard error of an AUROC of 0.76 with 400 and 400 images is 0.0167."""
    rng = np.random.default_rng(1)
    truth = np.repeat([False, True], 400)
    low, high = metrics.auroc_interval(rng.normal(size=800) + truth, truth)
    assert (high - low) / (2 * 1.96) == pytest.approx(0.0167, rel=0.15)


def test_class_leakage_of_a_class_apart_and_of_one_among_the_normals():
    rng = np.random.default_rng(0)
    normal, among, apart = (rng.normal(size=(300, 4)) for _ in range(3))
    features = np.concatenate([normal, among, apart + 50])
    classes = np.repeat(["n", "among", "apart"], 300)
    found = metrics.class_leakage(features, classes != "n", classes)
    assert found["apart"] == 0.0
    assert found["among"] == pytest.approx(0.5, abs=0.05)


def test_class_leakage_by_hand():
    """On a line: normals at 1 and 11, the class at 2 and 12; each one's nearest is a normal."""
    features = np.array([[1.0], [11.0], [2.0], [12.0]])
    truth = np.array([False, False, True, True])
    assert metrics.class_leakage(features, truth, ["n", "n", "a", "a"], k=1) == {"a": 1.0}
    assert metrics.class_leakage(features, truth, ["n", "n", "a", "a"], k=3) == {
        "a": pytest.approx(2 / 3)
    }
