"""Unlabeled images that are left out as duplicates: files and their reading.

A directory of duplicates has one Parquet file per unlabeled shard.
"""

import dataclasses
from collections.abc import Iterator

import pyarrow as pa

from noisy_student_tf import files
from noisy_student_tf.records import parquet_files, predictions, schema

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
    for batch in predictions.read_batches(path, COLUMNS.names):
        columns = (batch[name].to_pylist() for name in COLUMNS.names)
        for row in zip(*columns, strict=True):
            yield Duplicate(*row)


def left_out(directory: str, index: int, count: int) -> frozenset[bytes]:
    """Return the ids of one shard's images that are left out."""
    path = files.join(directory, file_name(index, count))
    return frozenset(
        image_id
        for batch in predictions.read_batches(path, ["image_id"])
        for image_id in batch["image_id"].to_pylist()
    )


def write(path: str, rows: list[Duplicate]) -> None:
    """Write the images of one shard that are left out."""
    columns = zip(*map(dataclasses.astuple, rows), strict=True)
    table = pa.table(
        [
            pa.array(column, field.type)
            for column, field in zip(
                list(columns) or [()] * len(COLUMNS), COLUMNS, strict=True
            )
        ],
        schema=COLUMNS,
    )
    with parquet_files.open_writer(path, COLUMNS) as writer:
        writer.write_table(table)
