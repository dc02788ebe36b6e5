"""Attacks on images: FGSM and PGD, bounded in every pixel.

Images and epsilon are in the same unit, pixels in [0, 255]; gradients go
through the model's own normalization, of the cross-entropy of its logits.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from noisy_student_tf.evaluation import evaluate

Attack = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Keep = Callable[[int, Sequence[bytes], np.ndarray], None]

# Paper, Section 4.2 and Figure 4.
FGSM_EPSILONS = (2.0, 4.0, 8.0, 16.0)
PGD_EPSILON = 16.0
PGD_ITERATIONS = 10
# The paper does not say its step, nor whether the start is random. Ours: the
# steps sum up to 2.5 times epsilon, from the clean image.
_STEPS_OVER_EPSILON = 2.5

MAX_PIXEL = 255.0


def pgd_step(epsilon: float, num_iterations: int) -> float:
    """Return the length of one step of PGD in pixels."""
    return _STEPS_OVER_EPSILON * epsilon / num_iterations


def check_epsilon(epsilon: float) -> None:
    """Check that an epsilon is in pixels of [0, 255].

    A fraction is legal, but more likely meant for images in [0, 1]: it warns.

    Raises:
        ValueError: It is negative or more than 255.
    """
    if not 0 <= epsilon <= MAX_PIXEL:
        raise ValueError(
            f"epsilon={epsilon}: accepted is a number of pixels in [0, 255]."
        )
    if 0 < epsilon < 1:
        logging.warning(
            "epsilon=%g is in pixels of [0, 255], where it changes next to "
            "nothing. If it is a fraction of the range, give %g.",
            epsilon,
            epsilon * MAX_PIXEL,
        )


def make_gradient_sign(logits_fn: evaluate.LogitsFn) -> Attack:
    """Return `gradient_sign_of`, compiled once for all attacks."""
    return tf.function(gradient_sign_of(logits_fn), autograph=False)


def gradient_sign_of(logits_fn: evaluate.LogitsFn) -> Attack:
    """Return the direction in which every pixel raises its image's loss.

    Args:
        logits_fn: Images float32 [batch, height, width, 3] in [0, 255] to
            logits [batch, num_classes].

    Returns:
        A function of images and labels int32 [batch] that returns -1, 0 or 1,
        float32 [batch, height, width, 3].
    """

    def gradient_sign(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels, logits_fn(images)
            )
        # Images do not touch each other's loss: the sum's gradient is each
        # one's.
        return tf.sign(tape.gradient(losses, images))

    return gradient_sign


def fgsm(images: tf.Tensor, signs: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Attack by the fast gradient sign method: one step of epsilon.

    Args:
        images: float32 [batch, height, width, 3] in [0, 255].
        signs: What `gradient_sign_of` finds of them.
        epsilon: In pixels of [0, 255].

    Returns:
        Images of the same shape and range.
    """
    return tf.clip_by_value(images + epsilon * signs, 0.0, MAX_PIXEL)


def pgd(
    gradient_sign: Attack,
    images: tf.Tensor,
    labels: tf.Tensor,
    epsilon: float,
    num_iterations: int = PGD_ITERATIONS,
) -> tf.Tensor:
    """Attack by projected gradient descent, from the clean image.

    Args:
        gradient_sign: Of the model that is attacked.
        images: float32 [batch, height, width, 3] in [0, 255].
        labels: int32 [batch].
        epsilon: In pixels of [0, 255].
        num_iterations: Signed steps, each of `pgd_step`.

    Returns:
        Images of the same shape and range.
    """
    step = pgd_step(epsilon, num_iterations)
    low = tf.maximum(images - epsilon, 0.0)
    high = tf.minimum(images + epsilon, MAX_PIXEL)
    attacked = images
    for _ in range(num_iterations):
        attacked = attacked + step * gradient_sign(attacked, labels)
        attacked = tf.clip_by_value(attacked, low, high)
    return attacked


def measure(
    logits_fn: evaluate.LogitsFn,
    stream: tf.data.Dataset,
    attacks: Sequence[tuple[float, int]],
    gradient_sign: Attack | None = None,
    *,
    keep: Keep | None = None,
) -> tuple[int, list[int]]:
    """Return how many images stay right under each attack.

    Args:
        logits_fn: See `make_gradient_sign`.
        stream: Evaluation batches; padding is not counted. Images are clipped
            to [0, 255] first.
        attacks: (epsilon in pixels, iterations) of each: 1 iteration is FGSM,
            more are PGD.
        gradient_sign: Of the model; None: `make_gradient_sign`.
        keep: Is given, of each batch, an attack's place, the images' ids and
            bool [num_images], whether they stay right.

    Returns:
        The number of images, and how many of them are right under each.

    Raises:
        ValueError: An epsilon is out of range.
    """
    for epsilon, _ in attacks:
        check_epsilon(epsilon)
    gradient_sign = gradient_sign or make_gradient_sign(logits_fn)
    num_images, num_correct = 0, [0] * len(attacks)
    for batch in stream:
        is_valid = batch["is_valid"].numpy()
        labels = tf.maximum(batch["labels"], 0)
        images = tf.clip_by_value(batch["images"], 0.0, MAX_PIXEL)
        num_images += int(is_valid.sum())
        # All strengths of FGSM share the clean images' gradient.
        signs = gradient_sign(images, labels)
        for place, (epsilon, num_iterations) in enumerate(attacks):
            if num_iterations == 1:
                attacked = fgsm(images, signs, epsilon)
            else:
                attacked = pgd(
                    gradient_sign, images, labels, epsilon, num_iterations
                )
            is_right = _classes(logits_fn, attacked) == batch["labels"].numpy()
            num_correct[place] += int((is_right & is_valid).sum())
            if keep:
                ids = list(batch["image_ids"].numpy()[is_valid])
                keep(place, ids, is_right[is_valid])
    return num_images, num_correct


def _classes(logits_fn: evaluate.LogitsFn, images: tf.Tensor) -> np.ndarray:
    return np.asarray(logits_fn(images)).argmax(1)
