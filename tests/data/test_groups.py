import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clad.data.groups import count_duplicates, duplicate_groups, merge_groups


def test_duplicates_share_a_number(make_images):
    images = make_images(5, 9, 5, 7, 9)
    assert duplicate_groups(images).tolist() == [0, 1, 0, 2, 1]
    assert count_duplicates(images) == 2
    assert duplicate_groups(images.take(np.array([4, 1, 0]))).tolist() == [0, 0, 1]


def test_a_chain_of_shared_groups_joins_its_ends():
    tracks = np.array([0, 0, 1, 1, 2])
    pixels = np.array([0, 1, 1, 2, 3])  # rows 1 and 2 are duplicates and tie tracks 0 and 1
    assert merge_groups(tracks, pixels).tolist() == [0, 0, 0, 0, 1]


numbers = st.integers(0, 5)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=20))
def test_merging_is_the_finest_that_keeps_both_whole(pairs):
    a, b = np.array(pairs).T
    merged = merge_groups(a, b)
    reach = (a[:, None] == a) | (b[:, None] == b)
    for _ in range(len(a)):  # transitive closure, the slow way
        reach = (reach.astype(int) @ reach) > 0
    np.testing.assert_array_equal(merged[:, None] == merged, reach)
