"""How well scores and decisions tell anomalies from normal images: pure functions of arrays.

Everywhere ``scores`` is float (N,), higher = more anomalous; ``anomalous`` is bool (N,), the
truth; ``decisions`` is bool or 0/1 (N,), 1 = flagged. Nothing is flipped and no threshold is chosen
by looking at the truth: an AUROC under 0.5 stays one, and F1 is that of the decisions given.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clad.errors import DataError

SMALL = 5000  # test images up to which an AUROC's own uncertainty is worth stating


def score_vector(scores: ArrayLike, what: str = "scores") -> NDArray[np.float64]:
    """Scores as float64 (N,); DataError names the first index that is NaN or infinite."""
    try:
        vector = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what} should be numbers, one an image") from None
    if vector.ndim != 1:
        raise DataError(f"{what} should be (N,), got {vector.shape}")
    bad = np.flatnonzero(~np.isfinite(vector))
    if len(bad):
        raise DataError(
            f"{what}[{bad[0]}] is {vector[bad[0]]}: {len(bad)} of {len(vector)} are not finite"
        )
    return vector


def auroc(scores: ArrayLike, anomalous: ArrayLike) -> float:
    """Probability that an anomaly scores above a normal image, ties counted half; in [0, 1]."""
    from sklearn.metrics import roc_auc_score

    scores, truth = _scored(scores, anomalous)
    return float(roc_auc_score(truth, scores))


def auroc_interval(
    scores: ArrayLike, anomalous: ArrayLike, level: float = 0.95, resamples: int = 999
) -> list[float] | None:
    """Percentile bootstrap interval of the AUROC over the test images (Efron 1979).

    None for more than ``SMALL`` images, where it is narrow and slow.

    Normal images and anomalies are drawn anew apart, so that their numbers stay. It says what other
    test images of the same kinds would have given, not what another training would.
    """
    from scipy.stats import bootstrap, rankdata

    scores, truth = _scored(scores, anomalous)
    if len(scores) > SMALL:
        return None

    def statistic(normal: Any, strange: Any, axis: int) -> Any:
        n, m = normal.shape[axis], strange.shape[axis]
        ranks = rankdata(np.concatenate([normal, strange], axis=axis), axis=axis)
        above = np.take(ranks, range(n, n + m), axis=axis).sum(axis=axis)
        return (above - m * (m + 1) / 2) / (n * m)  # Mann and Whitney's U

    found = bootstrap(
        (scores[~truth], scores[truth]),
        statistic,
        n_resamples=resamples,
        batch=100,
        vectorized=True,
        confidence_level=level,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return [float(found.low), float(found.high)]


def class_leakage(
    features: ArrayLike, anomalous: ArrayLike, classes: Sequence[Hashable], k: int = 10
) -> dict[Any, float]:
    """How far each anomalous class lies among the normal images, in [0, 1].

    Of the ``k`` nearest neighbours of an image of the class, among the normal images and as many
    or fewer of the class itself, the share that are normal, mean over its images (neighbourhood
    class leakage, after arXiv 2606.02601). Near 0 the class lies apart; near the normal images'
    own share the split is ill-posed in these features, and AUROCs may fall under one half.
    ``features``: (N, F).
    """
    from sklearn.neighbors import NearestNeighbors

    rows, truth = np.asarray(features, np.float32), _binary(anomalous, "anomalous")
    labels = np.asarray(classes)
    _same_length(features=rows, anomalous=truth, classes=labels)
    found = {}
    for kind in np.unique(labels[truth]).tolist():
        own, normal = rows[truth & (labels == kind)], rows[~truth]
        chosen = np.random.default_rng(0).permutation(len(normal))[: len(own)]  # equal shares
        together = np.concatenate([own, normal[chosen]])
        search = NearestNeighbors(n_neighbors=min(k, len(together) - 1)).fit(together)
        nearest = search.kneighbors(return_distance=False)[: len(own)]  # no row is its own
        found[kind] = float((nearest >= len(own)).mean())
    return found


def aupr_anomaly(scores: ArrayLike, anomalous: ArrayLike) -> float:
    """Average precision with the anomalies as positives; chance gives their share."""
    from sklearn.metrics import average_precision_score

    scores, truth = _scored(scores, anomalous)
    return float(average_precision_score(truth, scores))


def aupr_normal(scores: ArrayLike, anomalous: ArrayLike) -> float:
    """Average precision with the normal images as positives, the lowest scores first."""
    from sklearn.metrics import average_precision_score

    scores, truth = _scored(scores, anomalous)
    return float(average_precision_score(~truth, -scores))


def fpr95(scores: ArrayLike, anomalous: ArrayLike) -> float:
    """False-alarm rate at the highest threshold that detects at least 95% of the anomalies."""
    from sklearn.metrics import roc_curve

    scores, truth = _scored(scores, anomalous)
    false_alarms, detected, _ = roc_curve(truth, scores, drop_intermediate=False)
    return float(false_alarms[np.argmax(detected >= 0.95)])


def per_class_auroc(
    scores: ArrayLike, anomalous: ArrayLike, classes: Sequence[Hashable]
) -> dict[Any, float]:
    """AUROC of each anomalous class alone against all normal images; ``classes``: N labels."""
    scores, truth = _scored(scores, anomalous)
    labels = np.asarray(classes)
    _same_length(classes=labels, scores=scores)
    return {
        kind: auroc(scores[keep], truth[keep])
        for kind in np.unique(labels[truth]).tolist()
        for keep in [~truth | (labels == kind)]
    }


def false_alarm_rate(decisions: ArrayLike, anomalous: ArrayLike) -> float:
    """Share of the normal images that are flagged."""
    flagged, truth = _decided(decisions, anomalous)
    if truth.all():
        raise DataError(f"a false-alarm rate needs normal images, got 0 of {len(truth)}")
    return float(flagged[~truth].mean())


def detection_rate(decisions: ArrayLike, anomalous: ArrayLike) -> float:
    """Share of the anomalies that are flagged (recall, true-positive rate)."""
    flagged, truth = _decided(decisions, anomalous)
    if not truth.any():
        raise DataError(f"a detection rate needs anomalies, got 0 of {len(truth)}")
    return float(flagged[truth].mean())


def f1(decisions: ArrayLike, anomalous: ArrayLike) -> float:
    """2 TP / (2 TP + FP + FN) of these decisions; 0 where nothing is rightly flagged."""
    flagged, truth = _decided(decisions, anomalous)
    if not truth.any():
        raise DataError(f"F1 needs anomalies, got 0 of {len(truth)}")
    return float(2 * (flagged & truth).sum() / (flagged.sum() + truth.sum()))


def nmi(labels: Sequence[Hashable] | ArrayLike, clusters: ArrayLike) -> float:
    """Normalised mutual information (arithmetic mean) of hidden labels and clusters, in [0, 1]."""
    from sklearn.metrics import normalized_mutual_info_score

    hidden, found = np.asarray(labels), np.asarray(clusters)
    _same_length(labels=hidden, clusters=found)
    return float(normalized_mutual_info_score(hidden, found))


def evaluate(
    scores: ArrayLike,
    anomalous: ArrayLike,
    threshold: float,
    decisions: ArrayLike | None = None,
) -> dict[str, float]:
    """Every number a run reports, each in [0, 1]; ``base_rate`` is the share of anomalies.

    Flagged is ``scores > threshold``, unless the rule has no single threshold (per cluster, per
    batch) and hands in its ``decisions``.
    """
    scores, truth = _scored(scores, anomalous)
    flagged = scores > threshold if decisions is None else decisions
    return {
        "auroc": auroc(scores, truth),
        "aupr_anomaly": aupr_anomaly(scores, truth),
        "aupr_normal": aupr_normal(scores, truth),
        "fpr95": fpr95(scores, truth),
        "f1": f1(flagged, truth),
        "false_alarm_rate": false_alarm_rate(flagged, truth),
        "detection_rate": detection_rate(flagged, truth),
        "base_rate": float(truth.mean()),
    }


def _scored(
    scores: ArrayLike, anomalous: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Finite scores and the truth, of one length and with both kinds among them."""
    vector, truth = score_vector(scores), _binary(anomalous, "anomalous")
    _same_length(scores=vector, anomalous=truth)
    if truth.all() or not truth.any():
        raise DataError(
            f"ranking metrics need normal and anomalous images, got {(~truth).sum()} normal "
            f"and {truth.sum()} anomalous"
        )
    return vector, truth


def _decided(
    decisions: ArrayLike, anomalous: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Decisions and the truth as booleans of one length."""
    flagged, truth = _binary(decisions, "decisions"), _binary(anomalous, "anomalous")
    _same_length(decisions=flagged, anomalous=truth)
    return flagged, truth


def _binary(values: ArrayLike, what: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{what} should be (N,), got {array.shape}")
    # Not astype alone: scores handed in as decisions would all become True.
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise DataError(f"{what} should be bool or 0/1, got {array.dtype} values")
    return array.astype(bool)


def _same_length(**arrays: NDArray[Any]) -> None:
    if len({len(a) for a in arrays.values()}) > 1:
        raise DataError("lengths differ: " + ", ".join(f"{len(a)} {k}" for k, a in arrays.items()))
