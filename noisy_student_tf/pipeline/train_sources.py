"""The halves of a training batch: what is read, and how it is noised."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.records import schema, shards

# Each half draws its order and its noise from a seed of its own.
_LABELED, _UNLABELED = range(2)

Target = dict[str, tf.Tensor]
# Encoded pictures, their labels, and what is wrong with them, or nothing.
Parsed = tuple[tf.Tensor, Target, tf.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One half of the batch.

    Attributes:
        shard_set: What is read.
        batch_size: Of the global batch.
        batch_size_flag: What to change where the size does not fit.
        policy: Noise of its images.
        order_seed: Of the order of rows.
        noise_seed: Of the noise; a row's noise follows from it and the row's
            position.
        images_key: Name of its images in the batch.
        has_labels: Whether its records have what the model learns.
        parse: Records, string [n] -> (encoded string [n], targets by their
            name in the batch, [n, ...] each, and what is wrong with them,
            string [n], or nothing).
    """

    shard_set: shards.ShardSet
    batch_size: int
    batch_size_flag: str
    policy: configs.PolicyConfig
    order_seed: int
    noise_seed: int
    images_key: str
    has_labels: bool
    parse: Callable[[tf.Tensor], Parsed]


def labeled(
    shard_set: shards.ShardSet, config: configs.Config, num_classes: int
) -> Source:
    """Return the half of images with true labels."""
    parse_record = (
        schema.parse_imagenet
        if shard_set.schema == "imagenet"
        else schema.parse_image
    )

    def parse(record: tf.Tensor) -> Parsed:
        parsed = parse_record(record)
        label = parsed["label"]
        message = tf.strings.join(
            [
                "A labeled image's class ",
                tf.strings.as_string(label),
                f" is not in [0, {num_classes}): build the labeled shards "
                "again.",
            ]
        )
        problem = tf.where((label >= 0) & (label < num_classes), "", message)
        targets = {"labels": tf.cast(label, tf.int32)}
        return parsed["image"], targets, problem

    return Source(
        shard_set=shard_set,
        batch_size=config.training.labeled_batch_size,
        batch_size_flag="--training.labeled_batch_size",
        policy=config.augmentation.labeled,
        images_key="labeled_images",
        has_labels=True,
        parse=parse,
        **_seeds(config.seed, _LABELED),
    )


def unlabeled(
    shard_set: shards.ShardSet, config: configs.Config, num_classes: int
) -> Source:
    """Return the half of images with pseudo-labels, or with none at all."""
    parse_record = {
        "pseudo_labeled": schema.parse_pseudo_labeled,
        "published_pseudo_labeled": schema.parse_published,
    }.get(shard_set.schema)

    def parse(record: tf.Tensor) -> Parsed:
        if parse_record is None:
            image = schema.parse_image(record)["image"]
            return image, {}, tf.zeros_like(image)
        parsed = parse_record(record, num_classes=num_classes)
        targets = {"soft_labels": parsed["probabilities"]}
        return parsed["image"], targets, parsed["problem"]

    return Source(
        shard_set=shard_set,
        batch_size=config.training.unlabeled_batch_size,
        batch_size_flag="--training.labeled_batch_size times "
        "--training.unlabeled_ratio",
        policy=config.augmentation.unlabeled,
        images_key="unlabeled_images",
        has_labels=parse_record is not None,
        parse=parse,
        **_seeds(config.seed, _UNLABELED),
    )


def _seeds(seed: int, half: int) -> dict[str, Any]:
    # Far apart: neighboring seeds are used within an image.
    order, noise = np.random.SeedSequence([seed, half]).generate_state(2)
    return {"order_seed": int(order), "noise_seed": int(noise)}


def check(
    source: Source,
    *,
    num_classes: int,
    resolution: int,
    num_hosts: int,
    host: int = 0,
) -> None:
    """Refuse what would fail, or train on nonsense, after the first step.

    The first host looks into a shard for all of them.

    Raises:
        ValueError: The shards are of another number of classes, the batch
            does not divide by the hosts, or a pad crop does not fit.
    """
    shard_set = source.shard_set
    if source.has_labels and shard_set.num_classes != num_classes:
        raise ValueError(
            f"--data.num_classes: the model has {num_classes} classes, and the "
            f"labels of the shards {shard_set.paths[:1]} have "
            f"{shard_set.num_classes}. Build the shards again, or train a "
            "model of their number of classes."
        )
    if source.batch_size % num_hosts:
        raise ValueError(
            f"{source.batch_size_flag} is {source.batch_size}: accepted is a "
            f"multiple of the {num_hosts} hosts that read the data."
        )
    if host == 0:
        _check_first_record(source)
    policy = source.policy
    if policy.crop == "pad" and policy.pad_pixels >= resolution:
        raise ValueError(
            f"--augmentation.*.pad_pixels={policy.pad_pixels}: accepted is "
            f"less than the resolution, {resolution} pixels."
        )


def _check_first_record(source: Source) -> None:
    """Refuse shards of another schema; no row of them could be parsed."""
    path = next(iter(source.shard_set.paths), None)
    try:
        for record in tf.data.TFRecordDataset(path or []).take(1):
            source.parse(record[tf.newaxis])
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            f"{path}: its records are not of the schema "
            f"{source.shard_set.schema!r} ({error.message}). Build the shards "
            "again."
        ) from error
