"""What the tests of training streams share."""

import dataclasses
import itertools

import numpy as np

from noisy_student_tf.pipeline import train_stream

from . import conftest


def make(labeled, pseudo_labeled, config, **options):
    options = {
        "resolution": 8,
        "num_classes": conftest.NUM_CLASSES,
        "start_step": 0,
        **options,
    }
    return train_stream.make_train_stream(
        labeled=labeled,
        pseudo_labeled=pseudo_labeled,
        config=config,
        **options,
    )


def take(stream, count):
    return [
        {key: value.numpy() for key, value in batch.items()}
        for batch in itertools.islice(stream, count)
    ]


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def without_noise(config, **training):
    quiet = dataclasses.replace(
        config.augmentation.labeled, crop="none", policy="none"
    )
    return dataclasses.replace(
        config,
        augmentation=dataclasses.replace(
            config.augmentation, labeled=quiet, unlabeled=quiet
        ),
        training=dataclasses.replace(config.training, **training),
    )
