"""A teacher that labels noised images: the ablation of the paper's Table 6."""

from collections.abc import Callable

import keras
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.pipeline import decode
from noisy_student_tf.pipeline.augmentation import augment


def predict_fn(
    model: keras.Model, policy: configs.PolicyConfig, *, seed: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return images -> probabilities, with the student's noise on both.

    Flip and policy noise the test crops; dropout and stochastic depth noise
    the model, whose batch normalization stays in inference mode. What is
    drawn depends on the seed and the images alone.

    Args:
        model: The teacher. It is frozen.
        policy: The noise of unlabeled images.
        seed: In [0, 2^31).

    Returns:
        A function of float32 [batch, height, width, 3] in [0, 255] that gives
        float32 [batch, num_classes], rows sum to 1.
    """
    model.trainable = False
    fold_in = tf.random.experimental.stateless_fold_in

    # No Python branch depends on data here.
    @tf.autograph.experimental.do_not_convert
    def probabilities(images: tf.Tensor) -> tf.Tensor:
        root = tf.constant([seed, 0], tf.int32)
        batch_seed = fold_in(root, tf.bitcast(tf.reduce_sum(images), tf.int32))
        noised = noise_test_images(decode.to_uint8(images), policy, batch_seed)
        logits = model(noised, training=True, noise_seed=batch_seed)
        return tf.nn.softmax(logits)

    return probabilities


def noise_test_images(
    images: tf.Tensor, policy: configs.PolicyConfig, seed: tf.Tensor
) -> tf.Tensor:
    """Flip test images and apply the policy.

    Args:
        images: uint8 [batch, side, side, 3] in [0, 255].
        policy: Its flip and policy are read.
        seed: int32 [2]. The same seed gives the same images.

    Returns:
        uint8 [batch, side, side, 3].
    """
    num_draws = augment.num_draws(policy)
    draws = tf.random.stateless_uniform([tf.shape(images)[0], num_draws], seed)

    def noise_one(arguments: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, own = (part[tf.newaxis] for part in arguments)
        if policy.horizontal_flip:
            image = augment.random_flip(image, own[:, 0])
        return augment.apply_policy(image, policy, own)[0]

    return tf.map_fn(
        noise_one,
        (images, draws),
        fn_output_signature=tf.TensorSpec(images.shape[1:], tf.uint8),
    )
