"""Rows of shards in shuffled epochs, without end, from any step.

A position counts the rows that all hosts' streams have given since training
began; row and position belong together whatever the process that reads them.
The order of an epoch is computed from (seed, epoch, place), so that a stream
starts anywhere without reading what lies before: a Feistel network of keyed
hashes is a bijection of the numbers below a power of four; numbers that leave
the wanted range go through it again until they are inside (cycle walking; Black
and Rogaway, Ciphers with Arbitrary Finite Domains, 2002).

Remote shards that neither fit in memory nor are copied are the exception: they
are read from front to back. The order of shards is drawn for each epoch,
several are read at once, and a buffer shuffles what they give.

A record that cannot be read or decoded is an error with its name: what was
damaged before a set was built or indexed is not in it.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging

from noisy_student_tf import configs
from noisy_student_tf.pipeline import record_store
from noisy_student_tf.records import schema, shards

# Finished batches that wait; one more is being made.
_BATCHES_AHEAD = 2

_NUM_ROUNDS = 6
# Fewer bits than 4 for each half would leave too few functions to draw from.
_MIN_HALF_BITS = 4
# Odd multipliers of a well-mixing 64-bit hash (splitmix64), as signed numbers.
_MULTIPLIERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)

# Remote shards read at once. Part of the order of records: not to be tuned by
# tf.data.
_CYCLE_LENGTH = 16
# Times that an epoch reads them if images are repeated, so that copies of an
# image lie apart: each passing gives a part of them.
_NUM_PASSES = 4
_HASH_BUCKETS = 2**30


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchPart:
    """What one host takes of every global batch: every n-th row.

    Attributes:
        batch_size: Rows of the global batch; a multiple of the hosts.
        host: Index of the host, and of its first row.
        num_hosts: How many share the batch.
    """

    batch_size: int
    host: int = 0
    num_hosts: int = 1

    @property
    def size(self) -> int:
        """Rows that the host takes."""
        return self.batch_size // self.num_hosts

    def positions(self, numbers: tf.Tensor) -> tf.Tensor:
        """Return the positions, int64 [n], of rows that the host numbers."""
        return numbers * self.num_hosts + self.host


def make_rows(
    shard_set: shards.ShardSet,
    *,
    seed: int,
    part: BatchPart,
    start_step: int,
    chunk_size: int,
    runtime: configs.RuntimeConfig,
    shuffle_buffer_size: int,
) -> tf.data.Dataset:
    """Return the stream's rows from a step on, some at once.

    Args:
        shard_set: What is read. Each image occurs as often in an epoch as its
            record's `copies` says.
        seed: Of the order in all epochs.
        part: What this stream takes of every global batch.
        start_step: Batches that were given before.
        chunk_size: Rows that are handled at once; they may lie in two batches.
        runtime: Says what is held in memory, or copied.
        shuffle_buffer_size: Records held for shuffling remote shards.

    Returns:
        Endless chunks: numbers int64 [chunk_size], in the host's own count;
        records string [chunk_size]; and their names string [chunk_size], for
        errors. A damaged record raises tf.errors.InvalidArgumentError.

    Raises:
        ValueError: The set is empty, damaged, or of another number of rows
            than its manifest says.
    """
    shards.check_not_empty(shard_set)
    first_number = start_step * part.size
    store = record_store.open_store(shard_set, runtime)
    if store is not None:
        return _store_rows(store, seed, part, first_number, chunk_size)
    _warn_of_much_reading(shard_set, part)
    records = _remote_records(
        shard_set,
        seed=seed,
        start_position=start_step * part.batch_size,
        shuffle_buffer_size=shuffle_buffer_size,
    )
    name = f"a record of {shard_set.paths[0]} ..."
    rows = records.shard(part.num_hosts, part.host).enumerate(first_number)
    rows = rows.map(lambda number, record: (number, record, name))
    return rows.batch(chunk_size, drop_remainder=True)


def _warn_of_much_reading(shard_set: shards.ShardSet, part: BatchPart) -> None:
    if part.num_hosts > 1 and part.host == 0:
        logging.warning(
            "--runtime.host_sharding=rows: each of %d hosts reads all %.3f GB "
            "of %s ... in every epoch, for its share of the rows. files lets "
            "each read shards of its own.",
            part.num_hosts,
            sum(shard_set.sizes()) / 1e9,
            shard_set.paths[0],
        )


def _store_rows(
    store: record_store.Store,
    seed: int,
    part: BatchPart,
    first_number: int,
    chunk_size: int,
) -> tf.data.Dataset:
    @tf.autograph.experimental.do_not_convert
    def read(begin: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        numbers = begin + tf.range(chunk_size, dtype=tf.int64)
        positions = part.positions(numbers)
        rows = shuffled(
            positions % store.num_rows,
            epochs=positions // store.num_rows,
            size=store.num_rows,
            seed=seed,
        )
        wanted = tf.ensure_shape(store.records_of(rows), [chunk_size])
        records, names = store.read(wanted), store.name(wanted)
        problems = tf.where(
            records == b"", "it is damaged. " + record_store.MEND, ""
        )
        with tf.control_dependencies([check(problems, names)]):
            return numbers, tf.identity(records), names

    chunks = tf.data.Dataset.range(first_number, tf.int64.max, chunk_size)
    return map_in_order(chunks, read)


def _remote_records(
    shard_set: shards.ShardSet,
    *,
    seed: int,
    start_position: int,
    shuffle_buffer_size: int,
) -> tf.data.Dataset:
    """Return the rows of remote shards from a position on.

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
        rows = _remote_epoch(
            shard_set, tf.random.fold_in(root, epoch), shuffle_buffer_size
        )
        return rows.skip(tf.cast(skip, tf.int64))

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return epochs.flat_map(one_epoch)


def _remote_epoch(
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
        return records.flat_map(
            lambda record: _copies_of_pass(record, seed, index)
        )

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


def _copies_of_pass(
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


def shuffled(
    places: tf.Tensor, *, epochs: tf.Tensor, size: int, seed: int
) -> tf.Tensor:
    """Return which row stands at places of the orders of epochs.

    Args:
        places: int64 [num_places] in [0, size).
        epochs: int64 [num_places]; every epoch has an order of its own.
        size: Rows of an epoch.
        seed: Of all orders.

    Returns:
        int64 [num_places] in [0, size); over all places of one epoch, each
        row once.
    """
    half_bits = max(_MIN_HALF_BITS, ((size - 1).bit_length() + 1) // 2)
    rounds = tf.range(_NUM_ROUNDS, dtype=tf.int64)[:, tf.newaxis]
    # A sum alone would give one seed the orders of the next, an epoch later.
    epoch_keys = _hash(_hash(epochs + 1) + seed)
    keys = tf.unstack(_hash(epoch_keys + rounds))

    def is_outside(rows: tf.Tensor, is_out: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(is_out)

    def walk(rows: tf.Tensor, is_out: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.where(is_out, _feistel(rows, keys, half_bits), rows)
        return rows, rows >= size

    everywhere = tf.ones_like(places, tf.bool)
    return tf.while_loop(is_outside, walk, (places, everywhere))[0]


def _feistel(
    values: tf.Tensor, keys: list[tf.Tensor], half_bits: int
) -> tf.Tensor:
    """Permute int64 values below 2^(2 * half_bits)."""
    mask = tf.constant((1 << half_bits) - 1, tf.int64)
    left = tf.bitwise.right_shift(values, tf.constant(half_bits, tf.int64))
    right = tf.bitwise.bitwise_and(values, mask)
    for key in keys:
        changed = tf.bitwise.bitwise_and(_hash(right + key), mask)
        left, right = right, tf.bitwise.bitwise_xor(left, changed)
    return left * (1 << half_bits) + right


def _hash(values: tf.Tensor) -> tf.Tensor:
    """Mix the bits of int64 values; products wrap around."""
    for multiplier, shift in zip(_MULTIPLIERS, (30, 27), strict=True):
        shifted = tf.bitwise.right_shift(values, tf.constant(shift, tf.int64))
        values = tf.bitwise.bitwise_xor(values, shifted)
        values *= tf.constant(multiplier, tf.int64)
    shifted = tf.bitwise.right_shift(values, tf.constant(31, tf.int64))
    return tf.bitwise.bitwise_xor(values, shifted)


def check(problems: tf.Tensor, names: tf.Tensor) -> tf.Operation:
    """Fail at the first row that has a problem, and name it.

    Args:
        problems: string [n], empty where there is none.
        names: string [n], of the rows.
    """
    # An empty row behind the others, for when none has a problem.
    lines = tf.strings.join([names, ": ", problems])
    first = tf.concat([tf.boolean_mask(lines, problems != ""), [""]], 0)[0]
    return tf.debugging.Assert(tf.reduce_all(problems == ""), [first])


def map_in_order(
    dataset: tf.data.Dataset, function: Callable[..., Any]
) -> tf.data.Dataset:
    """Map in parallel, on all cores; the results keep their order."""
    return dataset.map(
        function, num_parallel_calls=_num_cores(), deterministic=True
    )


def _num_cores() -> int:
    """Return how many cores this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def finish(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Return batches made ahead, in order, each read by who asks for it.

    Nothing is tuned while it runs: the tuner's thread sleeps for up to a
    minute, and who drops an iterator waits until it wakes.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    # Hosts were told their part: tf.distribute shall not divide it again.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return batches.with_options(options).prefetch(_BATCHES_AHEAD)
