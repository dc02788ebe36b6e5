"""Specifications of models that are small enough for tests."""

import numpy as np
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.model import architectures


def make_spec(num_classes=3, class_names=(), **options):
    options = {
        "width": 0.25,
        "depth": 0.25,
        "resolution": 16,
        # The moving statistics are those of the last batch.
        "batch_norm_momentum": 0.0,
        "mean_rgb": (120.0, 110.0, 100.0),
        "std_rgb": (50.0, 60.0, 70.0),
        **options,
    }
    return architectures.make_spec(
        configs.ModelConfig(**options),
        num_classes=num_classes,
        class_names=class_names,
    )


def make_calibrated(spec, seed=0):
    """Build a model whose moving statistics suit random images.

    At the initial statistics an untrained network's activations die out.
    """
    model = architectures.build(spec, seed=seed)
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, [32, 32, 32, 3], dtype=np.uint8)
    model(images, training=True, noise_seed=tf.constant([1, 2]))
    return model
