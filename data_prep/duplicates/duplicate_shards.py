"""What is done with one shard in the search for duplicates."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from data_prep.duplicates import near_hashes, perceptual
from data_prep.shards import progress
from data_prep.sources import tfrecords
from noisy_student_tf.records import duplicates, parquet_files, schema

_REPEATS = ("place", "kept", "distance")
# Instead of a mask: whole files are compared.
_IDENTICAL = 0


def write_hashes(
    output: str,
    *,
    records_path: str,
    index_path: str,
    split: str,
    shard: int,
    min_side: int,
) -> None:
    """Hash the images of a shard, whose index has them in the same order.

    Raises:
        ValueError: The shard is damaged, or not that of the index.
    """
    hashes = []
    for _, _, example in tfrecords.read_examples(records_path):
        picture = schema.stored_bytes(example, schema.IMAGE)
        hashes.append(perceptual.hash_picture(picture, min_side=min_side))
        progress.advance(1)
    ids, starts = _read_index(index_path)
    if len(ids) != len(hashes):
        raise ValueError(
            f"{records_path} has {len(hashes)} records, but its index "
            f"{index_path} has {len(ids)}. Build the directory again."
        )
    table = pa.table(
        {
            "image_id": parquet_files.fixed_bytes_array(ids),
            "sha256_start": starts,
            "perceptual_hash": pa.array(hashes, pa.uint64()),
        },
        metadata={"split": split, "shard": str(shard)},
    )
    parquet_files.write_table(output, table)


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


def repeat_masks(max_bits: int) -> list[int]:
    """Return what `write_repeats` must be called for to find every repeat."""
    return [_IDENTICAL, *near_hashes.masks(max_bits)]


def write_repeats(
    output: str, *, hash_paths: Sequence[str], mask: int, max_bits: int
) -> None:
    """Write which images repeat one whose id begins with less.

    Holds about 100 bytes of every unlabeled image in memory.

    `mask` is one of `repeat_masks`: where hashes must agree.
    """
    column = "perceptual_hash"
    if mask == _IDENTICAL:
        column, mask, max_bits = "sha256_start", (1 << 64) - 1, 0
    images = _read_hashes(hash_paths, column)
    losers, keepers = near_hashes.repeated(
        images.hashes, _first_word(images.ids), mask=mask, max_bits=max_bits
    )
    apart = near_hashes.distances(images.hashes[losers], images.hashes[keepers])
    table = pa.table(
        [images.places[losers], images.places[keepers], apart.astype(np.int32)],
        names=_REPEATS,
    )
    parquet_files.write_table(output, table)


def write_matches(
    output: str,
    *,
    index: int,
    hash_paths: Sequence[str],
    labeled_paths: Sequence[str],
    repeat_paths: Sequence[str],
    max_bits: int,
) -> None:
    """Write which images of a shard are left out, and what they repeat.

    `repeat_paths` are what `write_repeats` wrote, none where repeats stay.
    """
    repeats = _repeats(index, hash_paths, repeat_paths) if repeat_paths else ()
    found = {each.image_id: each for each in repeats}
    # What is labeled or held out is the better reason.
    matches = _matches(hash_paths[index], labeled_paths, max_bits)
    found.update((each.image_id, each) for each in matches)
    rows = sorted(found.values(), key=lambda each: each.image_id)
    duplicates.write(output, rows)


def _matches(
    path: str, labeled_paths: Sequence[str], max_bits: int
) -> Iterator[duplicates.Duplicate]:
    """Yield the images of a shard that repeat labeled ones."""
    images = _read_hashes([path])
    labeled = _read_hashes(labeled_paths)
    origins = [parquet_files.read_metadata(each) for each in labeled_paths]
    places, apart = near_hashes.nearest(
        images.hashes, labeled.hashes, max_bits=max_bits
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


def _repeats(
    index: int, hash_paths: Sequence[str], repeat_paths: Sequence[str]
) -> Iterator[duplicates.Duplicate]:
    """Yield the images of a shard that repeat other unlabeled ones."""
    sizes = [count_hashes(path)[0] for path in hash_paths]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    own_ids = _read_ids(hash_paths[index])
    kept = _read_repeats(repeat_paths, starts[index], starts[index + 1])
    shard_of = np.searchsorted(starts, kept[:, 1], side="right") - 1
    for shard in np.unique(shard_of):
        ids = _read_ids(hash_paths[shard])
        for place, keeper, distance in kept[shard_of == shard]:
            yield duplicates.Duplicate(
                image_id=own_ids[place - starts[index]].tobytes(),
                kept_id=ids[keeper - starts[shard]].tobytes(),
                kept_split=duplicates.UNLABELED,
                kept_shard=int(shard),
                distance=int(distance),
            )


def _read_repeats(paths: Sequence[str], start: int, end: int) -> np.ndarray:
    """Return (place, keeper, distance) of a range, each place once."""
    parts = [np.zeros((0, 3), np.int64)]
    for path in paths:
        columns = parquet_files.read_columns(path, _REPEATS)
        rows = np.stack([*columns.values()], axis=1).astype(np.int64)
        parts.append(rows[(rows[:, 0] >= start) & (rows[:, 0] < end)])
    rows = np.concatenate(parts)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 2], rows[:, 0]))]
    return rows[np.unique(rows[:, 0], return_index=True)[1]]
