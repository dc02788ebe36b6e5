"""What is done with one shard in the search for duplicates."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from data_prep.duplicates import near_hashes, perceptual
from data_prep.sources import tfrecords
from noisy_student_tf import files
from noisy_student_tf.records import (
    duplicates,
    parquet_files,
    schema,
)

_REPEATS = ("place", "kept", "distance")
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
    hashes = [
        perceptual.hash_picture(
            schema.stored_bytes(example, schema.IMAGE), min_side=task.min_side
        )
        for _, _, example in tfrecords.read_examples(task.records_path)
    ]
    ids, starts = _read_index(task.index_path)
    if len(ids) != len(hashes):
        raise ValueError(
            f"{task.records_path} has {len(hashes)} records, but its index "
            f"{task.index_path} has {len(ids)}. Build the directory again."
        )
    table = pa.table(
        {
            "image_id": parquet_files.fixed_bytes_array(ids),
            "sha256_start": starts,
            "perceptual_hash": pa.array(hashes, pa.uint64()),
        },
        metadata={"split": task.split, "shard": str(task.shard)},
    )
    parquet_files.write_table(task.output, table)


def _read_index(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Return ids uint8 [n, 16], and the start of the SHA-256 as uint64 [n]."""
    columns = parquet_files.read_columns(path, ["image_id", "image_sha256"])
    digests = parquet_files.fixed_bytes(columns["image_sha256"])
    return parquet_files.fixed_bytes(columns["image_id"]), _first_word(digests)


def _read_ids(path: str) -> np.ndarray:
    """Return the ids of a file of hashes: uint8 [n, 16]."""
    columns = parquet_files.read_columns(path, ["image_id"])
    return parquet_files.fixed_bytes(columns["image_id"])


def _first_word(rows: np.ndarray) -> np.ndarray:
    """Return the first 8 bytes: uint8 [n, at least 8] -> uint64 [n]."""
    words = np.ascontiguousarray(rows[:, :8]).view(">u8")[:, 0]
    return words.astype(np.uint64)


def count_hashes(path: str) -> tuple[int, int]:
    """Return the images of a file of hashes, and how many have a hash."""
    column = parquet_files.read_table(path, ["perceptual_hash"])[0]
    return len(column), len(column) - column.null_count


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
    parts = []
    start = 0
    for number, path in enumerate(paths):
        columns = parquet_files.read_columns(path, ["image_id", column])
        found = columns[column]
        rows = np.flatnonzero(found.is_valid())
        parts.append(
            (
                parquet_files.fixed_bytes(columns["image_id"])[rows],
                found.drop_null().to_numpy(),
                start + rows,
                np.full(len(rows), number, np.int32),
            )
        )
        start += len(found)
    return _Hashes(*map(np.concatenate, zip(*parts, strict=True)))


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
            images.places[losers],
            images.places[keepers],
            apart.astype(np.int32),
        ],
        names=_REPEATS,
    )
    parquet_files.write_table(task.output, table)


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


def plan_matches(
    hash_paths: Sequence[str],
    labeled_paths: Sequence[str],
    repeat_paths: Sequence[str],
    *,
    directory: str,
    max_bits: int,
) -> list[MatchTask]:
    """Plan the comparison of each unlabeled shard; see `MatchTask`."""
    count = len(hash_paths)
    return [
        MatchTask(
            index=index,
            hash_paths=tuple(hash_paths),
            labeled_paths=tuple(labeled_paths),
            repeat_paths=tuple(repeat_paths),
            max_bits=max_bits,
            output=files.join(directory, duplicates.file_name(index, count)),
        )
        for index in range(count)
    ]


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
        columns = parquet_files.read_columns(path, _REPEATS)
        rows = np.stack([*columns.values()], axis=1).astype(np.int64)
        parts.append(rows[(rows[:, 0] >= start) & (rows[:, 0] < end)])
    rows = np.concatenate(parts)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 2], rows[:, 0]))]
    return rows[np.unique(rows[:, 0], return_index=True)[1]]
