import numpy as np

from noisy_student_tf.review.queues import wrong_labels

# Thresholds: (0.9 + 0.8 + 0.1) / 3 = 0.6, and (0.7 + 0.6) / 2 = 0.65.
PROBABILITIES = np.array(
    [
        [0.9, 0.1, 0.0],
        [0.8, 0.2, 0.0],
        [0.1, 0.9, 0.0],
        [0.3, 0.7, 0.0],
        [0.4, 0.6, 0.0],
    ]
)
LABELS = np.array([0, 0, 0, 1, 1])


def test_thresholds_are_the_means_of_those_that_are_labeled_so():
    likely = wrong_labels.likely_classes(PROBABILITIES, LABELS)
    # The last one reaches none. The third class has no images.
    assert likely.tolist() == [0, 0, 1, 1, -1]
    doubted = wrong_labels.find(PROBABILITIES, LABELS)
    assert doubted.rows.tolist() == [2]
    assert doubted.classes.tolist() == [1]


def test_the_surest_come_first_and_those_of_the_joint_before_others():
    probabilities = np.repeat(PROBABILITIES, 3, axis=0)
    labels = np.repeat(LABELS, 3)
    labels[[0, 4, 12]] = 1, 1, 0
    doubted = wrong_labels.find(probabilities, labels)
    # Gaps: 0.8 of 0, 6, 7 and 8, 0.6 of 4. Class 1's mean is 0.54, then.
    assert doubted.rows.tolist() == [0, 6, 7, 8, 4, 12]
    assert doubted.classes.tolist() == [0, 1, 1, 1, 0, 1]
    assert doubted.is_confident.tolist() == [True] * 6

    # Nobody reaches the mean of class 1, which two images set, but its own.
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8]])
    doubted = wrong_labels.find(probabilities, np.array([1, 1, 0, 1]))
    assert doubted.rows.tolist() == [0, 2]
    doubted = wrong_labels.find(
        np.array([[0.7, 0.3], [0.45, 0.55], [0.1, 0.9]]), np.array([0, 0, 1])
    )
    assert doubted.rows.tolist() == [1]
    assert doubted.is_confident.tolist() == [False]


def test_equal_numbers_reach_their_mean():
    probabilities = np.full([7, 2], [0.1, 0.9])
    likely = wrong_labels.likely_classes(probabilities, np.ones(7, np.int64))
    assert likely.tolist() == [1] * 7


def test_flipped_labels_are_found():
    random = np.random.default_rng(0)
    true = random.integers(0, 4, 1000)
    logits = random.normal(0, 1, [1000, 4]) + 4 * np.eye(4)[true]
    labels = true.copy()
    flipped = np.arange(0, 1000, 20)
    labels[flipped] = (labels[flipped] + 1) % 4
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    first = wrong_labels.find(probabilities, labels).rows[: len(flipped)]

    assert len(set(first) & set(flipped)) > 0.9 * len(flipped)
