"""What a served model said, picture by picture: a folder of Parquet files.

`image_id` (16 bytes, BLAKE2b of the picture), `time` (UTC), `model` (the
fingerprint of its weights), `class` (int32), `confidence` and `energy`
(float32). There are no pictures in it. Files are written whole, never changed,
and read together, in any order.
"""

import dataclasses
import datetime
import hashlib
import os
import uuid
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from noisy_student_tf import files
from noisy_student_tf.records import parquet_files, schema

_COLUMNS = pa.schema(
    [
        ("image_id", pa.binary(schema.ID_BYTES)),
        ("time", pa.timestamp("us", "UTC")),
        ("model", pa.string()),
        ("class", pa.int32()),
        ("confidence", pa.float32()),
        ("energy", pa.float32()),
    ]
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One picture.

    Attributes:
        image_id: 16 bytes.
        time: When it was answered, with its zone.
        model: Fingerprint of the weights.
        class_index: Most probable class.
        confidence: Its probability, in [0, 1].
        energy: Minus the logarithm of the sum of the logits' exponentials.
    """

    image_id: bytes
    time: datetime.datetime
    model: str
    class_index: int
    confidence: float
    energy: float


@dataclasses.dataclass(frozen=True)
class Rows:
    """What some files hold, by column.

    Attributes:
        ids: uint8 [num_rows, 16].
        times: datetime64[us] [num_rows], UTC.
        models: str [num_rows].
        classes: int32 [num_rows].
        confidences: float32 [num_rows] in [0, 1].
        energies: float32 [num_rows].
    """

    ids: np.ndarray
    times: np.ndarray
    models: np.ndarray
    classes: np.ndarray
    confidences: np.ndarray
    energies: np.ndarray

    def where(self, kept: np.ndarray) -> "Rows":
        """Return some rows: bool or int [num_kept]."""
        columns = (getattr(self, f.name) for f in dataclasses.fields(self))
        return Rows(*(column[kept] for column in columns))


def image_id(encoded: bytes) -> bytes:
    """Return the id of a picture: the same for the same bytes."""
    return hashlib.blake2b(encoded, digest_size=schema.ID_BYTES).digest()


def write(directory: str, rows: Sequence[Row]) -> str:
    """Write rows as another file of a folder; return its path."""
    now = datetime.datetime.now(datetime.UTC)
    # Several servers may write here.
    name = f"predictions-{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}.parquet"
    path = files.join(directory, name)
    columns = zip(*(dataclasses.astuple(row) for row in rows), strict=True)
    arrays = [
        pa.array(list(values), field.type)
        for values, field in zip(columns, _COLUMNS, strict=True)
    ]
    files.make_directories(directory)
    with parquet_files.open_writer(
        path, _COLUMNS, compression="ZSTD"
    ) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=_COLUMNS))
    return path


def read(directory: str) -> Rows:
    """Read all files of a folder, in the order of time.

    Raises:
        FileNotFoundError: It has none.
        ValueError: A file is damaged, or none of these.
    """
    paths = files.glob(files.join(directory, "predictions-*.parquet"))
    if not paths:
        raise FileNotFoundError(
            f"{directory}: no predictions-*.parquet. Serve with python -m "
            f"run_scripts.serve --export=... --prediction_log={directory}; "
            "what was answered is there within a minute."
        )
    tables = [parquet_files.read_table(path, _COLUMNS.names) for path in paths]
    table = pa.concat_tables(tables).combine_chunks()
    columns = {name: table[name].combine_chunks() for name in _COLUMNS.names}
    where = os.path.basename(directory)
    rows = Rows(
        ids=parquet_files.image_ids(columns["image_id"], where),
        times=columns["time"].to_numpy(zero_copy_only=False),
        models=columns["model"].to_numpy(zero_copy_only=False).astype(str),
        classes=columns["class"].to_numpy(),
        confidences=columns["confidence"].to_numpy(),
        energies=columns["energy"].to_numpy(),
    )
    return rows.where(np.argsort(rows.times, kind="stable"))


def once_each(rows: Rows) -> Rows:
    """Return every picture's first row: the same one may be sent often."""
    keys = np.ascontiguousarray(rows.ids).view(f"V{schema.ID_BYTES}").ravel()
    _, first = np.unique(keys, return_index=True)
    return rows.where(np.sort(first))
