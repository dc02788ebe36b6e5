"""Attacks by hand, and against the Adversarial Robustness Toolbox."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from art import estimators
from art.attacks import evasion

from noisy_student_tf.evaluation import adversarial, robustness

NUM_CLASSES = 3
SIDE = 6


def make_model() -> keras.Model:
    """Return a small network that normalizes images in [0, 255] itself."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            keras.layers.Rescaling(1 / 64, offset=-2),
            keras.layers.Conv2D(4, 3, activation="swish"),
            keras.layers.Flatten(),
            keras.layers.Dense(NUM_CLASSES),
        ]
    )


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def images():
    # Some pixels lie at the ends of the range, where attacks are cut.
    drawn = np.random.default_rng(0).normal(128, 90, (16, SIDE, SIDE, 3))
    return tf.constant(np.clip(drawn, 0, 255), tf.float32)


@pytest.fixture(scope="module")
def labels(model, images):
    return tf.argmax(model(images), 1, tf.int32)


@pytest.fixture(scope="module")
def reference(model):
    return estimators.classification.TensorFlowV2Classifier(
        model,
        nb_classes=NUM_CLASSES,
        input_shape=(SIDE, SIDE, 3),
        loss_object=keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 255.0),
    )


def accuracy(model, images, labels):
    return float(np.mean(np.argmax(model(images), 1) == labels.numpy()))


def assert_same_attacks(ours, theirs, tolerance):
    """Compare attacked images, but for one whose gradient is close to 0.

    A gradient's sign is anyone's where the gradient is no larger than its
    rounding, a share of 4e-6 of the largest: sums of 27, 64 and 3 terms, there
    and back (`tests.rounding.share`). Of the 17,280 numbers that ten steps ask
    for, a tenth of one is so small. It sends its whole image elsewhere.
    """
    differences = np.abs(ours - theirs).max(axis=(1, 2, 3))
    assert np.sum(differences > tolerance) <= 1


@pytest.mark.parametrize("epsilon", [2.0, 16.0])
def test_fgsm_agrees_with_a_reference(
    model, reference, images, labels, epsilon
):
    sign = adversarial.make_gradient_sign(model)
    ours = adversarial.fgsm(images, sign(images, labels), epsilon)
    theirs = evasion.FastGradientMethod(
        reference, norm=np.inf, eps=epsilon
    ).generate(images.numpy(), tf.one_hot(labels, NUM_CLASSES).numpy())
    assert_same_attacks(ours, theirs, tolerance=1e-4)
    assert accuracy(model, ours, labels) == accuracy(model, theirs, labels)


@pytest.mark.parametrize("epsilon", [4.0, 16.0])
def test_pgd_agrees_with_a_reference(model, reference, images, labels, epsilon):
    sign = adversarial.make_gradient_sign(model)
    ours = adversarial.pgd(sign, images, labels, epsilon)
    theirs = evasion.ProjectedGradientDescentTensorFlowV2(
        reference,
        norm=np.inf,
        eps=epsilon,
        eps_step=adversarial.pgd_step(epsilon, adversarial.PGD_ITERATIONS),
        max_iter=adversarial.PGD_ITERATIONS,
        num_random_init=0,
        verbose=False,
    ).generate(images.numpy(), tf.one_hot(labels, NUM_CLASSES).numpy())
    assert_same_attacks(ours, theirs, tolerance=1e-3)
    assert accuracy(model, ours, labels) == accuracy(model, theirs, labels)
    assert accuracy(model, ours, labels) < 1


def test_fgsm_by_hand_on_a_linear_model():
    weights = tf.constant([[1.0, -1.0], [0.0, 0.0], [-2.0, 2.0]])

    def logits(images):
        return tf.reshape(images, [-1, 3]) @ weights

    images = tf.reshape(tf.constant([100.0, 100.0, 254.0]), [1, 1, 1, 3])
    sign = adversarial.make_gradient_sign(logits)
    attacked = adversarial.fgsm(images, sign(images, tf.constant([0])), 4.0)
    # Class 0 falls with the first channel, does not depend on the second,
    # and falls as the third rises, which is cut at 255.
    assert attacked.numpy().ravel().tolist() == [96.0, 100.0, 255.0]


def test_nothing_leaves_the_range_or_epsilon(model, images, labels):
    sign = adversarial.make_gradient_sign(model)
    attacked = adversarial.pgd(sign, images, labels, 8.0).numpy()
    assert attacked.min() >= 0
    assert attacked.max() <= 255
    assert np.abs(attacked - images).max() <= 8.0 + 1e-4


def test_a_fraction_warns_and_a_wrong_epsilon_is_refused(caplog):
    import logging

    from absl import logging as absl_logging

    with caplog.at_level(logging.WARNING, absl_logging.get_absl_logger().name):
        absl_logging.get_absl_logger().propagate = True
        adversarial.check_epsilon(8 / 255)
    assert "give 8" in caplog.text
    with pytest.raises(ValueError, match="epsilon=300"):
        adversarial.check_epsilon(300)


def test_padding_is_not_attacked_and_rows_are_complete(model, images, labels):
    batch = {
        "images": images[:4],
        "labels": tf.concat([labels[:3], [-1]], 0),
        "is_valid": tf.constant([True, True, True, False]),
    }
    batch["image_ids"] = tf.constant([b"a", b"b", b"c", b""])
    rows = robustness.measure_attacks(
        model,
        [batch],
        fgsm_epsilons=(16.0,),
        pgd_epsilons=(16.0,),
        keeps_images=True,
    )
    assert [(row["measure"], row["epsilon_pixels"]) for row in rows] == [
        ("fgsm", 0.0),
        ("fgsm", 16.0),
        ("pgd", 16.0),
    ]
    assert {row["num_images"] for row in rows} == {3}
    assert rows[0]["accuracy"] == 1
    assert rows[2]["accuracy"] <= rows[1]["accuracy"] <= 1
    assert rows[2]["step_pixels"] == pytest.approx(4.0)
    # Of each image what the accuracy is the mean of.
    for row in rows:
        assert sorted(row["by_image"]) == ["61", "62", "63"]
        assert sum(row["by_image"].values()) == round(3 * row["accuracy"])
