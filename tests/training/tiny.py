"""A model, batches and configurations small enough for every test."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.training import progress
from tests import rounding

NUM_CLASSES = 3
SIDE = 8


@keras.saving.register_keras_serializable("tests")
class TinyModel(keras.Model):
    """The layers' names of the real model, with dropout of its own rate."""

    def __init__(self, dropout_rate=0.0, synchronized=False, normalized=True):
        super().__init__()
        self.dropout_rate = dropout_rate
        self.normalized = normalized
        self.stem_conv = keras.layers.Conv2D(4, 3, use_bias=False)
        self.stem_norm = _norm(synchronized)
        self.blocks = [_Block(synchronized), _Block(synchronized)]
        self.head_conv = keras.layers.Conv2D(5, 1, use_bias=False)
        self.head_norm = _norm(synchronized)
        self.classifier = keras.layers.Dense(NUM_CLASSES)

    def call(self, images, training=False, noise_seed=None, noised=None):
        x = tf.cast(images, self.compute_dtype) / 255.0
        # Only without batch statistics is a batch the sum of its parts.
        use_batch = training and self.normalized
        x = self.stem_norm(self.stem_conv(x), training=use_batch)
        for block in self.blocks:
            x = block(x, training=use_batch)
        x = self.head_norm(self.head_conv(x), training=use_batch)
        x = tf.reduce_mean(tf.nn.relu(x), axis=[1, 2])
        if training and self.dropout_rate:
            x = tf.nn.experimental.stateless_dropout(
                x, self.dropout_rate, seed=noise_seed
            )
        return tf.cast(self.classifier(x), tf.float32)


class _Block(keras.layers.Layer):
    def __init__(self, synchronized):
        super().__init__()
        self.conv = keras.layers.Conv2D(4, 1)
        self.norm = _norm(synchronized)

    def call(self, x, training=False):
        return x + self.norm(self.conv(x), training=training)


def _norm(synchronized):
    return keras.layers.BatchNormalization(
        momentum=0.9, synchronized=synchronized
    )


def build(**options):
    """Return a built model."""
    model = TinyModel(**options)
    model(tf.zeros([1, SIDE, SIDE, 3]))
    return model


def rounding_share(num_steps):
    """Return the share by which losses of so many steps may differ."""
    # The convolutions and the classifier; the moments of the four
    # normalizations, over 12 images of 6 x 6 pixels; their mean; the losses'.
    terms = [27, 4, 4, 4, 5, *[12 * 36] * 4, 36, 12]
    # There, and back for the gradients.
    return rounding.share(*terms * 2 * num_steps)


def make_config(**overrides):
    """Return a configuration of short runs at small batches."""
    values = {
        "training.labeled_batch_size": 4,
        "training.unlabeled_ratio": 2.0,
        "training.steps_per_loop": 2,
        "training.evaluate_every_steps": 2,
        "training.checkpoint_every_steps": 2,
        "optimizer.warmup_epochs": 0.0,
        "optimizer.base_learning_rate": 0.5,
        "optimizer.weight_decay": 1e-3,
    }
    return config_tree.override(configs.Config(), values | overrides)


def make_durations(configuration, *, total_steps=4, has_unlabeled=True):
    """Return the durations of a run of a given number of steps."""
    made = progress.make_durations(
        configuration, num_labeled=8, epochs=100.0, has_unlabeled=has_unlabeled
    )
    return dataclasses.replace(made, total_steps=total_steps)


def make_stream(start_step, *, num_labeled=4, num_unlabeled=8):
    """Return batches that depend on the step alone."""

    def batch(step):
        seed = tf.stack([tf.cast(step, tf.int32), 7])

        def images(count, salt):
            return tf.cast(
                tf.random.stateless_uniform(
                    [count, SIDE, SIDE, 3], seed + salt, 0, 256, tf.int32
                ),
                tf.uint8,
            )

        content = {
            "labeled_images": images(num_labeled, 0),
            "labels": tf.random.stateless_uniform(
                [num_labeled], seed + 1, 0, NUM_CLASSES, tf.int32
            ),
        }
        if num_unlabeled:
            content["unlabeled_images"] = images(num_unlabeled, 2)
            content["soft_labels"] = tf.nn.softmax(
                tf.random.stateless_normal(
                    [num_unlabeled, NUM_CLASSES], seed + 3
                )
            )
        return content

    return tf.data.Dataset.counter(start_step).map(batch)


def evaluate(model):
    """Return something that depends on all weights."""
    images = tf.reshape(
        tf.range(2 * SIDE * SIDE * 3, dtype=tf.float32), [2, SIDE, SIDE, 3]
    )
    return {"accuracy": float(tf.reduce_mean(model(images % 255.0)))}


def weights_of(model):
    """Return all weights, batch normalization's statistics included."""
    return [np.array(weight) for weight in model.weights]
