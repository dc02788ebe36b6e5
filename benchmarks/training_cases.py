"""What `benchmarks.training` trains: B0 on random pictures in shards."""

import dataclasses
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.configs import presets
from noisy_student_tf.model import architectures, efficientnet
from noisy_student_tf.records import schema, shards

NUM_CLASSES = 10
NUM_IMAGES = 512


class Case(NamedTuple):
    """A preset's network, noise and losses, with a batch for two cores."""

    preset: str
    resolution: int
    labeled_batch_size: int
    unlabeled_ratio: float
    small_image_strides: bool


CASES = {
    "32": Case("svhn", 32, 11, 5, True),
    "32_plain": Case("svhn", 32, 22, 5, False),
    "224": Case("imagenet_b2", 224, 4, 3, False),
}


def make_config(case: Case) -> configs.Config:
    """Return B0 with a preset's noise, optimizer and losses."""
    base = presets.preset(case.preset)
    return dataclasses.replace(
        base,
        model=configs.ModelConfig(
            resolution=case.resolution,
            small_image_strides=case.small_image_strides,
        ),
        training=dataclasses.replace(
            base.training,
            labeled_batch_size=case.labeled_batch_size,
            unlabeled_ratio=case.unlabeled_ratio,
        ),
    )


def make_model(config: configs.Config) -> efficientnet.EfficientNet:
    """Build the model of a configuration."""
    return architectures.build(
        architectures.make_spec(
            config.model,
            num_classes=NUM_CLASSES,
            class_names=tuple(map(str, range(NUM_CLASSES))),
        )
    )


def write_shards(
    directory: str, side: int
) -> tuple[shards.ShardSet, shards.ShardSet]:
    """Write random pictures: JPEGs of 500 x 375 pixels, or PNGs up to 64.

    Returns:
        The same pictures as a labeled and as a pseudo-labeled set.
    """
    draw = np.random.default_rng(0)
    labeled, pseudo_labeled = [], []
    for index in range(NUM_IMAGES):
        shape = (side, side) if side <= 64 else (375, 500)
        coarse = draw.integers(0, 256, [1, 12, 16, 3]).astype(np.float32)
        picture = tf.cast(tf.image.resize(coarse, shape)[0], tf.uint8)
        encode = tf.io.encode_png if side <= 64 else tf.io.encode_jpeg
        label = index % NUM_CLASSES
        record = schema.encode_image(
            image=encode(picture).numpy(),
            image_id=schema.make_id("benchmark", str(index)),
            label=label,
        )
        probabilities = np.full(NUM_CLASSES, 0.01)
        probabilities[label] = 0.91
        labeled.append(record)
        pseudo_labeled.append(
            schema.set_pseudo_label(
                tf.train.Example.FromString(record),
                class_id=label,
                probabilities=probabilities,
                confidence=0.91,
                copies=1,
                iteration=1,
            )
        )
    return (
        _shard_set(directory, "train", labeled, "image"),
        _shard_set(
            directory, "pseudo_labeled", pseudo_labeled, "pseudo_labeled"
        ),
    )


def _shard_set(
    directory: str, split: str, records: list[bytes], kind: shards.Schema
) -> shards.ShardSet:
    path = os.path.join(directory, shards.shard_name(split, 0, 1))
    with shards.open_writer(path) as writer:
        for record in records:
            writer.write(record)
    return shards.ShardSet(
        paths=(path,),
        num_records=len(records),
        schema=kind,
        num_classes=NUM_CLASSES,
        num_copies=len(records),
    )
