"""Records that can be read in any order: held in memory, or found on disk.

Sets that fit are held in memory. Larger ones on local disks are read record by
record where an index of offsets, made when the stream is opened, finds them:
8 bytes of memory a record. Remote shards can be copied to a local folder first.
"""

import dataclasses
import hashlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from noisy_student_tf import files
from noisy_student_tf.records import offsets, schema, shards

# Named in a log line or an error; the others are counted.
_MAX_NAMED = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Store:
    """The records of a shard set.

    Attributes:
        num_rows: Rows of an epoch, copies counted.
        records_of: int64 [n] rows in [0, num_rows) -> int64 [n] records. The
            copies of a record are rows of their own.
        read: int64 [n] records -> string [n]; empty where one is damaged.
        name: int64 [] record -> string [], its shard and place in it.
    """

    num_rows: int
    records_of: Callable[[tf.Tensor], tf.Tensor]
    read: Callable[[tf.Tensor], tf.Tensor]
    name: Callable[[tf.Tensor], tf.Tensor]


def in_memory(shard_set: shards.ShardSet, *, max_corrupt: float) -> Store:
    """Read all records.

    Args:
        shard_set: What is read.
        max_corrupt: Damaged records that are left out, as a share of all.

    Raises:
        ValueError: More are damaged, or there are more or fewer records than
            the manifest says.
    """
    records: list[bytes] = []
    names: list[bytes] = []
    damaged: list[str] = []
    for path in shard_set.paths:
        intact, indices = offsets.read_intact(path)
        records += intact
        names += [_name(path, index).encode() for index in indices]
        if len(indices) < (indices or [-1])[-1] + 1 or not indices:
            damaged += _missing(path, indices)
    _check_damaged(shard_set, damaged, max_corrupt)
    copies = np.ones([len(records)], np.int64)
    if shard_set.num_copies != shard_set.num_records:
        copies = np.array([schema.parse_copies(r) for r in records], np.int64)
    if not damaged:
        _check_rows(shard_set, int(copies.sum()))
    all_records, all_names = tf.constant(records), tf.constant(names)
    return Store(
        num_rows=int(copies.sum()),
        records_of=_records_of(copies),
        read=lambda records: tf.gather(all_records, records),
        name=lambda record: tf.gather(all_names, record),
    )


def _missing(path: str, indices: list[int]) -> list[str]:
    num_records = len(offsets.record_offsets(path))
    lost = sorted(set(range(num_records)) - set(indices))
    return [_name(path, index) for index in lost]


def _name(path: str, index: int) -> str:
    return f"{path}, record {index}"


def _check_damaged(
    shard_set: shards.ShardSet, damaged: list[str], max_corrupt: float
) -> None:
    if not damaged:
        return
    named = "; ".join(damaged[:_MAX_NAMED])
    message = (
        f"{len(damaged)} of {shard_set.num_records} records are damaged "
        f"({named}{'; ...' if len(damaged) > _MAX_NAMED else ''})"
    )
    if len(damaged) > max_corrupt * shard_set.num_records:
        raise ValueError(
            f"{message}, more than --data.max_corrupt_fraction={max_corrupt} "
            "allows. Build the shards again, or raise the fraction."
        )
    logging.warning("%s: they are left out.", message)


def _check_rows(shard_set: shards.ShardSet, num_rows: int) -> None:
    if num_rows != shard_set.num_copies:
        raise ValueError(
            f"The shards {shard_set.paths[0]} ... hold {num_rows} rows, and "
            f"their manifest says {shard_set.num_copies}. Build them again."
        )


def _records_of(copies: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    if (copies == 1).all():
        return lambda rows: rows
    ends = tf.constant(np.cumsum(copies))
    return lambda rows: tf.searchsorted(
        ends, rows, side="right", out_type=tf.int64
    )


def on_disk(shard_set: shards.ShardSet) -> Store:
    """Find all records of local shards; each is read when it is wanted.

    Raises:
        ValueError: A shard is truncated, or there are more or fewer records
            than the manifest says.
    """
    begins = [offsets.record_offsets(path) for path in shard_set.paths]
    copies = np.ones([sum(map(len, begins))], np.int64)
    if shard_set.num_copies != shard_set.num_records:
        copies = np.concatenate(
            [offsets.read_copies(path) for path in shard_set.paths]
        )
    _check_rows(shard_set, int(copies.sum()))
    ends = np.cumsum([len(part) for part in begins])
    firsts = tf.constant(np.concatenate([[0], ends[:-1]]).astype(np.int64))
    all_begins = tf.constant(np.concatenate(begins))
    paths = tf.constant(shard_set.paths)

    def shards_of(records: tf.Tensor) -> tf.Tensor:
        return tf.searchsorted(firsts, records, side="right") - 1

    def name(record: tf.Tensor) -> tf.Tensor:
        shard = shards_of(record[tf.newaxis])[0]
        place = tf.strings.as_string(record - firsts[shard])
        return tf.strings.join([paths[shard], ", record ", place])

    return Store(
        num_rows=int(copies.sum()),
        records_of=_records_of(copies),
        read=lambda records: offsets.read_at(
            tf.gather(paths, shards_of(records)),
            tf.gather(all_begins, records),
        ),
        name=name,
    )


def copy_to(directory: str, shard_set: shards.ShardSet) -> shards.ShardSet:
    """Copy shards and their indices to a folder, unless they lie there.

    Args:
        directory: A local folder; files of several sets may share it.
        shard_set: What is copied.

    Returns:
        The set as it lies in the folder.
    """
    files.make_directories(directory)
    paths = []
    for path in shard_set.paths:
        size = files.size_bytes(path)
        # The same name may lie in many folders.
        key = hashlib.sha256(f"{path} {size}".encode()).hexdigest()[:16]
        stem = files.join(directory, key)
        sidecar = path.removesuffix(".tfrecord") + ".index.parquet"
        for source, name in (
            (sidecar, f"{stem}.index.parquet"),
            (path, f"{stem}.tfrecord"),
        ):
            if files.exists(source) and not files.exists(name):
                files.copy(source, name)
        paths.append(f"{stem}.tfrecord")
    return dataclasses.replace(shard_set, paths=tuple(paths))
