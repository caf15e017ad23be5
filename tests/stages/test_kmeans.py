"""Stage 2a: as good as scikit-learn's, never fewer clusters than asked for, seeded."""

import faiss
import numpy as np
import pytest
from sklearn.cluster import KMeans as Reference

from clad.errors import FitError
from clad.stages import kmeans
from clad.stages.kmeans import KMeans, assign, faiss_gpus


def blobs(k, n=40, dim=3, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-10, 10, (k, dim))
    return (np.repeat(centers, n, axis=0) + spread * rng.normal(size=(k * n, dim))).astype("f4")


def test_assign_by_hand():
    X = np.array([[0, 0], [3, 0], [2, 4]], np.float32)
    labels, distances = assign(X, np.array([[0, 0], [3, 4]], np.float32))
    assert labels.tolist() == [0, 0, 1]
    assert distances.tolist() == [0, 9, 1]
    assert (labels.dtype, distances.dtype) == (np.int64, np.float32)


def test_two_pairs_by_hand():
    X = np.array([[0, 0], [0, 2], [10, 0], [10, 4]], np.float32)
    found = KMeans(2).fit(X)
    assert sorted(found.cluster_centers_.tolist()) == [[0, 1], [10, 2]]
    assert found.inertia_ == pytest.approx(2 * 1 + 2 * 4)
    assert found.labels_[0] == found.labels_[1] != found.labels_[2] == found.labels_[3]


@pytest.mark.parametrize(("k", "spread"), [(3, 1.0), (8, 2.0), (12, 2.0)])
def test_inertia_is_scikit_learns(k, spread):
    X = blobs(k, spread=spread)
    ours = KMeans(k).fit(X)
    best = Reference(k, n_init=10, random_state=0).fit(X).inertia_
    assert ours.inertia_ <= 1.001 * best
    squared = ((X - ours.cluster_centers_[ours.labels_]) ** 2).sum()
    assert ours.inertia_ == pytest.approx(squared, rel=1e-4)


def test_restarts_on_a_sample_are_polished_on_all_points(monkeypatch):
    monkeypatch.setattr(kmeans, "SAMPLE_PER_CLUSTER", 20)  # 100 of 400 points
    X = blobs(5, n=80)
    best = Reference(5, n_init=10, random_state=0).fit(X).inertia_
    assert KMeans(5).fit(X).inertia_ <= 1.001 * best


def test_same_seed_same_clusters():
    X = np.random.default_rng(0).normal(size=(200, 4)).astype("f4")
    one, again, other = (KMeans(9, seed=s).fit(X) for s in (1, 1, 2))
    assert (one.cluster_centers_ == again.cluster_centers_).all()
    assert (one.labels_ == again.labels_).all()
    assert not np.array_equal(one.cluster_centers_, other.cluster_centers_)


def test_labels_are_the_nearest_centres():
    X = blobs(4, spread=5.0)
    found = KMeans(4).fit(X)
    squared = ((X[:, None] - found.cluster_centers_) ** 2).sum(axis=2)
    assert (found.labels_ == squared.argmin(axis=1)).all()
    assert found.labels_.dtype == np.int64
    assert found.cluster_centers_.dtype == np.float32


def test_an_empty_cluster_is_repaired():
    X = blobs(3)
    centers = np.array([X[0], X[0] + 1e4, X[0] - 1e4], np.float32)
    found = KMeans(3).refine(X, centers)
    assert set(found.labels_) == {0, 1, 2}
    assert np.isfinite(found.cluster_centers_).all()
    best = Reference(3, n_init=10, random_state=0).fit(X).inertia_
    assert found.inertia_ <= 1.001 * best


def test_many_copies_of_few_points_still_fill_every_cluster():
    X = np.repeat(np.array([[0], [1], [100], [101]], np.float32), [50, 3, 1, 1], axis=0)
    found = KMeans(4).fit(X)
    assert found.inertia_ == 0
    assert len(set(found.labels_)) == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_named(bad):
    X = blobs(2)
    X[7, 1] = bad
    with pytest.raises(FitError, match="row 7 of the latents is not finite"):
        KMeans(2).fit(X)
    with pytest.raises(FitError, match="row 7"):
        KMeans(2).refine(X, X[:2])


@pytest.mark.parametrize("copies", [5, 6000])  # many points are not sorted to count them
def test_fewer_distinct_points_than_clusters(copies):
    X = np.repeat(np.array([[0, 0], [1, 1]], np.float32), copies, axis=0)
    with pytest.raises(FitError, match=r"n_samples=2 distinct should be >= n_clusters=3"):
        KMeans(3, restarts=1).fit(X)
    with pytest.raises(FitError, match=r"n_samples=2 distinct should be >= n_clusters=3"):
        KMeans(3).refine(X, np.array([[0, 0], [1, 1], [2, 2]], np.float32))


def test_a_gpu_is_asked_for_where_there_is_one(monkeypatch):
    asked, real = [], faiss.Kmeans

    def recorder(*args, gpu, **kwargs):
        asked.append(gpu)
        return real(*args, gpu=False, **kwargs)

    monkeypatch.setattr(faiss, "Kmeans", recorder)
    monkeypatch.setattr(kmeans, "faiss_gpus", lambda: 2)
    X = blobs(2)
    KMeans(2, restarts=1).fit(X, "cuda:0")
    assert set(asked) == {2}
    asked.clear()
    KMeans(2, restarts=1).fit(X, "cpu")
    assert set(asked) == {False}
    asked.clear()
    monkeypatch.setattr(kmeans, "faiss_gpus", lambda: 0)  # a GPU, but FAISS built for the CPU
    KMeans(2, restarts=1).fit(X, "cuda")
    assert set(asked) == {0}


def test_faiss_gpus_counts_those_the_build_can_use(monkeypatch):
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 4, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    assert faiss_gpus() == 4
    monkeypatch.delattr(faiss, "StandardGpuResources")
    assert faiss_gpus() == 0


def test_on_a_gpu_as_on_the_cpu():
    if not faiss_gpus():
        pytest.skip("no GPU that the installed FAISS can use")
    X = blobs(5)
    assert KMeans(5).fit(X, "cuda").inertia_ == pytest.approx(KMeans(5).fit(X).inertia_, rel=1e-3)
