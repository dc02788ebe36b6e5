"""Test images in the order of their records, each exactly once."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from noisy_student_tf.pipeline import decode, raw_stream
from noisy_student_tf.records import schema, shards

_Parse = Callable[..., dict[str, tf.Tensor]]


def make_eval_stream(
    shard_set: shards.ShardSet,
    *,
    resolution: int,
    batch_size: int,
    crop: decode.TestCrop = "center",
    image_ids: Sequence[bytes] = (),
    input_pipelines: int = 1,
    input_pipeline_index: int = 0,
) -> tf.data.Dataset:
    """Return the batches of a whole split, or a host's part of each.

    Every host reads all records, and decodes its own. Behind them a part is
    padding, without end.

    Args:
        shard_set: What is read; pseudo-labeled sets give no labels.
        resolution: Side of the images in pixels.
        batch_size: Of every batch; the last one is padded.
        crop: "center" is the published crop, "whole" the whole picture.
        image_ids: Of ImageNet records, which carry none: those of their
            indexes, in the order of the records.
        input_pipelines: Hosts that make a part of every batch each, as many
            consecutive images.
        input_pipeline_index: Which part.

    Returns:
        Dictionaries: `images` float32 [batch, resolution, resolution, 3],
        bicubic values overshoot [0, 255]; `labels` int32 [batch], -1 where
        unknown; `image_ids` string [batch], empty for unnamed ImageNet records;
        `is_valid` bool [batch], False where the last batch is padded.

    Raises:
        ValueError: The set is empty, or the hosts cannot share a batch.
    """
    shards.check_not_empty(shard_set)
    rows = _rows_of_host(batch_size, input_pipelines)
    records, parse = _open(shard_set, image_ids)
    if input_pipelines > 1:
        first = rows * input_pipeline_index
        records = _consecutive(records, first, rows, out_of=batch_size)
    return _batch(
        records,
        parse,
        resolution=resolution,
        batch_size=rows,
        crop=crop,
        is_endless=input_pipelines > 1,
    )


def _open(
    shard_set: shards.ShardSet, image_ids: Sequence[bytes]
) -> tuple[tf.data.Dataset, _Parse]:
    """Return a set's records, and how they are parsed."""
    records = tf.data.TFRecordDataset(list(shard_set.paths))
    # A truncated set shall not be taken for a whole one.
    records = records.apply(
        tf.data.experimental.assert_cardinality(shard_set.num_records)
    )
    if image_ids:
        named = tf.data.Dataset.from_tensor_slices(list(image_ids))
        return tf.data.Dataset.zip(records, named), _parse_named
    if shard_set.schema == "imagenet":
        return records, schema.parse_imagenet
    return records, schema.parse_image


def _rows_of_host(batch_size: int, num_hosts: int) -> int:
    if batch_size % num_hosts:
        raise ValueError(
            f"--training.evaluation_batch_size={batch_size}: accepted is a "
            f"multiple of the {num_hosts} hosts that make the images."
        )
    return batch_size // num_hosts


def _consecutive(
    records: tf.data.Dataset, first: int, count: int, *, out_of: int
) -> tf.data.Dataset:
    """Return `count` records of each batch of so many, from `first` on."""
    numbered = records.enumerate().filter(
        lambda number, _: (number - first) % out_of < count
    )
    return numbered.map(lambda _, record: record)


def _parse_named(
    record: tf.Tensor, image_id: tf.Tensor
) -> dict[str, tf.Tensor]:
    return {**schema.parse_imagenet(record), "image_id": image_id}


def make_parts_stream(
    shard_sets: Sequence[shards.ShardSet],
    *,
    resolution: int,
    batch_size: int,
    crop: decode.TestCrop,
) -> tf.data.Dataset:
    """Return the batches of several sets, one after the other.

    They hold labeled images with ids, and there is one at least.

    Returns:
        As of `make_eval_stream`, and `parts` int32 [batch], the place of each
        image's set among `shard_sets`.
    """
    paths = [path for shard_set in shard_sets for path in shard_set.paths]
    places = [
        place for place, each in enumerate(shard_sets) for _ in each.paths
    ]
    records = tf.data.Dataset.from_tensor_slices((paths, places)).flat_map(
        lambda path, place: tf.data.TFRecordDataset(path).map(
            lambda record: (record, place)
        )
    )
    num_records = sum(shard_set.num_records for shard_set in shard_sets)
    records = records.apply(
        tf.data.experimental.assert_cardinality(num_records)
    )
    return _batch(
        records,
        lambda record, place: {**schema.parse_image(record), "part": place},
        resolution=resolution,
        batch_size=batch_size,
        crop=crop,
    )


def make_shards_stream(
    paths: Sequence[str],
    *,
    resolution: int,
    batch_size: int,
    crop: decode.TestCrop = "center",
    input_pipelines: int = 1,
    input_pipeline_index: int = 0,
) -> tf.data.Dataset:
    """Return the batches of several shards, one after the other.

    No batch has images of two shards: a shard's batches are the same whichever
    others are read. The pipeline is traced once for all of them, and the next
    shard is read while the last one's images are still decoded.

    Of several hosts each makes batches of every n-th shard, of which a batch
    of all is put together; behind them comes padding, without end.

    Returns:
        As of `make_eval_stream`, and `shards` int32 [batch], the place of each
        image's shard among `paths`. Shards without records have no batch.
    """
    rows = _rows_of_host(batch_size, input_pipelines)
    make_example = _example_maker(
        schema.parse_image, resolution=resolution, crop=crop
    )
    nothing = _padding(resolution)

    @tf.autograph.experimental.do_not_convert
    def make_padded(
        record: tf.Tensor, place: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        example = tf.cond(
            tf.equal(record, b""), lambda: nothing, lambda: make_example(record)
        )
        return {**example, "shards": place}

    places = range(input_pipeline_index, len(paths), input_pipelines)
    records = _padded_shards(paths, places, rows)
    if input_pipelines > 1:
        padding = tf.data.Dataset.from_tensors((b"", 0))
        records = records.concatenate(padding.repeat())
    examples = raw_stream.map_in_order(records, make_padded)
    return raw_stream.finish(examples.batch(rows, drop_remainder=True))


def _padded_shards(
    paths: Sequence[str], places: Sequence[int], rows: int
) -> tf.data.Dataset:
    """Return records and their shards' places, each shard filled to batches."""

    def read(place: tf.Tensor, path: tf.Tensor) -> tf.data.Dataset:
        batches = tf.data.TFRecordDataset(path).batch(rows)
        padded = batches.map(
            lambda batch: (_pad(batch, rows), tf.fill([rows], place))
        )
        return padded.prefetch(1)

    listed = tf.data.Dataset.from_tensor_slices(
        (
            tf.constant(list(places), tf.int32),
            tf.constant([paths[place] for place in places], tf.string),
        )
    )
    return listed.flat_map(read).unbatch()


def _pad(records: tf.Tensor, size: int) -> tf.Tensor:
    """Return string [size], with empty records behind the given ones."""
    missing = size - tf.shape(records)[0]
    padded = tf.concat([records, tf.fill([missing], b"")], axis=0)
    return tf.ensure_shape(padded, [size])


def make_encoded_stream(
    examples: tf.data.Dataset,
    *,
    resolution: int,
    batch_size: int,
    crop: decode.TestCrop = "center",
) -> tf.data.Dataset:
    """Return batches of encoded pictures, as `make_eval_stream` does.

    Args:
        examples: Dictionaries: `image`, string []; `label`, int64 [];
            `image_id`, string []; and if there is a `part`, int64 [], it
            becomes `parts`.
        resolution: Side of the images in pixels.
        batch_size: Of every batch; the last one is padded.
        crop: "center" or "whole".
    """
    return _batch(
        examples,
        lambda example: example,
        resolution=resolution,
        batch_size=batch_size,
        crop=crop,
    )


def _batch(
    records: tf.data.Dataset,
    parse: _Parse,
    *,
    resolution: int,
    batch_size: int,
    crop: decode.TestCrop,
    is_endless: bool = False,
) -> tf.data.Dataset:
    make_example = _example_maker(parse, resolution=resolution, crop=crop)
    examples = raw_stream.map_in_order(records, make_example)
    nothing = _padding(resolution)
    if "parts" in examples.element_spec:
        nothing["parts"] = tf.constant(0)
    padding = tf.data.Dataset.from_tensors(nothing)
    padding = padding.repeat(None if is_endless else batch_size - 1)
    # What is dropped is padding alone: the last image's batch is full.
    examples = examples.concatenate(padding)
    return raw_stream.finish(examples.batch(batch_size, drop_remainder=True))


def _example_maker(
    parse: _Parse, *, resolution: int, crop: decode.TestCrop
) -> Callable[..., dict[str, tf.Tensor]]:
    """Return a function of a record to what stands in a batch."""

    @tf.autograph.experimental.do_not_convert
    def make_example(*record: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = parse(*record)
        example = {
            "images": decode.test_image(parsed["image"], resolution, crop=crop),
            "labels": tf.cast(parsed["label"], tf.int32),
            "image_ids": parsed["image_id"],
            "is_valid": tf.constant(True),
        }
        if "part" in parsed:
            example["parts"] = tf.cast(parsed["part"], tf.int32)
        return example

    return make_example


def _padding(resolution: int) -> dict[str, tf.Tensor]:
    """Return what stands in a batch where there is no image."""
    return {
        "images": tf.zeros([resolution, resolution, 3]),
        "labels": tf.constant(schema.NO_LABEL),
        "image_ids": tf.constant(b""),
        "is_valid": tf.constant(False),
    }
