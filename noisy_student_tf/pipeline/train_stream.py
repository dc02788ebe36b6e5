"""Training batches: labeled and pseudo-labeled images, noised, without end.

The batch of a step depends on the configuration's seed and the step alone:
not on the number of threads or hosts, nor on the step that the process
started at. (Shards that hosts have to themselves, and remote shards that are
neither cached nor copied, give an order of their own.)

A batch is a dictionary of this host's part of the global batch:

    labeled_images          uint8 [labeled, resolution, resolution, 3]
    labels                  int32 [labeled]
    label_probabilities     float32 [labeled, num_classes]
    unlabeled_images        uint8 [unlabeled, resolution, resolution, 3]
    soft_labels             float32 [unlabeled, num_classes]
    clean_unlabeled_images  uint8 [unlabeled, clean side, clean side, 3]

Images are in [0, 255], rows of probabilities sum to 1. `label_probabilities`
are there with mixup or CutMix, where `labels` are the classes of the larger
shares; the unlabeled half is there for students, `soft_labels` where the
records have them, and clean twins, the test crops of the same pictures, where
they are asked for.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from noisy_student_tf import config as configuration
from noisy_student_tf.pipeline import (
    augment,
    decode,
    mixing,
    raw_stream,
    train_sources,
    unreadable,
)
from noisy_student_tf.records import shards

_MEGABYTE = 2**20


def make_train_stream(
    *,
    labeled: shards.ShardSet,
    pseudo_labeled: shards.ShardSet | None,
    config: configuration.Config,
    resolution: int,
    num_classes: int,
    start_step: int,
    unnoised: bool = False,
    clean_unlabeled_resolution: int = 0,
    input_pipelines: int = 1,
    input_pipeline_index: int = 0,
) -> tf.data.Dataset:
    """Return the training batches from a step on.

    Args:
        labeled: Images with classes.
        pseudo_labeled: Images with soft labels, or, for an online teacher,
            without; None for a teacher.
        config: Batch sizes, noise, caches and seed are read.
        resolution: Side of the images in pixels.
        num_classes: The model's.
        start_step: Steps that were trained before.
        unnoised: Give clean test images instead (fine-tuning).
        clean_unlabeled_resolution: Side of the clean twins of the unlabeled
            images, for an online teacher, in pixels. 0: none.
        input_pipelines: Hosts that each take a part of every global batch.
        input_pipeline_index: Which part: every n-th row from this one on.

    Returns:
        Endless batches, as described above.

    Raises:
        ValueError: A set is empty, damaged, or of another number of classes or
            schema, a batch size does not divide by the hosts, there are fewer
            shards than hosts, or a pad crop does not fit.
    """
    sources = [train_sources.labeled(labeled, config, num_classes)]
    if pseudo_labeled is not None:
        sources.append(
            train_sources.unlabeled(pseudo_labeled, config, num_classes)
        )
    halves = [
        _half(
            source,
            config,
            resolution=resolution,
            num_classes=num_classes,
            start_step=start_step,
            unnoised=unnoised,
            clean_resolution=clean_unlabeled_resolution,
            host=input_pipeline_index,
            num_hosts=input_pipelines,
        )
        for source in sources
    ]
    return raw_stream.finish(tf.data.Dataset.zip(*halves).map(_merge))


def test_crop(config: configuration.Config) -> decode.TestCrop:
    """Return how test images are cut: small ones are taken whole."""
    return "whole" if config.model.small_image_strides else "center"


def _half(
    source: train_sources.Source,
    config: configuration.Config,
    *,
    resolution: int,
    num_classes: int,
    start_step: int,
    unnoised: bool,
    clean_resolution: int,
    host: int,
    num_hosts: int,
) -> tf.data.Dataset:
    """Return one host's batches of one half."""
    train_sources.check(
        source,
        num_classes=num_classes,
        resolution=resolution,
        num_hosts=num_hosts,
    )
    is_unlabeled = source.images_key == "unlabeled_images"
    make_images = _image_maker(
        source,
        resolution=resolution,
        unnoised=unnoised,
        clean_resolution=clean_resolution if is_unlabeled else 0,
        crop=test_crop(config),
    )
    examples = _examples(
        source,
        config,
        start_step=start_step,
        host=host,
        num_hosts=num_hosts,
        make_images=make_images,
    )
    batches = examples.batch(
        source.batch_size // num_hosts, drop_remainder=True
    )
    mix = mixing.make_mixer(
        config.augmentation,
        num_classes=num_classes,
        batch_size=source.batch_size,
        seed=source.noise_seed,
    )
    return batches.map(mix) if mix and not unnoised else batches


def _examples(
    source: train_sources.Source,
    config: configuration.Config,
    *,
    start_step: int,
    host: int,
    num_hosts: int,
    make_images: Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]],
) -> tf.data.Dataset:
    """Return one host's examples of one half, in order."""
    part = raw_stream.BatchPart(
        batch_size=source.batch_size, host=host, num_hosts=num_hosts
    )
    noise_part = part
    if num_hosts > 1 and config.runtime.host_sharding == "files":
        source, part = train_sources.of_host(
            source, host=host, num_hosts=num_hosts
        )
    rows = raw_stream.make_rows(
        source.shard_set,
        seed=source.order_seed,
        part=part,
        start_step=start_step,
        options=_read_options(config),
    )
    parsed = raw_stream.map_in_order(rows.dataset, _parser(source, rows))

    @tf.autograph.experimental.do_not_convert
    def make_example(
        number: tf.Tensor,
        encoded: tf.Tensor,
        targets: train_sources.Target,
        problem: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
        position = noise_part.positions(number)
        images = make_images(encoded, position)
        example = {**images, **targets, "position": position}
        return number, problem, example

    return unreadable.replace(
        raw_stream.map_in_order(parsed, make_example),
        first_number=rows.first_number,
        rows_per_epoch=max(rows.num_rows // part.num_hosts, 1),
        max_lost_per_epoch=config.data.max_corrupt_fraction * rows.num_rows,
        name=rows.name,
    )


def _read_options(config: configuration.Config) -> raw_stream.ReadOptions:
    return raw_stream.ReadOptions(
        shuffle_buffer_size=config.training.shuffle_buffer_size,
        cache_bytes=config.runtime.cache_megabytes * _MEGABYTE,
        cache_directory=config.runtime.cache_directory,
        max_corrupt=config.data.max_corrupt_fraction,
    )


def _parser(
    source: train_sources.Source, rows: raw_stream.Rows
) -> Callable[..., tuple[Any, ...]]:
    """Return a function (number, position, handle) -> number and parts."""

    def nothing() -> train_sources.Parsed:
        return tf.constant(b""), source.targets, tf.constant("")

    # No Python branch depends on data here; looking for one takes seconds.
    @tf.autograph.experimental.do_not_convert
    def parse(
        number: tf.Tensor, _: tf.Tensor, handle: tf.Tensor
    ) -> tuple[Any, ...]:
        record = tf.cond(
            number < 0, lambda: tf.constant(b""), lambda: rows.read(handle)
        )
        is_empty = tf.strings.length(record) == 0
        parsed = tf.cond(is_empty, nothing, lambda: source.parse(record))
        return number, *parsed

    return parse


def _image_maker(
    source: train_sources.Source,
    *,
    resolution: int,
    unnoised: bool,
    clean_resolution: int,
    crop: decode.TestCrop,
) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
    """Return a function (encoded, position) -> images by their names.

    Positions below 0 stand for no picture: their images are black.
    """
    sides = {source.images_key: resolution}
    if clean_resolution:
        sides["clean_unlabeled_images"] = clean_resolution

    def make_one(
        encoded: tf.Tensor, position: tf.Tensor, key: str
    ) -> tf.Tensor:
        if unnoised or key != source.images_key:
            return augment.clean_image(encoded, sides[key], test_crop=crop)
        seed = tf.stack([tf.constant(source.noise_seed, tf.int64), position])
        return augment.train_image(
            encoded,
            resolution=resolution,
            policy=source.policy,
            seed=seed,
            test_crop=crop,
        )

    def make(encoded: tf.Tensor, position: tf.Tensor) -> dict[str, tf.Tensor]:
        return {key: make_one(encoded, position, key) for key in sides}

    def make_or_skip(
        encoded: tf.Tensor, position: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        black = {
            key: tf.zeros([side, side, 3], tf.uint8)
            for key, side in sides.items()
        }
        return tf.cond(
            position < 0, lambda: black, lambda: make(encoded, position)
        )

    return make_or_skip


@tf.autograph.experimental.do_not_convert
def _merge(*halves: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {
        key: value
        for half in halves
        for key, value in half.items()
        if key != "position"
    }
