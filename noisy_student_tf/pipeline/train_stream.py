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

from noisy_student_tf import configs
from noisy_student_tf.pipeline import (
    decode,
    raw_stream,
    train_sources,
    unreadable,
)
from noisy_student_tf.pipeline.augmentation import augment, mixing, randaugment
from noisy_student_tf.records import shards

# (encoded string [n], positions int64 [n], from one position to the next) ->
# images by their names, [n, ...] each, and whether they are there, bool [n].
MakeImages = Callable[
    [tf.Tensor, tf.Tensor, int], tuple[dict[str, tf.Tensor], tf.Tensor]
]

_MEGABYTE = 2**20
# Rows are made some at once: the more, the less each costs; the fewer, the
# sooner the first batch is there, and the less memory the threads take.
_CHUNK_PIXELS = 2**20
_MIN_CHUNK_SIZE, _MAX_CHUNK_SIZE = 4, 128


def make_train_stream(
    *,
    labeled: shards.ShardSet,
    pseudo_labeled: shards.ShardSet | None,
    config: configs.Config,
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


def test_crop(config: configs.Config) -> decode.TestCrop:
    """Return how test images are cut: small ones are taken whole."""
    return "whole" if config.model.small_image_strides else "center"


def _half(
    source: train_sources.Source,
    config: configs.Config,
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
    rows = _rows(
        source,
        config,
        start_step=start_step,
        host=host,
        num_hosts=num_hosts,
        make_images=_image_maker(
            source,
            resolution=resolution,
            unnoised=unnoised,
            clean_resolution=clean_resolution,
            crop=test_crop(config),
        ),
        chunk_size=_chunk_size(resolution, source.batch_size // num_hosts),
    )
    batches = rows.rebatch(source.batch_size // num_hosts, drop_remainder=True)
    mix = mixing.make_mixer(
        config.augmentation,
        num_classes=num_classes,
        batch_size=source.batch_size,
        seed=source.noise_seed,
    )
    return batches.map(mix) if mix and not unnoised else batches


def _chunk_size(resolution: int, batch_size: int) -> int:
    """Return how many rows are made at once, each chunk by one thread."""
    size = _CHUNK_PIXELS // resolution**2
    return min(max(size, _MIN_CHUNK_SIZE), _MAX_CHUNK_SIZE, batch_size)


def _rows(
    source: train_sources.Source,
    config: configs.Config,
    *,
    start_step: int,
    host: int,
    num_hosts: int,
    make_images: MakeImages,
    chunk_size: int,
) -> tf.data.Dataset:
    """Return one host's rows of one half, in order, some at once."""
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
        chunk_size=chunk_size,
    )

    # No Python branch depends on data here; looking for one takes seconds.
    @tf.autograph.experimental.do_not_convert
    def make_chunk(numbers: tf.Tensor, handles: tf.Tensor) -> tuple[Any, ...]:
        records = rows.read(handles)
        is_empty = tf.strings.length(records) == 0
        records = tf.where(is_empty, source.blank, records)
        encoded, targets, problems = source.parse(records)
        positions = noise_part.positions(numbers)
        images, is_there = make_images(encoded, positions, num_hosts)
        parts = {**images, **targets, "position": positions}
        return numbers, is_there, problems, parts

    return unreadable.replace(
        raw_stream.map_in_order(rows.dataset, make_chunk),
        first_number=rows.first_number,
        rows_per_epoch=max(rows.num_rows // part.num_hosts, 1),
        max_lost_per_epoch=config.data.max_corrupt_fraction * rows.num_rows,
        name=rows.name,
    )


def _read_options(config: configs.Config) -> raw_stream.ReadOptions:
    return raw_stream.ReadOptions(
        shuffle_buffer_size=config.training.shuffle_buffer_size,
        cache_bytes=config.runtime.cache_megabytes * _MEGABYTE,
        cache_directory=config.runtime.cache_directory,
        max_corrupt=config.data.max_corrupt_fraction,
    )


def _image_maker(
    source: train_sources.Source,
    *,
    resolution: int,
    unnoised: bool,
    clean_resolution: int,
    crop: decode.TestCrop,
) -> MakeImages:
    """Return a function that makes the images of a chunk of rows."""
    key, policy = source.images_key, source.policy
    is_noised_at_once = randaugment.is_small(resolution)

    def make_one(
        encoded: tf.Tensor, position: tf.Tensor, draws: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        images = {}
        if clean_resolution and key == "unlabeled_images":
            images["clean_unlabeled_images"] = augment.clean_image(
                encoded, clean_resolution, test_crop=crop
            )
        if unnoised:
            images[key] = augment.clean_image(
                encoded, resolution, test_crop=crop
            )
            return images
        image = augment.crop_picture(
            encoded,
            resolution=resolution,
            policy=policy,
            seed=tf.stack([tf.constant(source.noise_seed, tf.int64), position]),
            test_crop=crop,
        )
        if not is_noised_at_once:
            image = augment.noise(image[tf.newaxis], policy, draws[tf.newaxis])
            image = image[0]
        images[key] = image
        return images

    def make(
        encoded: tf.Tensor, positions: tf.Tensor, stride: int
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        draws = augment.draw(
            policy,
            seed=source.noise_seed,
            first_position=positions[0],
            count=positions.shape[0],
            stride=stride,
        )
        images, is_there = unreadable.map_readable(
            make_one, encoded, positions, draws
        )
        if is_noised_at_once and not unnoised:
            images[key] = augment.noise(images[key], policy, draws)
        return images, is_there

    return make


@tf.autograph.experimental.do_not_convert
def _merge(*halves: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {
        key: value
        for half in halves
        for key, value in half.items()
        if key != "position"
    }
