"""Unlabeled images that are left out as duplicates: files and their reading.

A directory of duplicates has one Parquet file per unlabeled shard.
"""

import dataclasses
from collections.abc import Iterator

import pyarrow as pa

from noisy_student_tf import files
from noisy_student_tf.records import parquet_files, schema

# The split of what an unlabeled image repeats, where that is unlabeled, too.
UNLABELED = "unlabeled"

COLUMNS = pa.schema(
    [
        ("image_id", pa.binary(schema.ID_BYTES)),
        ("kept_id", pa.binary(schema.ID_BYTES)),
        ("kept_split", pa.string()),
        ("kept_shard", pa.int32()),
        ("distance", pa.int32()),
    ]
)


@dataclasses.dataclass(frozen=True)
class Duplicate:
    """An unlabeled image that is left out.

    Attributes:
        image_id: 16 bytes.
        kept_id: The image that it repeats.
        kept_split: train, validation, test or unlabeled.
        kept_shard: Number of the shard that holds the other image.
        distance: Bits in which their perceptual hashes differ.
    """

    image_id: bytes
    kept_id: bytes
    kept_split: str
    kept_shard: int
    distance: int


def file_name(index: int, count: int) -> str:
    """Return `duplicates-00003-of-00008.parquet`."""
    return f"duplicates-{index:05d}-of-{count:05d}.parquet"


def read(directory: str, index: int, count: int) -> Iterator[Duplicate]:
    """Yield the images of one shard that are left out."""
    path = files.join(directory, file_name(index, count))
    for row in parquet_files.read_table(path).to_pylist():
        yield Duplicate(**row)


def left_out(directory: str, index: int, count: int) -> frozenset[bytes]:
    """Return the ids of one shard's images that are left out."""
    path = files.join(directory, file_name(index, count))
    table = parquet_files.read_table(path, ["image_id"])
    return frozenset(table["image_id"].to_pylist())


def write(path: str, rows: list[Duplicate]) -> None:
    """Write the images of one shard that are left out."""
    table = pa.Table.from_pylist(
        [dataclasses.asdict(row) for row in rows], schema=COLUMNS
    )
    parquet_files.write_table(path, table)
