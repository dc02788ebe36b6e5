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
        noised = augment.noise_test_images(
            decode.to_uint8(images), policy, batch_seed
        )
        logits = model(noised, training=True, noise_seed=batch_seed)
        return tf.nn.softmax(logits)

    return probabilities
