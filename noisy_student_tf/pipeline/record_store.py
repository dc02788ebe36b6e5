"""Records that can be read in any order: held in memory, or found on disk.

Sets that fit are held in memory. Larger ones on local disks are read record by
record where an index of offsets, made when the stream is opened, finds them:
8 bytes of memory a record. Remote shards can be copied to a local folder first.

A TFRecord file is a chain: 8 bytes of length, 4 bytes of their checksum, the
record, 4 bytes of its checksum. Following the lengths finds every record
without reading any.
"""

import dataclasses
import hashlib
import mmap
import os
import struct
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from noisy_student_tf import configs, files
from noisy_student_tf.records import parquet_files, schema, shards

# What to do about records that were intact once.
MEND = (
    "It was intact when the shards were built or indexed: build them again, "
    "or fetch the files again and index them again."
)

_MEGABYTE = 2**20
_HEADER_BYTES = 12
_FOOTER_BYTES = 4
_READ_BATCH = 1024


@dataclasses.dataclass(frozen=True)
class Store:
    """The records of a shard set.

    Attributes:
        paths: string [num_shards].
        firsts: int64 [num_shards], the number of each shard's first record.
        content: string [num_records], the records in memory; or int64
            [num_records], where each begins in its file.
        copies: int64 [num_records], rows of an epoch that show a record.
    """

    paths: tf.Tensor
    firsts: tf.Tensor
    content: tf.Tensor
    copies: np.ndarray

    @property
    def num_rows(self) -> int:
        """Rows of an epoch, copies counted."""
        return int(self.copies.sum())

    def records_of(self, rows: tf.Tensor) -> tf.Tensor:
        """Return the records, int64 [n], that rows in [0, num_rows) show."""
        if (self.copies == 1).all():
            return rows
        ends = tf.constant(np.cumsum(self.copies))
        return tf.searchsorted(ends, rows, side="right", out_type=tf.int64)

    def read(self, records: tf.Tensor) -> tf.Tensor:
        """Return records, string [n]; empty where one is damaged."""
        content = tf.gather(self.content, records)
        if content.dtype == tf.string:
            return content
        return _read_at(
            tf.gather(self.paths, self._shards_of(records)), content
        )

    def name(self, records: tf.Tensor) -> tf.Tensor:
        """Return records' shards and places there, string [n]."""
        places = self._shards_of(records)
        numbers = records - tf.gather(self.firsts, places)
        return tf.strings.join(
            [
                tf.gather(self.paths, places),
                ", record ",
                tf.strings.as_string(numbers),
            ]
        )

    def _shards_of(self, records: tf.Tensor) -> tf.Tensor:
        return tf.searchsorted(self.firsts, records, side="right") - 1


def open_store(
    shard_set: shards.ShardSet, runtime: configs.RuntimeConfig
) -> Store | None:
    """Open records as is configured: in memory, or from a local copy.

    Returns:
        None for remote shards that neither fit in memory nor are copied.

    Raises:
        ValueError: A record is damaged, a shard truncated, or there are more
            or fewer records than the manifest says.
    """
    if sum(shard_set.sizes()) <= runtime.cache_megabytes * _MEGABYTE:
        return _in_memory(shard_set)
    if runtime.cache_directory:
        shard_set = copy_to(runtime.cache_directory, shard_set)
    if any(map(files.is_remote, shard_set.paths)):
        return None
    return _on_disk(shard_set)


def _in_memory(shard_set: shards.ShardSet) -> Store:
    parts = [_read_all(path) for path in shard_set.paths]
    records = tf.constant([record for part in parts for record in part])
    copies = np.ones([len(records)], np.int64)
    if shard_set.num_copies != shard_set.num_records:
        copies = schema.parse_copies(records).numpy()
    return _make(shard_set, [len(part) for part in parts], records, copies)


def _on_disk(shard_set: shards.ShardSet) -> Store:
    """Find all records of local shards; each is read when it is wanted."""
    parts = [record_offsets(path) for path in shard_set.paths]
    begins = np.concatenate(parts)
    copies = np.ones([len(begins)], np.int64)
    if shard_set.num_copies != shard_set.num_records:
        copies = _copies_of(shard_set.paths)
    sizes = [len(part) for part in parts]
    return _make(shard_set, sizes, tf.constant(begins), copies)


def _make(
    shard_set: shards.ShardSet,
    sizes: list[int],
    content: tf.Tensor,
    copies: np.ndarray,
) -> Store:
    store = Store(
        paths=tf.constant(shard_set.paths),
        firsts=tf.constant(np.cumsum([0, *sizes[:-1]]), tf.int64),
        content=content,
        copies=copies,
    )
    if store.num_rows != shard_set.num_copies:
        raise ValueError(
            f"The shards {shard_set.paths[0]} ... hold {store.num_rows} rows, "
            f"and their manifest says {shard_set.num_copies}. Build them again."
        )
    return store


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
                    raise _damaged(path, len(offsets) - 1)
                (length,) = struct.unpack_from("<Q", content, offset)
                offset += _HEADER_BYTES + length + _FOOTER_BYTES
                if offset > size:
                    raise _damaged(path, len(offsets) - 1)
    return np.array(offsets, np.int64)


def _damaged(path: str, number: int) -> ValueError:
    return ValueError(
        f"{path}, record {number}: it is damaged, or the file is truncated or "
        f"no TFRecord file. {MEND}"
    )


def _read_at(paths: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
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


def _read_all(path: str) -> list[bytes]:
    """Return the records of a shard.

    Raises:
        ValueError: One is damaged.
    """
    records: list[bytes] = []
    dataset = tf.data.TFRecordDataset(path)
    try:
        for batch in dataset.batch(_READ_BATCH):
            records.extend(batch.numpy())
    except tf.errors.DataLossError as error:
        num_before = dataset.ignore_errors().reduce(0, lambda n, _: n + 1)
        raise _damaged(path, int(num_before)) from error
    return records


def read_copies(path: str) -> np.ndarray:
    """Return how often an epoch shows each record of a shard.

    They come from the index beside the shard, or else from the records.

    Returns:
        int64 [num_records].
    """
    index_path = path.removesuffix(".tfrecord") + ".index.parquet"
    if not files.exists(index_path):
        return schema.parse_copies(tf.constant(_read_all(path))).numpy()
    with parquet_files.open_reader(index_path) as reader:
        if schema.COPIES_COLUMN not in reader.schema_arrow.names:
            return np.ones([reader.metadata.num_rows], np.int64)
        copies = reader.read([schema.COPIES_COLUMN])[0]
        return copies.to_numpy().astype(np.int64)


def _copies_of(paths: Sequence[str]) -> np.ndarray:
    return np.concatenate(files.call_for_each(read_copies, paths))


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
    own = slice(index, None, num_hosts)
    copies = _copies_of(shard_set.paths[own])
    return dataclasses.replace(
        shard_set,
        paths=shard_set.paths[own],
        shard_bytes=shard_set.sizes()[own],
        num_records=len(copies),
        num_copies=int(copies.sum()),
    )


def copy_to(directory: str, shard_set: shards.ShardSet) -> shards.ShardSet:
    """Copy shards and their indices to a local folder, unless they lie there.

    Files of several sets may share it.

    Returns:
        The set as it lies in the folder.
    """
    files.make_directories(directory)
    paths = []
    for path, size in zip(shard_set.paths, shard_set.sizes(), strict=True):
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
