"""The index beside each shard: ids, hashes and labels, without pictures.

A shard is finished if and only if its index exists; what was left out of the
shard stands in the index's metadata, so that a restart forgets nothing.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from noisy_student_tf import files
from noisy_student_tf.records import parquet_files, schema

_METADATA_KEY = b"noisy_student"
_HASH_BYTES = hashlib.sha256().digest_size

INDEX_SCHEMA = pa.schema(
    [
        ("image_id", pa.binary(schema.ID_BYTES)),
        ("image_sha256", pa.binary(_HASH_BYTES)),
        ("label", pa.int64()),
        ("key", pa.string()),
    ]
)

TRUTH = "truth.parquet"
TRUTH_SCHEMA = pa.schema(
    [("image_id", pa.binary(schema.ID_BYTES)), ("label", pa.int64())]
)


@dataclasses.dataclass(frozen=True)
class ShardSummary:
    """What became of the images of one shard's plan.

    Attributes:
        sha256: Of the shard's file, in hex; empty for foreign files.
        corrupt: `{"key", "reason"}` of the pictures that could not be used.
        excluded: Keys of pictures left out as copies of labeled ones.
        num_same_id: Pictures left out as labeled ones by their ids.
        class_names: Label (as text) -> name, where the records tell it.
    """

    sha256: str = ""
    corrupt: list[dict[str, str]] = dataclasses.field(default_factory=list)
    excluded: list[str] = dataclasses.field(default_factory=list)
    num_same_id: int = 0
    class_names: dict[str, str] = dataclasses.field(default_factory=dict)


def write_index(
    path: str, *, rows: list[tuple[Any, ...]], summary: ShardSummary
) -> None:
    """Write a shard's index.

    Args:
        path: See `shards.index_name`.
        rows: (image_id, image_sha256, label or None, key) in the shard's
            order.
        summary: What was left out.
    """
    metadata = json.dumps(dataclasses.asdict(summary)).encode()
    _write(path, INDEX_SCHEMA.with_metadata({_METADATA_KEY: metadata}), rows)


def write_truth(path: str, rows: list[tuple[bytes, int]]) -> None:
    """Write the true labels of unlabeled images, as (image_id, label)."""
    _write(path, TRUTH_SCHEMA, rows)


def _write(
    path: str, table_schema: pa.Schema, rows: list[tuple[Any, ...]]
) -> None:
    table = pa.Table.from_pylist(
        [dict(zip(table_schema.names, row, strict=True)) for row in rows],
        schema=table_schema,
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    files.write_bytes(path, buffer.getvalue())


def read_summary(table: pa.Table) -> ShardSummary:
    """Return the summary in an index's metadata."""
    return ShardSummary(**json.loads(table.schema.metadata[_METADATA_KEY]))


def read_column(paths: Sequence[str], column: str) -> pa.ChunkedArray:
    """Return one column of several indexes, one after the other."""
    chunks: list[pa.Array] = []
    for path in paths:
        chunks += parquet_files.read_table(path, [column])[column].chunks
    return pa.chunked_array(chunks, INDEX_SCHEMA.field(column).type)


def read_ids(paths: Sequence[str]) -> frozenset[bytes]:
    """Return the ids of all images of several indexes."""
    return frozenset(read_column(paths, "image_id").to_pylist())
