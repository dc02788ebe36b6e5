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
) -> tf.data.Dataset:
    """Return the batches of a whole split.

    Args:
        shard_set: What is read; pseudo-labeled sets give no labels.
        resolution: Side of the images in pixels.
        batch_size: Of every batch; the last one is padded.
        crop: "center" is the published crop, "whole" the whole picture.
        image_ids: Of ImageNet records, which carry none: those of their
            indexes, in the order of the records.

    Returns:
        Dictionaries: `images` float32 [batch, resolution, resolution, 3],
        bicubic values overshoot [0, 255]; `labels` int32 [batch], -1 where
        unknown; `image_ids` string [batch], empty for unnamed ImageNet records;
        `is_valid` bool [batch], False where the last batch is padded.

    Raises:
        ValueError: The set is empty.
    """
    if not shard_set.paths or shard_set.num_records < 1:
        raise ValueError(
            f"The split of {shard_set.paths[:1]} holds no records. Build it "
            "again from a source with images."
        )
    records = tf.data.TFRecordDataset(list(shard_set.paths))
    # A truncated set shall not be taken for a whole one.
    records = records.apply(
        tf.data.experimental.assert_cardinality(shard_set.num_records)
    )
    parse: _Parse = schema.parse_image
    if shard_set.schema == "imagenet":
        parse = schema.parse_imagenet
    if image_ids:
        named = tf.data.Dataset.from_tensor_slices(list(image_ids))
        records = tf.data.Dataset.zip(records, named)
        parse = _parse_named
    return _batch(
        records,
        parse,
        resolution=resolution,
        batch_size=batch_size,
        crop=crop,
    )


def _parse_named(
    record: tf.Tensor, image_id: tf.Tensor
) -> dict[str, tf.Tensor]:
    return {**schema.parse_imagenet(record), "image_id": image_id}


def make_parts_stream(
    shard_sets: Sequence[shards.ShardSet],
    *,
    resolution: int,
    batch_size: int,
    crop: decode.TestCrop = "whole",
) -> tf.data.Dataset:
    """Return the batches of several sets, one after the other.

    Args:
        shard_sets: Of labeled images; at least one, of records with ids.
        resolution: Side of the images in pixels.
        batch_size: Of every batch; the last one is padded.
        crop: "center" or "whole".

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
        has_parts=True,
    )


def make_shards_stream(
    paths: Sequence[str],
    *,
    resolution: int,
    batch_size: int,
    crop: decode.TestCrop = "center",
) -> tf.data.Dataset:
    """Return the batches of several shards, one after the other.

    No batch has images of two shards: a shard's batches are the same whichever
    others are read. The pipeline is traced once for all of them, and the next
    shard is read while the last one's images are still decoded.

    Args:
        paths: The shards.
        resolution: Side of the images in pixels.
        batch_size: Of every batch; the last one of each shard is padded.
        crop: "center" or "whole".

    Returns:
        As of `make_eval_stream`, and `shards` int32 [batch], the place of the
        batch's shard among `paths`. Shards without records have no batch.
    """

    def read(place: tf.Tensor, path: tf.Tensor) -> tf.data.Dataset:
        batches = tf.data.TFRecordDataset(path).batch(batch_size)
        places = tf.fill([batch_size], tf.cast(place, tf.int32))
        padded = batches.map(lambda batch: (_pad(batch, batch_size), places))
        return padded.prefetch(1)

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

    listed = tf.data.Dataset.from_tensor_slices(list(paths)).enumerate()
    examples = raw_stream.map_in_order(
        listed.flat_map(read).unbatch(), make_padded
    )
    return raw_stream.finish(examples.batch(batch_size, drop_remainder=True))


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
    has_parts: bool = False,
) -> tf.data.Dataset:
    """Return batches of encoded pictures, as `make_eval_stream` does.

    Args:
        examples: Dictionaries: `image`, string []; `label`, int64 [];
            `image_id`, string [].
        resolution: Side of the images in pixels.
        batch_size: Of every batch; the last one is padded.
        crop: "center" or "whole".
        has_parts: Examples have `part`, int64 [], which becomes `parts`.
    """
    return _batch(
        examples,
        lambda example: example,
        resolution=resolution,
        batch_size=batch_size,
        crop=crop,
        has_parts=has_parts,
    )


def _batch(
    records: tf.data.Dataset,
    parse: _Parse,
    *,
    resolution: int,
    batch_size: int,
    crop: decode.TestCrop,
    has_parts: bool = False,
) -> tf.data.Dataset:
    make_example = _example_maker(
        parse, resolution=resolution, crop=crop, has_parts=has_parts
    )
    nothing = _padding(resolution)
    if has_parts:
        nothing["parts"] = tf.constant(0)
    padding = tf.data.Dataset.from_tensors(nothing).repeat(batch_size - 1)
    # What is dropped is padding alone: the last image's batch is full.
    examples = raw_stream.map_in_order(records, make_example)
    examples = examples.concatenate(padding)
    return raw_stream.finish(examples.batch(batch_size, drop_remainder=True))


def _example_maker(
    parse: _Parse,
    *,
    resolution: int,
    crop: decode.TestCrop,
    has_parts: bool = False,
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
        if has_parts:
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
