"""Raw records in shuffled epochs, without end, from any position.

A position counts the rows that a stream has given since training began; row
and position belong together whatever the process that reads them. Nothing is
decoded here, so that skipping is cheap.

Small sets are held in memory and shuffled exactly. Large ones are read from
their shards: the order of shards is drawn for each epoch, several are read at
once, and a buffer shuffles what they give.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.records import schema, shards

# Shard sets up to this size are held in memory.
MAX_MEMORY_BYTES = 256 * 2**20
# Shards read at once. Part of the order of records: not to be tuned by tf.data.
_CYCLE_LENGTH = 16
_READ_BATCH = 1024


def make_raw_stream(
    shard_set: shards.ShardSet,
    *,
    seed: tf.Tensor,
    start_position: int,
    shuffle_buffer_size: int,
    max_memory_bytes: int = MAX_MEMORY_BYTES,
) -> tf.data.Dataset:
    """Return the stream's rows from a position on.

    Args:
        shard_set: What is read. Each image occurs as often in an epoch as its
            record's `copies` says.
        seed: int32 [2], of the order in all epochs.
        start_position: Rows that were given before.
        shuffle_buffer_size: Records held for shuffling sets that are not held
            in memory.
        max_memory_bytes: Sets of larger files are not held in memory.

    Returns:
        Endless pairs: position int64 [], record string [].

    Raises:
        ValueError: The set is empty, or held in memory and of another number
            of rows than its manifest says.
    """
    num_rows = shard_set.num_copies
    if not shard_set.paths or num_rows < 1:
        raise ValueError(
            f"The shards {_where(shard_set)} hold no records. Build them again "
            "from a source with images."
        )
    size_bytes = sum(files.size_bytes(path) for path in shard_set.paths)
    if size_bytes <= max_memory_bytes:
        epoch_rows = _memory_epochs(shard_set)
    else:
        epoch_rows = _shard_epochs(shard_set, shuffle_buffer_size)
    first_epoch, num_skipped = divmod(start_position, num_rows)

    @tf.autograph.experimental.do_not_convert
    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        # Holds for this function's graph alone: the order of a shuffle shall
        # not depend on a global seed.
        tf.random.set_seed(1)
        epoch_seed = tf.random.fold_in(seed, epoch)
        skip = tf.where(epoch == first_epoch, num_skipped, 0)
        return epoch_rows(epoch_seed, tf.cast(skip, tf.int64))

    stream = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return stream.flat_map(one_epoch).enumerate(start_position)


def _where(shard_set: shards.ShardSet) -> str:
    return shard_set.paths[0] if shard_set.paths else "of an empty split"


_EpochRows = Callable[[tf.Tensor, tf.Tensor], tf.data.Dataset]


def _memory_epochs(shard_set: shards.ShardSet) -> _EpochRows:
    """Read all records; return a function (seed, skip) -> an epoch's rows."""
    dataset = tf.data.TFRecordDataset(list(shard_set.paths))
    dataset = dataset.map(lambda record: (record, schema.parse_copies(record)))
    batches = list(dataset.batch(_READ_BATCH))
    records = tf.concat([record for record, _ in batches], 0)
    copies = np.concatenate([count.numpy() for _, count in batches])
    rows = tf.constant(np.repeat(np.arange(len(copies)), copies))
    if len(rows) != shard_set.num_copies:
        raise ValueError(
            f"The shards {_where(shard_set)} hold {len(rows)} rows, and their "
            f"manifest says {shard_set.num_copies}. Build them again."
        )

    def epoch_rows(seed: tf.Tensor, skip: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(rows, seed)
        order = tf.data.Dataset.from_tensor_slices(order[skip:])
        return order.map(lambda row: tf.gather(records, row))

    return epoch_rows


def _shard_epochs(
    shard_set: shards.ShardSet, shuffle_buffer_size: int
) -> _EpochRows:
    """Return a function (seed, skip) -> an epoch's rows, read from shards."""
    num_rows = shard_set.num_copies
    paths = tf.constant(shard_set.paths)
    has_copies = shard_set.num_copies != shard_set.num_records

    def epoch_rows(seed: tf.Tensor, skip: tf.Tensor) -> tf.data.Dataset:
        shuffled = tf.random.experimental.stateless_shuffle(paths, seed)
        dataset = tf.data.Dataset.from_tensor_slices(shuffled).interleave(
            tf.data.TFRecordDataset,
            cycle_length=min(_CYCLE_LENGTH, len(shard_set.paths)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        if has_copies:
            dataset = dataset.flat_map(_repeat_copies)
        # Another number would move every later position.
        dataset = dataset.apply(
            tf.data.experimental.assert_cardinality(num_rows)
        )
        buffer_seed = tf.random.stateless_uniform(
            [], seed, maxval=None, minval=None, dtype=tf.int64
        )
        return dataset.shuffle(
            min(shuffle_buffer_size, num_rows),
            seed=buffer_seed,
            reshuffle_each_iteration=False,
        ).skip(skip)

    return epoch_rows


def _repeat_copies(record: tf.Tensor) -> tf.data.Dataset:
    copies = schema.parse_copies(record)
    return tf.data.Dataset.from_tensors(record).repeat(copies)


def map_in_order(
    dataset: tf.data.Dataset, function: Callable[..., dict[str, tf.Tensor]]
) -> tf.data.Dataset:
    """Map in parallel; the results keep their order."""
    return dataset.map(
        function, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def finish(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Return batches made ahead, in order, each read by who asks for it."""
    options = tf.data.Options()
    options.deterministic = True
    # Hosts were told their part: tf.distribute shall not divide it again.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return batches.with_options(options).prefetch(tf.data.AUTOTUNE)
