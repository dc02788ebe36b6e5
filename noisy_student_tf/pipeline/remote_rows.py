"""Rows of remote shards, read from front to back and shuffled in a buffer."""

import tensorflow as tf

from noisy_student_tf.records import schema, shards

# Shards read at once. Part of the order of records: not to be tuned by tf.data.
_CYCLE_LENGTH = 16
# Times that an epoch reads shards with repeated images, so that the copies of
# an image lie apart: each passing gives a part of them.
_NUM_PASSES = 4
_HASH_BUCKETS = 2**30


def make_stream(
    shard_set: shards.ShardSet,
    *,
    seed: int,
    start_position: int,
    shuffle_buffer_size: int,
) -> tf.data.Dataset:
    """Return the rows from a position on.

    A start within an epoch reads, and does not decode, what the epoch gave
    before.

    Returns:
        Endless records, string [].
    """
    num_rows = shard_set.num_copies
    first_epoch, num_skipped = divmod(start_position, num_rows)
    root = tf.constant([seed % 2**31, 0], tf.int32)

    @tf.autograph.experimental.do_not_convert
    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        # Holds for this function's graph alone: the order of a shuffle shall
        # not depend on a global seed.
        tf.random.set_seed(1)
        skip = tf.where(epoch == first_epoch, num_skipped, 0)
        rows = _epoch_rows(
            shard_set, tf.random.fold_in(root, epoch), shuffle_buffer_size
        )
        return rows.skip(tf.cast(skip, tf.int64))

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return epochs.flat_map(one_epoch)


def _epoch_rows(
    shard_set: shards.ShardSet, seed: tf.Tensor, shuffle_buffer_size: int
) -> tf.data.Dataset:
    num_rows = shard_set.num_copies
    has_copies = num_rows != shard_set.num_records

    def one_pass(index: tf.Tensor) -> tf.data.Dataset:
        pass_seed = tf.random.fold_in(seed, index)
        paths = tf.random.experimental.stateless_shuffle(
            tf.constant(shard_set.paths), pass_seed
        )
        cycle_length = min(_CYCLE_LENGTH, len(shard_set.paths))
        records = tf.data.Dataset.from_tensor_slices(paths).interleave(
            tf.data.TFRecordDataset,
            cycle_length=cycle_length,
            num_parallel_calls=cycle_length,
            deterministic=True,
        )
        if not has_copies:
            return records
        return records.flat_map(lambda record: _share(record, seed, index))

    passes = tf.data.Dataset.range(_NUM_PASSES if has_copies else 1)
    # Another number would move every later position.
    rows = passes.flat_map(one_pass).apply(
        tf.data.experimental.assert_cardinality(num_rows)
    )
    buffer_seed = tf.random.stateless_uniform(
        [], seed, maxval=None, minval=None, dtype=tf.int64
    )
    return rows.shuffle(
        min(shuffle_buffer_size, num_rows),
        seed=buffer_seed,
        reshuffle_each_iteration=False,
    )


def _share(
    record: tf.Tensor, seed: tf.Tensor, pass_index: tf.Tensor
) -> tf.data.Dataset:
    """Return a record as often as one pass of an epoch gives it.

    Which pass is the first to give it is a hash of its id and the epoch.
    """
    copies = schema.parse_copies(record)
    image_id = schema.parse_image(record)["image_id"]
    salted = tf.strings.join([image_id, tf.strings.as_string(seed[0])])
    bucket = tf.strings.to_hash_bucket_fast(salted, _HASH_BUCKETS)
    turn = (pass_index - bucket) % _NUM_PASSES
    count = (copies + _NUM_PASSES - 1 - turn) // _NUM_PASSES
    return tf.data.Dataset.from_tensors(record).repeat(count)
