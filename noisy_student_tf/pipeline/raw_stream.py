"""Rows of shards in shuffled epochs, without end, from any step.

A position counts the rows that all hosts' streams have given since training
began; row and position belong together whatever the process that reads them.
The order of an epoch is computed from (seed, epoch, place), so that a stream
starts anywhere without reading what lies before.

Remote shards that neither fit in memory nor are copied are the exception: they
are read from front to back. The order of shards is drawn for each epoch,
several are read at once, and a buffer shuffles what they give.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.pipeline import (
    permutation,
    record_store,
    remote_rows,
)
from noisy_student_tf.records import shards

# Finished batches that wait; one more is being made.
_BATCHES_AHEAD = 2


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """A stream of rows that are yet to be read, some at once.

    Attributes:
        dataset: Endless pairs: numbers int64 [n], in the host's own count,
            and what `read` takes.
        read: What the dataset gives -> string [n], the records; empty where
            one is damaged.
        name: Number int64 [] -> string [], where the row comes from.
        first_number: Number of the first row.
        num_rows: Rows of an epoch.
    """

    dataset: tf.data.Dataset
    read: Callable[[Any], tf.Tensor]
    name: Callable[[tf.Tensor], tf.Tensor]
    first_number: int
    num_rows: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How records are held and read.

    Attributes:
        shuffle_buffer_size: Records held for shuffling remote shards.
        cache_bytes: Sets up to this size are held in memory.
        cache_directory: Local folder that larger sets are copied to; empty:
            they are read where they lie.
        max_corrupt: Damaged records tolerated, as a share of all.
    """

    shuffle_buffer_size: int
    cache_bytes: int
    cache_directory: str = ""
    max_corrupt: float = 0.0


def make_rows(
    shard_set: shards.ShardSet,
    *,
    seed: int,
    part: BatchPart,
    start_step: int,
    options: ReadOptions,
    chunk_size: int,
) -> Rows:
    """Return the stream's rows from a step on.

    Args:
        shard_set: What is read. Each image occurs as often in an epoch as its
            record's `copies` says.
        seed: Of the order in all epochs.
        part: What this stream takes of every global batch.
        start_step: Batches that were given before.
        options: How records are held and read.
        chunk_size: Rows that are handled at once; they may lie in two batches.

    Raises:
        ValueError: The set is empty, damaged, or of another number of rows
            than its manifest says.
    """
    if not shard_set.paths or shard_set.num_copies < 1:
        where = shard_set.paths[0] if shard_set.paths else "of an empty split"
        raise ValueError(
            f"The shards {where} hold no records. Build them again "
            "from a source with images."
        )
    size_bytes = sum(files.size_bytes(path) for path in shard_set.paths)
    if size_bytes <= options.cache_bytes:
        store = record_store.in_memory(
            shard_set, max_corrupt=options.max_corrupt
        )
        return _store_rows(store, seed, part, start_step, chunk_size)
    if options.cache_directory:
        shard_set = record_store.copy_to(options.cache_directory, shard_set)
    if not any(map(files.is_remote, shard_set.paths)):
        store = record_store.on_disk(shard_set)
        return _store_rows(store, seed, part, start_step, chunk_size)
    return _remote_rows(
        shard_set,
        seed,
        part,
        start_step,
        chunk_size,
        options.shuffle_buffer_size,
    )


def _store_rows(
    store: record_store.Store,
    seed: int,
    part: BatchPart,
    start_step: int,
    chunk_size: int,
) -> Rows:
    num_rows = store.num_rows

    # Traced once, for two places that call it.
    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False
    )
    def records_of(numbers: tf.Tensor) -> tf.Tensor:
        positions = part.positions(numbers)
        rows = permutation.shuffled(
            positions % num_rows,
            epochs=positions // num_rows,
            size=num_rows,
            seed=seed,
        )
        return store.records_of(rows)

    @tf.autograph.experimental.do_not_convert
    def make_chunk(begin: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        numbers = begin + tf.range(chunk_size, dtype=tf.int64)
        return numbers, numbers

    first = start_step * part.size
    chunks = tf.data.Dataset.range(first, tf.int64.max, chunk_size)
    return Rows(
        dataset=chunks.map(make_chunk),
        read=lambda numbers: store.read(
            tf.ensure_shape(records_of(numbers), numbers.shape)
        ),
        name=lambda number: store.name(records_of(number[tf.newaxis])[0]),
        first_number=first,
        num_rows=num_rows,
    )


def _remote_rows(
    shard_set: shards.ShardSet,
    seed: int,
    part: BatchPart,
    start_step: int,
    chunk_size: int,
    shuffle_buffer_size: int,
) -> Rows:
    dataset = remote_rows.make_stream(
        shard_set,
        seed=seed,
        start_position=start_step * part.batch_size,
        shuffle_buffer_size=shuffle_buffer_size,
    )
    dataset = dataset.shard(part.num_hosts, part.host)
    first_number = start_step * part.size
    dataset = dataset.enumerate(first_number)
    dataset = dataset.map(lambda number, row: (number, row[1]))
    return Rows(
        dataset=dataset.batch(chunk_size, drop_remainder=True),
        read=lambda records: records,
        name=lambda _: tf.constant(f"{shard_set.paths[0]} ..."),
        first_number=first_number,
        num_rows=shard_set.num_copies,
    )


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
