"""Training batches: labeled and pseudo-labeled images, noised, without end.

The batch of a step depends on the configuration's seed and the step alone:
not on the number of threads or hosts, nor on the step that the process
started at.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from noisy_student_tf import config as configuration
from noisy_student_tf import derived
from noisy_student_tf.pipeline import augment, decode, raw_stream
from noisy_student_tf.records import schema, shards

# Each stream draws its order and its noise from a seed of its own.
_LABELED_ORDER, _LABELED_NOISE, _UNLABELED_ORDER, _UNLABELED_NOISE = range(4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Source:
    """One half of the batch.

    Attributes:
        shard_set: What is read.
        batch_size: Of the global batch.
        batch_size_flag: What to change where the size does not fit.
        policy: Noise of its images.
        order_seed: int32 [2].
        noise_seed: int32 [2].
        keys: Names of images and targets in the batch.
        parse: Record -> (encoded string [], target).
    """

    shard_set: shards.ShardSet
    batch_size: int
    batch_size_flag: str
    policy: configuration.PolicyConfig
    order_seed: tf.Tensor
    noise_seed: tf.Tensor
    keys: tuple[str, str]
    parse: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def make_train_stream(
    *,
    labeled: shards.ShardSet,
    pseudo_labeled: shards.ShardSet | None,
    config: configuration.Config,
    resolution: int,
    num_classes: int,
    start_step: int,
    unnoised: bool = False,
    input_pipelines: int = 1,
    input_pipeline_index: int = 0,
) -> tf.data.Dataset:
    """Return the training batches from a step on.

    Args:
        labeled: Images with classes.
        pseudo_labeled: Images with soft labels; None for a teacher.
        config: Batch sizes, noise and seed are read.
        resolution: Side of the images in pixels.
        num_classes: The model's.
        start_step: Steps that were trained before.
        unnoised: Give clean test images instead (fine-tuning).
        input_pipelines: Hosts that each take a part of every global batch.
            Each reads all records and decodes its own.
        input_pipeline_index: Which part.

    Returns:
        Endless dictionaries: `labeled_images` uint8 [labeled, resolution,
        resolution, 3] in [0, 255], `labels` int32 [labeled] and, with
        pseudo-labels, `unlabeled_images` (likewise) and `soft_labels` float32
        [unlabeled, num_classes], rows sum to 1. Sizes are this host's part.

    Raises:
        ValueError: A set is empty or of another number of classes, a batch
            size does not divide by the hosts, or a pad crop does not fit.
    """
    sources = [_labeled_source(labeled, config, num_classes)]
    if pseudo_labeled is not None:
        sources.append(_unlabeled_source(pseudo_labeled, config, num_classes))
    crop = test_crop(config)
    halves = []
    for source in sources:
        _check(source, num_classes, resolution, input_pipelines)
        rows = _make_rows(source, config, start_step)
        rows = rows.shard(input_pipelines, input_pipeline_index)
        make_example = _make_example(source, resolution, unnoised, crop)
        images = raw_stream.map_in_order(rows, make_example)
        part_size = source.batch_size // input_pipelines
        halves.append(images.batch(part_size, drop_remainder=True))
    return raw_stream.finish(tf.data.Dataset.zip(*halves).map(_merge))


def test_crop(config: configuration.Config) -> decode.TestCrop:
    """Return how test images are cut: small ones are taken whole."""
    return "whole" if config.model.small_image_strides else "center"


def _labeled_source(
    shard_set: shards.ShardSet, config: configuration.Config, num_classes: int
) -> _Source:
    parse_record = (
        schema.parse_imagenet
        if shard_set.schema == "imagenet"
        else schema.parse_image
    )

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = parse_record(record)
        label = parsed["label"]
        is_class = (label >= 0) & (label < num_classes)
        check = tf.debugging.Assert(
            is_class,
            [
                "A labeled image's class is not in [0, --data.num_classes): "
                "build the labeled shards again. Class, number of classes:",
                label,
                num_classes,
            ],
        )
        with tf.control_dependencies([check]):
            return parsed["image"], tf.cast(label, tf.int32)

    return _Source(
        shard_set=shard_set,
        batch_size=config.training.labeled_batch_size,
        batch_size_flag="--training.labeled_batch_size",
        policy=config.augmentation.labeled,
        order_seed=_stream_seed(config.seed, _LABELED_ORDER),
        noise_seed=_stream_seed(config.seed, _LABELED_NOISE),
        keys=("labeled_images", "labels"),
        parse=parse,
    )


def _unlabeled_source(
    shard_set: shards.ShardSet, config: configuration.Config, num_classes: int
) -> _Source:
    parse_record = (
        schema.parse_published
        if shard_set.schema == "published_pseudo_labeled"
        else schema.parse_pseudo_labeled
    )

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = parse_record(record, num_classes=num_classes)
        return parsed["image"], parsed["probabilities"]

    return _Source(
        shard_set=shard_set,
        batch_size=derived.unlabeled_batch_size(config.training),
        batch_size_flag="--training.labeled_batch_size times "
        "--training.unlabeled_ratio",
        policy=config.augmentation.unlabeled,
        order_seed=_stream_seed(config.seed, _UNLABELED_ORDER),
        noise_seed=_stream_seed(config.seed, _UNLABELED_NOISE),
        keys=("unlabeled_images", "soft_labels"),
        parse=parse,
    )


def _stream_seed(seed: int, stream: int) -> tf.Tensor:
    return tf.constant([seed, stream], tf.int32)


def _check(
    source: _Source, num_classes: int, resolution: int, input_pipelines: int
) -> None:
    """Refuse what would fail, or train on nonsense, after the first step."""
    if source.shard_set.num_classes != num_classes:
        raise ValueError(
            f"--data.num_classes: the model has {num_classes} classes, and "
            f"{source.keys[1]} of the shards {source.shard_set.paths[:1]} have "
            f"{source.shard_set.num_classes}. Build the shards again, or "
            "train a model of their number of classes."
        )
    if source.batch_size % input_pipelines:
        raise ValueError(
            f"{source.batch_size_flag} is {source.batch_size}: accepted is a "
            f"multiple of the {input_pipelines} hosts that read the data."
        )
    policy = source.policy
    if policy.crop == "pad" and policy.pad_pixels >= resolution:
        raise ValueError(
            f"--augmentation.*.pad_pixels={policy.pad_pixels}: accepted is "
            f"less than the resolution, {resolution} pixels."
        )


def _make_rows(
    source: _Source, config: configuration.Config, start_step: int
) -> tf.data.Dataset:
    return raw_stream.make_raw_stream(
        source.shard_set,
        seed=source.order_seed,
        start_position=start_step * source.batch_size,
        shuffle_buffer_size=config.training.shuffle_buffer_size,
    )


def _make_example(
    source: _Source,
    resolution: int,
    unnoised: bool,
    crop: decode.TestCrop,
) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
    """Return a function (position, record) -> image and target."""
    image_key, target_key = source.keys

    # No Python branch depends on data here; looking for one takes seconds.
    @tf.autograph.experimental.do_not_convert
    def make_example(
        position: tf.Tensor, record: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        encoded, target = source.parse(record)
        if unnoised:
            image = augment.clean_image(encoded, resolution, test_crop=crop)
        else:
            image = augment.train_image(
                encoded,
                resolution=resolution,
                policy=source.policy,
                seed=tf.random.fold_in(source.noise_seed, position),
                test_crop=crop,
            )
        return {image_key: image, target_key: target}

    return make_example


def _merge(*halves: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {key: value for half in halves for key, value in half.items()}
