"""Small shard sets whose images tell which record they are."""

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.records import schema, shards

NUM_CLASSES = 4


def make_record(index: int, label: int | None, side: int = 8) -> bytes:
    """An image whose red channel is the record's index everywhere."""
    image = np.zeros((side, side, 3), np.uint8)
    image[..., 0] = index
    image[..., 1] = np.arange(side)
    return schema.encode_image(
        image=tf.io.encode_png(image).numpy(),
        image_id=schema.make_id("test", str(index)),
        label=label,
    )


def write_shards(directory, records: list[bytes], num_shards: int, split: str):
    """Write consecutive records to the same shard."""
    paths = []
    for i, part in enumerate(
        np.array_split(np.arange(len(records)), num_shards)
    ):
        path = str(directory / shards.shard_name(split, i, num_shards))
        with shards.open_writer(path) as writer:
            for row in part:
                writer.write(records[row])
        paths.append(path)
    return tuple(paths)


@pytest.fixture(scope="session")
def labeled(tmp_path_factory) -> shards.ShardSet:
    """40 images in 4 shards, sorted by class."""
    records = [make_record(i, i // 10) for i in range(40)]
    paths = write_shards(
        tmp_path_factory.mktemp("labeled"), records, 4, "train"
    )
    return shards.ShardSet(
        paths=paths,
        num_records=40,
        schema="image",
        num_classes=NUM_CLASSES,
        num_copies=40,
    )


@pytest.fixture(scope="session")
def pseudo_labeled(tmp_path_factory) -> shards.ShardSet:
    """30 images in 3 shards; image i has 1 + i % 3 copies: 60 rows."""
    records = []
    for i in range(30):
        probabilities = np.full(NUM_CLASSES, 0.1)
        probabilities[i % NUM_CLASSES] = 0.7
        records.append(
            schema.set_pseudo_label(
                tf.train.Example.FromString(make_record(100 + i, None)),
                class_id=i % NUM_CLASSES,
                probabilities=probabilities,
                confidence=0.7,
                copies=1 + i % 3,
                iteration=1,
            )
        )
    paths = write_shards(
        tmp_path_factory.mktemp("pseudo"), records, 3, "pseudo_labeled"
    )
    return shards.ShardSet(
        paths=paths,
        num_records=30,
        schema="pseudo_labeled",
        num_classes=NUM_CLASSES,
        num_copies=60,
    )


@pytest.fixture
def config() -> configs.Config:
    """4 labeled and 6 unlabeled images a batch, SVHN's noise."""
    policy = configs.PolicyConfig(
        crop="pad",
        pad_pixels=2,
        horizontal_flip=False,
        magnitude=5.0,
        translate_pixels=4.0,
        cutout_pixels=4.0,
        num_ops=1,
    )
    return configs.Config(
        seed=7,
        model=configs.ModelConfig(resolution=8, small_image_strides=True),
        augmentation=configs.AugmentationConfig(
            labeled=policy, unlabeled=policy
        ),
        training=configs.TrainingConfig(
            labeled_batch_size=4, unlabeled_ratio=1.5, shuffle_buffer_size=16
        ),
    )
