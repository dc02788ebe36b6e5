"""Where the records of a local shard begin, and how to read around damage.

A TFRecord file is a chain: 8 bytes of length, 4 bytes of their checksum, the
record, 4 bytes of its checksum. Following the lengths finds every record
without reading any.
"""

import mmap
import os
import struct

import numpy as np
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.records import (
    parquet_files,
    predictions,
    schema,
    shards,
)

_HEADER_BYTES = 12
_FOOTER_BYTES = 4
_READ_BATCH = 1024


def record_offsets(path: str) -> np.ndarray:
    """Return where each record of a local shard begins.

    Returns:
        int64 [num_records], in bytes.

    Raises:
        ValueError: A length leads beyond the file: it is truncated or
            damaged there, and what follows cannot be found.
    """
    size = os.path.getsize(path)
    if not size:
        return np.zeros([0], np.int64)
    offsets = []
    with open(path, "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            offset = 0
            while offset < size:
                offsets.append(offset)
                if offset + _HEADER_BYTES > size:
                    raise _damaged(path, offset)
                (length,) = struct.unpack_from("<Q", content, offset)
                offset += _HEADER_BYTES + length + _FOOTER_BYTES
                if offset > size:
                    raise _damaged(path, offsets[-1])
    return np.array(offsets, np.int64)


def _damaged(path: str, offset: int) -> ValueError:
    return ValueError(
        f"{path}: the record at byte {offset} goes beyond the end of the file; "
        "it is truncated or no TFRecord file. Build the shards again."
    )


def read_at(paths: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Return the records that begin at some bytes, inside tf.data.

    Args:
        paths: string [n].
        offsets: int64 [n].

    Returns:
        string [n]; empty where a record does not fit its checksum.
    """

    @tf.autograph.experimental.do_not_convert
    def read(path: tf.Tensor, offset: tf.Tensor) -> tf.data.Dataset:
        dataset = tf.data.experimental.from_variant(
            tf.raw_ops.TFRecordDatasetV2(
                filenames=path[tf.newaxis],
                compression_type="",
                # Unbuffered: it reads this record and nothing beyond.
                buffer_size=tf.constant(0, tf.int64),
                byte_offsets=offset[tf.newaxis],
            ),
            tf.TensorSpec([], tf.string),
        )
        dataset = dataset.take(1).ignore_errors()
        lost = tf.data.Dataset.from_tensors(b"")
        return dataset.concatenate(lost).take(1)

    places = tf.data.Dataset.from_tensor_slices((paths, offsets))
    records = places.flat_map(read)
    size = tf.size(offsets, tf.int64)
    found = records.batch(size).get_single_element()
    return tf.ensure_shape(found, offsets.shape)


def read_intact(path: str) -> tuple[list[bytes], list[int]]:
    """Read the records of a shard; those that are damaged are left out.

    Returns:
        The records, and the index in the shard of each.

    Raises:
        ValueError: The shard is remote or truncated, and damaged.
    """
    records: list[bytes] = []
    try:
        for batch in tf.data.TFRecordDataset(path).batch(_READ_BATCH):
            records.extend(batch.numpy())
    except tf.errors.DataLossError as error:
        if files.is_remote(path):
            raise ValueError(
                f"{path} is damaged ({error.message}). Build the shards "
                "again, or copy them to this machine."
            ) from error
        return _read_each(path)
    return records, list(range(len(records)))


def _read_each(path: str) -> tuple[list[bytes], list[int]]:
    records, indices = [], []
    for index, offset in enumerate(record_offsets(path)):
        record = read_at(
            tf.constant([path]), tf.constant([offset], tf.int64)
        ).numpy()[0]
        if record:
            records.append(record)
            indices.append(index)
    return records, indices


def read_copies(path: str) -> np.ndarray:
    """Return how often an epoch shows each record of a shard.

    They come from the index beside the shard, or else from the records; a
    record that is damaged counts once.

    Returns:
        int64 [num_records].
    """
    index_path = path.removesuffix(".tfrecord") + ".index.parquet"
    if files.exists(index_path):
        with parquet_files.open_reader(index_path) as reader:
            names = reader.schema_arrow.names
            if predictions.COPIES in names:
                table = reader.read([predictions.COPIES])
                return table[predictions.COPIES].to_numpy().astype(np.int64)
            return np.ones([reader.metadata.num_rows], np.int64)
    records, indices = read_intact(path)
    num_records = len(records)
    if not files.is_remote(path):
        num_records = len(record_offsets(path))
    copies = np.ones([num_records], np.int64)
    copies[indices] = [schema.parse_copies(record) for record in records]
    return copies


def of_host(
    shard_set: shards.ShardSet, *, index: int, num_hosts: int
) -> shards.ShardSet:
    """Return every num_hosts-th shard of a set, the index-th of them first.

    Raises:
        ValueError: There are fewer shards than hosts.
    """
    if len(shard_set.paths) < num_hosts:
        raise ValueError(
            f"{len(shard_set.paths)} shards ({shard_set.paths[:1]}...) for "
            f"{num_hosts} hosts: every host needs one of its own. Build at "
            f"least --data.num_shards={num_hosts}, or read with "
            "--runtime.host_sharding=rows."
        )
    paths = shard_set.paths[index::num_hosts]
    copies = [read_copies(path) for path in paths]
    return shards.ShardSet(
        paths=paths,
        num_records=sum(map(len, copies)),
        schema=shard_set.schema,
        num_classes=shard_set.num_classes,
        num_copies=int(sum(part.sum() for part in copies)),
    )
