"""The neighbour graph's communities: how many there are, and which points are together."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from clad.stages.graph import GraphClustering, _of_most, centroids, neighbour_graph, united


def moons(n=150, k=3, seed=0):
    """k half circles of n points, far apart, and which each point is on."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, np.pi, (k, n))
    points = np.stack([np.cos(angle), np.sin(angle)], axis=2) + rng.normal(0, 0.05, (k, n, 2))
    points += 4 * np.arange(k)[:, None, None]
    return points.reshape(-1, 2).astype(np.float32), np.repeat(np.arange(k), n)


def test_edges_of_four_points_on_a_line():
    """At 0, 1, 3, 7 the nearest others are 1, 0, 1, 2: an edge where either is near the other."""
    graph = neighbour_graph(np.array([[0], [1], [3], [7]], np.float32), 1)
    edges = [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]]
    np.testing.assert_array_equal(graph.toarray(), edges)


def test_no_point_is_its_own_neighbour_though_all_are_the_same():
    assert neighbour_graph(np.zeros((6, 2), np.float32), 3).diagonal().sum() == 0


def test_tracks_of_near_copies_are_no_clusters():
    rng = np.random.default_rng(0)
    tracks = np.repeat(rng.normal(size=(20, 3)), 30, axis=0)
    frames = (tracks + rng.normal(0, 0.01, tracks.shape)).astype(np.float32)
    groups = np.repeat(np.arange(20), 30)
    assert GraphClustering(seed=0).fit(frames).n_clusters_ > 10
    assert GraphClustering(seed=0).fit(frames, groups).n_clusters_ == 1


def test_clusters_of_many_tracks_are_kept_and_the_few_join_the_nearest():
    """Three places with 16, 16 and 14 tracks of 30 frames each: 15 are the fewest."""
    rng = np.random.default_rng(0)
    place = np.repeat([0, 1, 2], [16, 16, 14])
    centres = np.array([[0.0, 0.0], [50.0, 0.0], [70.0, 0.0]])[place]
    tracks = np.repeat(centres + rng.normal(0, 1, centres.shape), 30, axis=0)
    frames = (tracks + rng.normal(0, 1, tracks.shape)).astype(np.float32)
    groups, truth = np.repeat(np.arange(46), 30), np.repeat(place, 30)
    assert adjusted_rand_score(truth, GraphClustering(seed=0).fit(frames).labels_) > 0.99
    found = GraphClustering(seed=0).fit(frames, groups)
    assert adjusted_rand_score(truth > 0, found.labels_) > 0.99
    assert all(len(np.unique(found.labels_[groups == track])) == 1 for track in range(46))
    assert (np.diff(np.bincount(found.labels_)) <= 0).all()


def test_a_track_goes_where_most_of_its_frames_are():
    """Each of 40 tracks has 20 frames in its own of two places and 5 in the other."""
    rng = np.random.default_rng(0)
    groups, place = np.repeat(np.arange(40), 25), np.repeat(np.arange(40) % 2, 25)
    seen = np.where(np.tile(np.arange(25), 40) < 20, place, 1 - place)
    frames = (np.stack([20 * seen, 0 * seen], axis=1) + rng.normal(size=(1000, 2))).astype("f4")
    assert adjusted_rand_score(seen, GraphClustering(seed=0).fit(frames).labels_) > 0.99
    found = GraphClustering(seed=0).fit(frames, groups)
    np.testing.assert_array_equal(found.labels_ == found.labels_[0], place == place[0])


def test_the_label_of_most_by_hand():
    """Group 0 has labels 4, 1 and 1, group 1 one of each of 3 and 2, group 2 a 0."""
    labels, groups = np.array([4, 3, 1, 2, 1, 0]), np.array([0, 1, 0, 1, 0, 2])
    np.testing.assert_array_equal(_of_most(labels, groups), [1, 2, 1, 2, 1, 0])


def test_one_group_alone_is_one_cluster():
    points, _ = moons(k=2)
    found = GraphClustering(seed=0).fit(points, np.zeros(len(points), np.int64))
    assert found.n_clusters_ == 1


def test_half_circles_are_found_whole():
    points, truth = moons()
    found = GraphClustering(seed=1).fit(points)
    assert found.n_clusters_ >= 3
    for cluster in range(found.n_clusters_):  # none mixes two half circles
        assert len(np.unique(truth[found.labels_ == cluster])) == 1
    assert found.stability_ >= 0.9


def test_labels_count_from_the_largest_and_none_is_empty():
    points, _ = moons()
    points = points[np.r_[:150, 150:250, 300:330]]
    sizes = np.bincount(GraphClustering(seed=0).fit(points).labels_)
    assert (np.diff(sizes) <= 0).all()
    assert sizes.min() > 0


def test_a_handful_of_strays_is_no_cluster():
    points, _ = moons(k=2)
    strays = np.array([[4.0, 30.0]], np.float32) + np.random.default_rng(0).normal(0, 0.01, (4, 2))
    found = GraphClustering(seed=0).fit(np.r_[points, strays.astype(np.float32)])
    assert np.bincount(found.labels_).min() >= 15


def test_two_of_which_one_is_a_handful_are_one_cluster(monkeypatch):
    """Twenty of 3,020 points, far away and tied to each other alone: under one in a hundred."""
    monkeypatch.setattr("clad.stages.graph.RESOLUTIONS", (0.001,))  # cut nothing that is joined
    rng = np.random.default_rng(0)
    many, few = rng.normal(size=(3000, 2)), rng.normal(50, 0.01, (20, 2))
    points = np.r_[many, few].astype(np.float32)
    assert GraphClustering(seed=0).fit(points).n_clusters_ == 1
    more = np.r_[points, few + 0.001, few - 0.001].astype(np.float32)
    assert GraphClustering(seed=0).fit(more).n_clusters_ == 2


def test_of_many_points_a_sample_is_clustered_and_the_others_follow():
    points, truth = moons(n=400)
    points = np.r_[points[:400], points[500:800], points[1000:]]  # none as large as another
    truth = np.r_[truth[:400], truth[500:800], truth[1000:]]
    groups = np.arange(len(points))
    found = GraphClustering(limit=200, seed=0).fit(points, groups)
    assert len(found.labels_) == len(points)
    for cluster in range(found.n_clusters_):
        assert len(np.unique(truth[found.labels_ == cluster])) == 1
    assert (np.diff(np.bincount(found.labels_)) <= 0).all()
    whole = GraphClustering(limit=len(points), seed=0).fit(points)
    again = GraphClustering(seed=0).fit(points)
    np.testing.assert_array_equal(whole.labels_, again.labels_)


HALVES = np.repeat([0, 1], 50)
MIXED = np.tile([0, 1], 50)
NEARLY = np.r_[np.repeat([0, 1], [45, 5]), np.repeat([1, 0], [45, 5])]  # index 0.64 with halves


@pytest.mark.parametrize(
    ("runs", "asked", "n_clusters"),
    [
        ([HALVES, HALVES, HALVES, HALVES], 4, 2),
        ([0 * HALVES], 1, 1),  # one community
        ([HALVES, MIXED], 2, 1),  # about 0 + 5 of 6 pairs: under 0.9
        ([HALVES, NEARLY, MIXED], 3, 1),  # 0.64 + 5 of 6 is 0.94
        ([HALVES, HALVES, HALVES, NEARLY], 4, 1),  # 3 + 3 * 0.64 of 6 is 0.82
    ],
)
def test_no_more_seeds_are_asked_than_can_change_the_answer(monkeypatch, runs, asked, n_clusters):
    answers = iter(runs)
    monkeypatch.setattr("clad.stages.graph.RESOLUTIONS", (1.0,))
    monkeypatch.setattr("clad.stages.graph.leiden", lambda *_: next(answers))
    points = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    assert GraphClustering().fit(points).n_clusters_ == n_clusters
    assert len(list(answers)) == len(runs) - asked


@pytest.mark.parametrize("limit", [1000, 90])
def test_other_views_agree_where_they_show_the_same(limit):
    points, _ = moons(k=2)
    noise = np.random.default_rng(0).normal(0, 0.001, points.shape).astype(np.float32)
    found = GraphClustering(limit=limit, seed=0).fit(points)
    assert found.n_clusters_ > 1
    asked = found.asked_
    assert len(asked) == min(limit, len(points))
    assert next(found.agreements((points + noise)[asked])) > 0.8
    mixed = np.random.default_rng(0).permutation(points)[asked]
    assert abs(next(found.agreements(mixed))) < 0.1
    one = np.zeros(len(asked), np.int64)
    assert next(found.agreements(points[asked], one)) == 0, "rows of one group are in one cluster"


@pytest.mark.parametrize("limit", [10_000, 250])
def test_partitions_go_from_fine_to_coarse_and_end_with_one_cluster(limit):
    """Two pairs of clumps, the pairs far apart: four clusters, then two, then one."""
    rng = np.random.default_rng(0)
    place = np.repeat(np.arange(4), 100)
    middle = np.array([[0.0, 0.0], [3.2, 0.0], [30.0, 0.0], [33.2, 0.0]])[place]
    points = (middle + rng.normal(0, 0.8, middle.shape)).astype(np.float32)
    found = GraphClustering(limit=limit, neighbours=40, seed=0).fit(points)
    sizes = [int(part.labels.max()) + 1 for part in found.partitions_]
    assert sizes == sorted(sizes, reverse=True)
    assert {4, 2, 1} <= set(sizes)
    assert sizes[-1] == 1
    np.testing.assert_array_equal(found.labels_, found.partitions_[0].labels)
    two = next(part for part in found.partitions_ if part.labels.max() == 1)
    assert adjusted_rand_score(place // 2, two.labels) == 1
    assert all(len(part.labels) == len(points) for part in found.partitions_)
    assert all(part.stability >= 0.9 for part in found.partitions_)
    agreements = list(found.agreements(points[found.asked_]))
    assert len(agreements) == len(sizes) - 1, "one cluster is not asked about"
    assert min(agreements) > 0.9


def test_one_seed_one_answer():
    points, _ = moons()
    runs = [GraphClustering(seed=5).fit(points).labels_ for _ in range(4)]
    for labels in runs[1:]:
        np.testing.assert_array_equal(labels, runs[0])


def test_points_that_are_one_community_are_one_cluster(monkeypatch):
    monkeypatch.setattr("clad.stages.graph.RESOLUTIONS", (0.001,))
    points = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    graph = GraphClustering(seed=0).fit(points)
    assert graph.n_clusters_ == 1
    assert graph.labels_.tolist() == [0] * 60


def test_clusters_that_exchange_a_tenth_of_their_rows_are_one():
    """One of ten both ways between 0 and 2; all three of 3 go to 1, of which none comes back."""
    labels = np.repeat(np.arange(4), (12, 11, 10, 3))
    rows = np.r_[0:10, 14:36]  # two each of 0 and 1 are not asked
    seen = labels[rows].copy()
    seen[0], seen[19] = 2, 0
    assert labels[rows[[0, 19]]].tolist() == [0, 2]
    seen[-3:] = 1
    assert np.bincount(united(labels, rows, seen)).tolist() == [22, 11, 3]
    seen[19] = 2
    assert np.bincount(united(labels, rows, seen)).tolist() == [12, 11, 10, 3]


def test_clusters_joined_by_a_third_are_one():
    labels = np.repeat(np.arange(3), 4)
    seen = np.array([0, 0, 0, 1, 1, 1, 0, 2, 2, 2, 1, 1])
    assert united(labels, np.arange(12), seen).tolist() == [0] * 12


def test_centroids_by_hand():
    points = np.array([[0, 0], [2, 4], [9, 9], [5, 1]], np.float32)
    means = centroids(points, np.array([0, 0, -1, 1]), 2)
    np.testing.assert_array_equal(means, [[1, 2], [5, 1]])
