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

import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.pipeline import (
    decode,
    raw_stream,
    record_store,
    train_sources,
)
from noisy_student_tf.pipeline.augmentation import augment, randaugment
from noisy_student_tf.records import shards

# Rows are made some at once: the more, the less each costs; the fewer, the
# sooner the first batch is there, and the less memory the threads take.
_CHUNK_PIXELS = 2**20
_MIN_CHUNK_SIZE, _MAX_CHUNK_SIZE = 4, 128

_NO_NOISE = configs.PolicyConfig(
    crop="none", horizontal_flip=False, policy="none", num_ops=0
)
_UNNOISED = configs.AugmentationConfig(labeled=_NO_NOISE, unlabeled=_NO_NOISE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _View:
    """What one host makes of a half's records.

    Attributes:
        resolution: Side of the images in pixels.
        clean_resolution: Of the unlabeled images' clean twins; 0: none.
        crop: Of test images.
        num_classes: The model's.
        host: Index of the host.
        num_hosts: How many share each batch.
    """

    resolution: int
    clean_resolution: int
    crop: decode.TestCrop
    num_classes: int
    host: int
    num_hosts: int


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
        pseudo_labeled: With soft labels, or none where a teacher is online.
        config: Batch sizes, noise, caches and seed are read.
        resolution: Side of the images in pixels.
        num_classes: The model's.
        start_step: Steps that were trained before.
        unnoised: Give clean test images instead (fine-tuning).
        clean_unlabeled_resolution: Of the clean twins; 0: none.
        input_pipelines: Hosts that each take a part of every global batch.
        input_pipeline_index: Which part: every n-th row from this one on.

    Returns:
        Endless batches, as described above. A record that is damaged or has
        wrong labels raises tf.errors.InvalidArgumentError that names it.

    Raises:
        ValueError: See `train_sources.check` and `raw_stream.make_rows`.
    """
    if unnoised:
        config = dataclasses.replace(config, augmentation=_UNNOISED)
    view = _View(
        resolution=resolution,
        clean_resolution=clean_unlabeled_resolution,
        crop=decode.test_crop(config.model.small_image_strides),
        num_classes=num_classes,
        host=input_pipeline_index,
        num_hosts=input_pipelines,
    )
    source = train_sources.labeled(labeled, config, num_classes)
    halves = [_half(source, config, view, start_step)]
    if pseudo_labeled is not None:
        source = train_sources.unlabeled(pseudo_labeled, config, num_classes)
        halves.append(_half(source, config, view, start_step))
    return raw_stream.finish(tf.data.Dataset.zip(*halves).map(_merge))


def _half(
    source: train_sources.Source,
    config: configs.Config,
    view: _View,
    start_step: int,
) -> tf.data.Dataset:
    """Return one host's batches of one half."""
    train_sources.check(
        source,
        num_classes=view.num_classes,
        resolution=view.resolution,
        num_hosts=view.num_hosts,
        host=view.host,
    )
    part = raw_stream.BatchPart(
        batch_size=source.batch_size, host=view.host, num_hosts=view.num_hosts
    )
    shard_set, order_part = source.shard_set, part
    if part.num_hosts > 1 and config.runtime.host_sharding == "files":
        shard_set = record_store.of_host(
            shard_set, index=part.host, num_hosts=part.num_hosts
        )
        order_part = raw_stream.BatchPart(batch_size=part.size)
    rows = raw_stream.make_rows(
        shard_set,
        seed=source.order_seed,
        part=order_part,
        start_step=start_step,
        chunk_size=_chunk_size(view.resolution, part.size),
        runtime=config.runtime,
        shuffle_buffer_size=config.training.shuffle_buffer_size,
    )
    batches = _noise(rows, source, view, part)
    mix = augment.make_mixer(
        config.augmentation,
        num_classes=view.num_classes,
        batch_size=source.batch_size,
        seed=source.noise_seed,
    )
    return batches.map(mix) if mix else batches


def _noise(
    rows: tf.data.Dataset,
    source: train_sources.Source,
    view: _View,
    part: raw_stream.BatchPart,
) -> tf.data.Dataset:
    """Return batches of the noised images of rows, before they are mixed."""

    # No Python branch depends on data here; looking for one takes seconds.
    @tf.autograph.experimental.do_not_convert
    def make_chunk(
        numbers: tf.Tensor, records: tf.Tensor, names: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        encoded, targets, problems = source.parse(records)
        with tf.control_dependencies([raw_stream.check(problems, names)]):
            encoded = tf.identity(encoded)
        positions = part.positions(numbers)
        draws = augment.draw(
            source.policy,
            seed=source.noise_seed,
            first_position=positions[0],
            count=positions.shape[0],
            stride=part.num_hosts,
        )
        make_one = functools.partial(_make_images, source, view)
        images = _map_rows(make_one, names, encoded, positions, draws)
        key = source.images_key
        if randaugment.is_small(view.resolution):
            images[key] = augment.noise(images[key], source.policy, draws)
        return {**images, **targets, "position": positions}

    chunks = raw_stream.map_in_order(rows, make_chunk)
    return chunks.rebatch(part.size, drop_remainder=True)


def _chunk_size(resolution: int, batch_size: int) -> int:
    """Return how many rows are made at once, each chunk by one thread."""
    size = _CHUNK_PIXELS // resolution**2
    return min(max(size, _MIN_CHUNK_SIZE), _MAX_CHUNK_SIZE, batch_size)


def _make_images(
    source: train_sources.Source,
    view: _View,
    encoded: tf.Tensor,
    position: tf.Tensor,
    draws: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Return a row's images; small ones are noised later, many at once."""
    image = augment.crop_picture(
        encoded,
        resolution=view.resolution,
        policy=source.policy,
        seed=tf.stack([tf.constant(source.noise_seed, tf.int64), position]),
        test_crop=view.crop,
    )
    if not randaugment.is_small(view.resolution):
        noised = augment.noise(
            image[tf.newaxis], source.policy, draws[tf.newaxis]
        )
        image = noised[0]
    images = {source.images_key: image}
    if view.clean_resolution and source.images_key == "unlabeled_images":
        images["clean_unlabeled_images"] = augment.clean_image(
            encoded, view.clean_resolution, test_crop=view.crop
        )
    return images


@tf.autograph.experimental.do_not_convert
def _merge(*halves: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {
        key: value
        for half in halves
        for key, value in half.items()
        if key != "position"
    }


def _map_rows(
    function: Callable[..., dict[str, tf.Tensor]],
    names: tf.Tensor,
    *arguments: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Call a function of each row's picture; one that fails is named.

    Only tf.data can go on after an error: the rows are a small pipeline inside
    the function of a larger one. Where it gives nothing, another one looks for
    the row.

    Args:
        function: One row of each argument -> tensors of static shapes.
        names: string [n], of the rows.
        *arguments: [n, ...] each.

    Returns:
        The results, [n, ...] each.
    """
    num_rows = names.shape[0]
    traced = tf.function(function, autograph=False)
    signature = tf.nest.map_structure(
        lambda result: tf.TensorSpec(result.shape, result.dtype),
        traced.get_concrete_function(
            *(tf.TensorSpec(rows.shape[1:], rows.dtype) for rows in arguments)
        ).structured_outputs,
    )

    @tf.autograph.experimental.do_not_convert
    def call_all(*rows: tf.Tensor) -> dict[str, tf.Tensor]:
        return tf.map_fn(
            lambda row: traced(*row), rows, fn_output_signature=signature
        )

    at_once = tf.data.Dataset.from_tensors(arguments).map(call_all)
    one_by_one = _rows_or_failure(traced, names, arguments)
    made = at_once.ignore_errors().concatenate(
        one_by_one.batch(num_rows, drop_remainder=True)
    )
    return made.take(1).get_single_element()


def _rows_or_failure(
    traced: Callable[..., dict[str, tf.Tensor]],
    names: tf.Tensor,
    arguments: tuple[tf.Tensor, ...],
) -> tf.data.Dataset:
    """Return each row's results, and fail at the one that has none."""

    @tf.autograph.experimental.do_not_convert
    def fail(name: tf.Tensor, *row: tf.Tensor) -> dict[str, tf.Tensor]:
        problem = "the picture cannot be decoded. " + record_store.MEND
        failed = raw_stream.check(tf.constant([problem]), name[tf.newaxis])
        with tf.control_dependencies([failed]):
            return traced(*map(tf.identity, row))

    @tf.autograph.experimental.do_not_convert
    def call_or_fail(name: tf.Tensor, *row: tf.Tensor) -> tf.data.Dataset:
        made = tf.data.Dataset.from_tensors(row).map(traced)
        failed = tf.data.Dataset.from_tensors((name, *row)).map(fail)
        return made.ignore_errors(log_warning=True).concatenate(failed).take(1)

    rows = tf.data.Dataset.from_tensor_slices((names, *arguments))
    return rows.flat_map(call_or_fail)
