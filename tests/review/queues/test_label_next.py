import numpy as np

from noisy_student_tf.review.queues import label_next


def choose(margins, features, **changes):
    options = {"length": 100, "per_cluster": 2, "seed": 0, **changes}
    return label_next.choose(
        np.asarray(margins), np.asarray(features), **options
    )


def test_clusters_take_turns_the_most_uncertain_first():
    random = np.random.default_rng(0)
    centers = np.eye(4)[[0, 0, 0, 0, 1, 1, 2, 3, 3, 3]]
    features = centers + random.normal(0, 0.01, [10, 4])
    margins = [0.1, 0.2, 0.3, 0.4, 0.9, 0.8, 0.5, 0.05, 0.06, 0.07]

    chosen = choose(margins, features, length=8)

    # 7, 0, 6, 5 are the first ones of the four clusters, 8, 1, 4 the second.
    assert chosen.rows.tolist() == [7, 0, 6, 5, 8, 1, 4]
    assert chosen.cluster_sizes.tolist() == [3, 4, 1, 2, 3, 4, 2]


def test_length_and_lengths_of_features():
    features = np.array([[1, 0], [5, 0.01], [0, 1], [0.01, 7]], float)
    chosen = choose([0.1, 0.2, 0.3, 0.4], features, length=2, per_cluster=1)
    assert chosen.rows.tolist() == [0, 2]


def test_equal_pictures_are_one_cluster():
    chosen = choose([0.3, 0.1, 0.2], np.ones([3, 2]), per_cluster=1)
    assert chosen.rows.tolist() == [1]
    assert chosen.cluster_sizes.tolist() == [3]


def test_nothing_is_chosen_of_nothing():
    assert choose([], np.zeros([0, 4])).rows.tolist() == []
