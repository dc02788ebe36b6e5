import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.training import losses

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
ARRAYS = dict(np.load(GOLDEN / "losses.npz"))
SMOOTHED = configs.LossConfig(label_smoothing=0.1)
EXPECTED = json.loads((GOLDEN / "losses.json").read_text())


def test_labeled_loss_is_the_published_one():
    values = losses.labeled(
        SMOOTHED, ARRAYS["labeled_logits"], ARRAYS["labels"]
    )
    assert values.shape == [6]
    assert np.mean(values) == pytest.approx(EXPECTED["labeled"], rel=1e-6)


@pytest.mark.parametrize("temperature", [-1, 0.5, 1, 2])
def test_unlabeled_and_total_losses_are_the_published_ones(temperature):
    settings = configs.LossConfig(
        pseudo_labels="hard" if temperature == -1 else "soft",
        temperature=1.0 if temperature == -1 else float(temperature),
        label_smoothing=0.1,
    )
    values = losses.unlabeled(
        settings,
        tf.constant(ARRAYS["unlabeled_logits"]),
        tf.constant(ARRAYS["soft_labels"]),
    )
    expected = EXPECTED[f"unlabeled_temperature_{temperature}"]
    assert np.mean(values) == pytest.approx(expected, rel=1e-5)

    weights = losses.weights_of_means(
        configs.LossConfig(weighting="labeled"),
        labeled_batch_size=6,
        unlabeled_batch_size=18,
    )
    total = weights[0] * EXPECTED["labeled"] + weights[1] * np.mean(values)
    expected = EXPECTED[f"data_loss_temperature_{temperature}"]
    assert total == pytest.approx(expected, rel=1e-5)


def test_pre_training_leaves_the_labeled_loss_out():
    assert losses.weights_of_means(
        configs.LossConfig(weighting="pseudo_labels"),
        labeled_batch_size=2,
        unlabeled_batch_size=6,
    ) == (0.0, 1.0)


def test_weighting_all_is_the_mean_over_the_whole_batch():
    weights = losses.weights_of_means(
        configs.LossConfig(weighting="all"),
        labeled_batch_size=2,
        unlabeled_batch_size=6,
    )
    assert weights == (0.25, 0.75)


def test_teacher_has_no_unlabeled_weight():
    for weighting in ("labeled", "all", "pseudo_labels"):
        assert losses.weights_of_means(
            configs.LossConfig(weighting=weighting),
            labeled_batch_size=2,
            unlabeled_batch_size=0,
        ) == (1.0, 0.0)


def test_sharpen_squares_at_half_the_temperature():
    sharpened = losses.sharpen(tf.constant([[0.75, 0.25]]), 0.5)
    np.testing.assert_allclose(sharpened, [[0.9, 0.1]], rtol=1e-6)


def test_soft_labels_are_not_smoothed():
    # The cross-entropy of a certain prediction with a certain label is 0.
    values = losses.unlabeled(
        SMOOTHED, tf.constant([[100.0, 0.0]]), tf.constant([[1.0, 0.0]])
    )
    assert float(values[0]) == pytest.approx(0.0, abs=1e-6)


def test_labels_of_mixed_images_are_blended():
    """A blend of labels costs the blend of what the labels cost."""
    logits = tf.constant([[1.0, 2.0, 4.0]])
    first, second = (
        losses.labeled(SMOOTHED, logits, tf.constant([i])) for i in (0, 2)
    )
    mixed = losses.labeled(SMOOTHED, logits, tf.constant([[0.25, 0.0, 0.75]]))
    np.testing.assert_allclose(mixed, 0.25 * first + 0.75 * second, rtol=1e-6)


def test_balanced_classes_have_equal_sums_of_weights():
    # 10 images of two classes: 10 / (2 * 8) and 10 / (2 * 2).
    assert losses.balanced_weights([8, 2]) == (0.625, 2.5)
    # A class that nothing is known of leaves the others as they were.
    assert losses.balanced_weights([8, 0, 2]) == (0.625, 0.0, 2.5)


def test_images_weigh_as_their_labels_do():
    labels = {"labels": tf.constant([1, 0])}
    blended = labels | {
        "label_probabilities": tf.constant([[0.5, 0.5], [1.0, 0.0]])
    }
    weights = (0.625, 2.5)
    assert losses.weights_of_images(labels, weights).numpy().tolist() == [
        2.5,
        0.625,
    ]
    assert losses.weights_of_images(blended, weights).numpy().tolist() == [
        1.5625,
        0.625,
    ]


def test_class_weights_scale_the_labeled_loss_alone():
    config = configs.Config(
        training=configs.TrainingConfig(
            labeled_batch_size=2, unlabeled_ratio=1.0
        )
    )
    batch = {
        "labels": tf.constant([0, 1]),
        "soft_labels": tf.constant([[0.5, 0.5], [0.5, 0.5]]),
    }

    def of(class_weights):
        return losses.of_batch(
            config,
            batch,
            tf.zeros([4, 2]),
            unlabeled_batch_size=2,
            is_kept=None,
            class_weights=class_weights,
        )

    plain, weighted = of(()), of((0.5, 2.5))
    # Both images cost log 2; they weigh 0.5 and 2.5, 1.5 on average.
    assert float(weighted["labeled_loss"]) == pytest.approx(
        1.5 * float(plain["labeled_loss"])
    )
    assert float(weighted["unlabeled_loss"]) == float(plain["unlabeled_loss"])
    assert float(weighted["labeled_accuracy"]) == 0.5
