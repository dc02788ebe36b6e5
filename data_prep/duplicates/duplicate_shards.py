"""What is done with one shard in the search for duplicates."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from data_prep.duplicates import near_hashes, perceptual
from noisy_student_tf import files
from noisy_student_tf.records import (
    duplicates,
    parquet_files,
    predictions,
    schema,
    shards,
)

_HASHES = pa.schema(
    [
        ("image_id", pa.binary(schema.ID_BYTES)),
        ("sha256_start", pa.uint64()),
        ("perceptual_hash", pa.uint64()),
    ]
)
_REPEATS = pa.schema(
    [("place", pa.int64()), ("kept", pa.int64()), ("distance", pa.int32())]
)
# Instead of a mask: whole files are compared.
_IDENTICAL = 0


@dataclasses.dataclass(frozen=True)
class HashTask:
    """One shard to hash.

    Attributes:
        records_path: Records of the images.
        index_path: Their index, in the same order.
        split: Of the shard.
        shard: Its number.
        min_side: See `perceptual.hash_picture`.
        output: Where the hashes appear.
    """

    records_path: str
    index_path: str
    split: str
    shard: int
    min_side: int
    output: str


def write_hashes(task: HashTask) -> None:
    """Hash the images of a shard.

    Raises:
        ValueError: The shard is damaged, or not that of the index.
    """
    hashes = list(_hash_records(task))
    ids, starts = _read_index(task.index_path)
    if len(ids) != len(hashes):
        raise ValueError(
            f"{task.records_path} has {len(hashes)} records, but its index "
            f"{task.index_path} has {len(ids)}. Build the directory again."
        )
    columns = _HASHES.with_metadata(
        {"split": task.split, "shard": str(task.shard)}
    )
    table = pa.table(
        [
            parquet_files.fixed_bytes_array(ids),
            pa.array(starts),
            pa.array(hashes, pa.uint64()),
        ],
        schema=columns,
    )
    with parquet_files.open_writer(task.output, columns) as writer:
        writer.write_table(table)


def _hash_records(task: HashTask) -> Iterator[int | None]:
    number = 0
    try:
        for record in shards.read_records(task.records_path):
            example = tf.train.Example.FromString(record)
            picture = schema.stored_bytes(example, schema.IMAGE)
            yield perceptual.hash_picture(picture, min_side=task.min_side)
            number += 1
    except tf.errors.DataLossError as error:
        raise ValueError(
            f"{task.records_path}: damaged or truncated behind record "
            f"{number}. Build the shards again."
        ) from error


def _read_index(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return ids uint8 [n, 16], and the start of the SHA-256 as uint64 [n]."""
    ids = [np.zeros((0, schema.ID_BYTES), np.uint8)]
    starts = [np.zeros(0, np.uint64)]
    for batch in predictions.read_batches(path, ["image_id", "image_sha256"]):
        ids.append(parquet_files.fixed_bytes(batch["image_id"]))
        digests = parquet_files.fixed_bytes(batch["image_sha256"])
        starts.append(_first_word(digests))
    return np.concatenate(ids), np.concatenate(starts)


def _read_ids(path: str) -> np.ndarray:
    """Return the ids of a file of hashes: uint8 [n, 16]."""
    ids = [np.zeros((0, schema.ID_BYTES), np.uint8)]
    for batch in predictions.read_batches(path, ["image_id"]):
        ids.append(parquet_files.fixed_bytes(batch["image_id"]))
    return np.concatenate(ids)


def _first_word(rows: np.ndarray) -> np.ndarray:
    """Return the first 8 bytes: uint8 [n, at least 8] -> uint64 [n]."""
    words = np.ascontiguousarray(rows[:, :8]).view(">u8")[:, 0]
    return words.astype(np.uint64)


def count_hashes(path: str) -> tuple[int, int]:
    """Return the images of a file of hashes, and how many have a hash."""
    num_images = num_hashed = 0
    for batch in predictions.read_batches(path, ["perceptual_hash"]):
        column = batch["perceptual_hash"]
        num_images += len(column)
        num_hashed += len(column) - column.null_count
    return num_images, num_hashed


@dataclasses.dataclass(frozen=True)
class _Hashes:
    """Images of one or more files, in their order.

    Attributes:
        ids: uint8 [n, 16].
        hashes: uint64 [n].
        places: int64 [n], numbers of the rows; those without hash left out.
        files: int32 [n], numbers of the files.
    """

    ids: np.ndarray
    hashes: np.ndarray
    places: np.ndarray
    files: np.ndarray


def _read_hashes(
    paths: Sequence[str], column: str = "perceptual_hash"
) -> _Hashes:
    ids = [np.zeros((0, schema.ID_BYTES), np.uint8)]
    hashes = [np.zeros(0, np.uint64)]
    places = [np.zeros(0, np.int64)]
    numbers = [np.zeros(0, np.int32)]
    start = 0
    for number, path in enumerate(paths):
        for batch in predictions.read_batches(path, ["image_id", column]):
            found = batch[column]
            rows = np.flatnonzero(found.is_valid().to_numpy(False))
            ids.append(parquet_files.fixed_bytes(batch["image_id"])[rows])
            hashes.append(found.drop_null().to_numpy())
            places.append(start + rows)
            numbers.append(np.full(len(rows), number, np.int32))
            start += len(found)
    return _Hashes(
        np.concatenate(ids),
        np.concatenate(hashes),
        np.concatenate(places),
        np.concatenate(numbers),
    )


@dataclasses.dataclass(frozen=True)
class RepeatTask:
    """Find unlabeled images that repeat each other, under one mask.

    Holds about 100 bytes of every unlabeled image in memory.

    Attributes:
        hash_paths: Hashes of all unlabeled shards.
        mask: Where hashes must agree; 0: whole files must.
        max_bits: How near hashes are too near.
        output: Where the result appears.
    """

    hash_paths: tuple[str, ...]
    mask: int
    max_bits: int
    output: str


def plan_repeats(
    hash_paths: Sequence[str], scratch: str, *, max_bits: int
) -> list[RepeatTask]:
    """Plan the search for images that repeat each other."""
    return [
        RepeatTask(
            tuple(hash_paths),
            mask,
            max_bits,
            files.join(scratch, f"repeats-{mask:016x}.parquet"),
        )
        for mask in (_IDENTICAL, *near_hashes.masks(max_bits))
    ]


def write_repeats(task: RepeatTask) -> None:
    """Write which images repeat one whose id begins with less."""
    column, mask, max_bits = "perceptual_hash", task.mask, task.max_bits
    if mask == _IDENTICAL:
        column, mask, max_bits = "sha256_start", (1 << 64) - 1, 0
    images = _read_hashes(task.hash_paths, column)
    losers, keepers = near_hashes.repeated(
        images.hashes, _first_word(images.ids), mask=mask, max_bits=max_bits
    )
    apart = near_hashes.distances(images.hashes[losers], images.hashes[keepers])
    table = pa.table(
        [
            pa.array(images.places[losers]),
            pa.array(images.places[keepers]),
            pa.array(apart.astype(np.int32)),
        ],
        schema=_REPEATS,
    )
    with parquet_files.open_writer(task.output, _REPEATS) as writer:
        writer.write_table(table)


@dataclasses.dataclass(frozen=True)
class MatchTask:
    """One unlabeled shard whose images are compared with the labeled ones.

    Attributes:
        index: Number of the shard.
        hash_paths: Hashes of all unlabeled shards.
        labeled_paths: Hashes of all labeled shards.
        repeat_paths: What `write_repeats` wrote, if it was asked for.
        max_bits: How near hashes are too near.
        output: Where the result appears.
    """

    index: int
    hash_paths: tuple[str, ...]
    labeled_paths: tuple[str, ...]
    repeat_paths: tuple[str, ...]
    max_bits: int
    output: str


def write_matches(task: MatchTask) -> None:
    """Write which images of a shard are left out, and what they repeat."""
    found = {each.image_id: each for each in _repeats(task)}
    # What is labeled or held out is the better reason.
    found.update((each.image_id, each) for each in _matches(task))
    rows = sorted(found.values(), key=lambda each: each.image_id)
    duplicates.write(task.output, rows)


def _matches(task: MatchTask) -> Iterator[duplicates.Duplicate]:
    images = _read_hashes(task.hash_paths[task.index : task.index + 1])
    labeled = _read_hashes(task.labeled_paths)
    origins = [parquet_files.read_metadata(path) for path in task.labeled_paths]
    places, apart = near_hashes.nearest(
        images.hashes, labeled.hashes, max_bits=task.max_bits
    )
    for row in np.flatnonzero(places >= 0):
        place = places[row]
        origin = origins[labeled.files[place]]
        yield duplicates.Duplicate(
            image_id=images.ids[row].tobytes(),
            kept_id=labeled.ids[place].tobytes(),
            kept_split=origin["split"],
            kept_shard=int(origin["shard"]),
            distance=int(apart[row]),
        )


def _repeats(task: MatchTask) -> Iterator[duplicates.Duplicate]:
    """Yield the images of the shard that repeat other unlabeled ones."""
    if not task.repeat_paths:
        return
    sizes = [count_hashes(path)[0] for path in task.hash_paths]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    own_ids = _read_ids(task.hash_paths[task.index])
    kept = _read_repeats(task, starts[task.index], starts[task.index + 1])
    shard_of = np.searchsorted(starts, kept[:, 1], side="right") - 1
    for shard in np.unique(shard_of):
        ids = _read_ids(task.hash_paths[shard])
        for place, keeper, distance in kept[shard_of == shard]:
            yield duplicates.Duplicate(
                image_id=own_ids[place - starts[task.index]].tobytes(),
                kept_id=ids[keeper - starts[shard]].tobytes(),
                kept_split=duplicates.UNLABELED,
                kept_shard=int(shard),
                distance=int(distance),
            )


def _read_repeats(task: MatchTask, start: int, end: int) -> np.ndarray:
    """Return (place, keeper, distance) of a range, each place once."""
    parts = [np.zeros((0, 3), np.int64)]
    for path in task.repeat_paths:
        for batch in predictions.read_batches(path, _REPEATS.names):
            rows = np.stack(
                [batch[name].to_numpy() for name in _REPEATS.names], axis=1
            ).astype(np.int64)
            parts.append(rows[(rows[:, 0] >= start) & (rows[:, 0] < end)])
    rows = np.concatenate(parts)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 2], rows[:, 0]))]
    return rows[np.unique(rows[:, 0], return_index=True)[1]]
