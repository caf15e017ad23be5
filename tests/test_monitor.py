"""Watching a model in use: each law by hand, silence where nothing changes, each drift found."""

import numpy as np
import pytest
from scipy.stats import binom

from clad.calibration import Calibration
from clad.errors import DataError
from clad.monitor import FEWEST, check
from clad.threshold import Conformal, Manual

N = 400


def calibration_of(rng, n=N, **changes):
    columns = {
        "scores": rng.normal(size=n),
        "clusters": rng.integers(0, 3, n),
        "train_counts": np.array([100, 100, 100]),
        "synthetic": np.array([5.0]),
        "brightness": rng.uniform(0.3, 0.5, n),
        "sizes": np.tile([480, 640], (n, 1)),
        "digests": np.zeros((n, 16), np.uint8),
        "names": [str(i) for i in range(n)],
        "modes": ["RGB"] * n,
        "groups": n,
    }
    return Calibration(**{**columns, **changes})


def stream_of(rng, m=500, **changes):
    columns = {
        "score": rng.normal(size=m),
        "cluster": rng.integers(0, 3, m),
        "brightness": rng.uniform(0.3, 0.5, m),
        "height": np.full(m, 480),
        "width": np.full(m, 640),
        "mode": ["RGB"] * m,
    }
    return {**columns, **changes}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def calibration(rng):
    return calibration_of(rng)


@pytest.fixture
def rule(calibration):
    return Conformal(alpha=0.05).fit(calibration.scores)


def drifted(calibration, rule, stream, level=0.01):
    return [each.name for each in check(calibration, rule, stream, level) if each.drifted]


def found(calibration, rule, stream, name):
    (one,) = (each for each in check(calibration, rule, stream) if each.name == name)
    return one


# -- by hand --------------------------------------------------------------------------------------


def test_the_law_of_the_flags_by_hand():
    """n = 1, k = 1: the rate over one score is uniform, so any number of 2 flags has chance 1/3."""
    one = calibration_of(np.random.default_rng(0), 1, scores=np.array([0.0]))
    rule = Manual(value=0.0).fit(one.scores)
    for scores, p in (([1.0, 1.0], 2 / 3), ([1.0, -1.0], 1.0), ([-1.0, -1.0], 2 / 3)):
        flags = found(one, rule, {"score": scores}, "flags")
        assert flags.p_value == pytest.approx(p)
    assert flags.seen == "0 of 2 over the threshold; 0 to 2 expected"


def test_a_threshold_under_every_score_has_no_law(calibration, rng):
    rule = Manual(value=-99.0).fit(calibration.scores)
    flags = found(calibration, rule, stream_of(rng), "flags")
    assert flags.p_value is None
    assert "all calibration images lie over" in flags.seen


def test_cluster_shares_by_hand(rng):
    """200 and 200 against 60 and 140: chi-squared 2 x 2 without correction, 21.5 at 1 degree."""
    clusters = np.repeat([0, 1], 200)
    calibration = calibration_of(rng, clusters=clusters)
    rule = Manual(value=99.0).fit(calibration.scores)
    stream = stream_of(rng, 200, cluster=np.repeat([0, 1], [60, 140]))
    one = found(calibration, rule, stream, "clusters")
    a, b, c, d = 200, 200, 60, 140
    statistic = 600 * (a * d - b * c) ** 2 / ((a + b) * (c + d) * (a + c) * (b + d))
    assert statistic == pytest.approx(21.72, abs=0.01)
    from math import erfc, sqrt

    assert one.p_value == pytest.approx(erfc(sqrt(statistic / 2)))
    assert one.seen == "0: 50%, now 30%"


def test_kolmogorov_smirnov_by_hand(rng):
    """Two samples that do not overlap at all: p = 2 / C(40, 20)."""
    from math import comb

    calibration = calibration_of(rng, 20, brightness=np.linspace(0.1, 0.2, 20))
    rule = Manual(value=99.0).fit(calibration.scores)
    stream = stream_of(rng, 20, brightness=np.linspace(0.3, 0.4, 20))
    one = found(calibration, rule, stream, "brightness")
    assert one.p_value == pytest.approx(2 / comb(40, 20))


# -- silence --------------------------------------------------------------------------------------


def test_it_seldom_alarms_where_nothing_has_changed():
    alarms = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        calibration = calibration_of(rng, 200)
        rule = Conformal(alpha=0.05).fit(calibration.scores)
        alarms += bool(drifted(calibration, rule, stream_of(rng, 300), level=0.05))
    assert alarms <= binom.ppf(0.999, 300, 0.05)
    assert alarms > 0, "a monitor that cannot alarm"


def test_far_anomalies_trip_the_flags_alone(calibration, rule, rng):
    stream = stream_of(rng)
    stream["score"][:50] = 30 + rng.normal(size=50)
    stream["cluster"][:50] = 0
    stream["brightness"][:50] = 1.0
    assert drifted(calibration, rule, stream) == ["flags"]


# -- each drift by its own check ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (lambda rng: {"score": rng.normal(size=500) * 0.5}, "scores"),
        (lambda rng: {"cluster": rng.choice(3, 500, p=[0.6, 0.2, 0.2])}, "clusters"),
        (lambda rng: {"cluster": np.full(500, 7)}, "clusters"),
        (lambda rng: {"brightness": rng.uniform(0.25, 0.45, 500)}, "brightness"),
        (lambda rng: {"height": np.where(np.arange(500) < 30, 481, 480)}, "size"),
        (lambda rng: {"width": rng.integers(600, 680, 500)}, "size"),
        (lambda rng: {"mode": ["L"] * 30 + ["RGB"] * 470}, "mode"),
    ],
)
def test_each_drift_is_found(calibration, rule, rng, changes, name):
    assert name in drifted(calibration, rule, stream_of(rng, **changes(rng)))


def test_too_many_and_too_few_flags(calibration, rule, rng):
    many = rng.normal(size=500)
    many[:60] = 30.0
    assert "flags" in drifted(calibration, rule, stream_of(rng, score=many))
    few = np.minimum(rng.normal(size=500), rule.threshold_)
    one = found(calibration, rule, stream_of(rng, score=few), "flags")
    assert one.drifted
    assert one.seen.startswith("0 of 500 over the threshold; ")


# -- what it is given -----------------------------------------------------------------------------


def test_an_older_score_file_is_checked_as_far_as_it_goes(calibration, rule, rng):
    old = {k: v for k, v in stream_of(rng).items() if k in ("score", "cluster")}
    checks = {each.name: each for each in check(calibration, rule, old)}
    assert checks["scores"].p_value is not None
    assert checks["brightness"].p_value is None
    assert checks["brightness"].seen == "skipped: no column brightness"
    assert checks["size"].seen == "skipped: no column height, width"


def test_few_images_are_counted_only(calibration, rule, rng):
    checks = check(calibration, rule, stream_of(rng, FEWEST - 5))
    assert checks[0].p_value is not None
    assert all(each.p_value is None for each in checks[1:])
    assert f"{FEWEST} are needed" in checks[1].seen


def test_bad_scores(calibration, rule, rng):
    with pytest.raises(DataError, match="no column 'score'"):
        check(calibration, rule, {"cluster": [1]})
    with pytest.raises(DataError, match=r"score\[2\] is nan"):
        check(calibration, rule, {"score": [0.0, 1.0, float("nan")]})
