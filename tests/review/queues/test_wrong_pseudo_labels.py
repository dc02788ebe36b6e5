import numpy as np

from noisy_student_tf.review.queues import wrong_pseudo_labels


def test_greatest_differences_come_first():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.1, 0.9], [0.2, 0.8]])
    labels = np.array([0, 0, 0, 1])
    found = wrong_pseudo_labels.find(probabilities, labels)
    assert found.tolist() == [2, 1]
    doubts = wrong_pseudo_labels.doubts(probabilities, labels)
    np.testing.assert_allclose(doubts, [0, 0.2, 0.8, 0])
