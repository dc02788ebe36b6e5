"""Probabilities that a model of any origin gave, by image: read and checked.

A table of them stands in the place of the first teacher. Its rows are found by
id, or by the path that the source listed; `docs/teachers.md` says how such a
file is written. Names are held in memory, probabilities in a temporary file.
"""

import contextlib
import dataclasses
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from scipy import special

from noisy_student_tf.records import (
    lookups,
    parquet_files,
    predictions,
    schema,
    shards,
)

FLAG = "--self_training.teacher_predictions"

_ID, _PATH = "image_id", "path"
_PROBABILITIES = predictions.PROBABILITIES
_MAX_NAMED = 3
_VALUES_AT_ONCE = 1 << 22
# A softmax may exceed 1 by its rounding.
_MAX_PROBABILITY = 1 + schema.MAX_PROBABILITY_SUM_ERROR
_TINY = 1e-30


@dataclasses.dataclass(frozen=True)
class Given:
    """Probabilities of images.

    Attributes:
        source: The flag with its value, for messages.
        key: The column that names the images.
        names: The id in hex, or the path, of each row; no two are equal.
        probabilities: float32 [num_rows, num_classes], rows sum to 1; on disk.
        fingerprint: Of all files and the temperature: SHA-256 in hex.
        rows: Looks rows up.
    """

    source: str
    key: str
    names: pa.StringArray
    probabilities: np.ndarray
    fingerprint: str
    rows: lookups.Lookup

    def names_of(self, rows: np.ndarray) -> list[str]:
        """Return what some rows, int64 [n], are named."""
        return self.names.take(pa.array(rows)).to_pylist()

    def rows_of(self, index: Mapping[str, pa.Array]) -> np.ndarray:
        """Return the row of each image of an index: int64 [n], -1 for none.

        Args:
            index: Its columns `image_id` and `key`.
        """
        if self.key == _ID:
            return self.rows.of(parquet_files.fixed_bytes(index["image_id"]))
        return self.rows.of(_hashed(index["key"].to_pylist()))


def read(
    pattern: str,
    *,
    class_names: Sequence[str],
    temperature: float = 1.0,
    max_rows: int = 0,
) -> Given:
    """Read and check a table of probabilities.

    Args:
        pattern: A Parquet file, or a pattern of some.
        class_names: Of the labeled images, in their order.
        temperature: p^(1 / temperature), renormalized, is what is returned.
        max_rows: Of each file so many are read; 0: all.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file cannot be read or lacks a column, images are not
            named or named twice, or rows are no probabilities of the classes.
    """
    source = f"{FLAG}={pattern}"
    paths = parquet_files.find(pattern, flag=FLAG)
    key = _common_key(source, paths, class_names)
    counts = [_count_rows(path, max_rows) for path in paths]
    probabilities = _on_disk(sum(counts), len(class_names))
    names: list[pa.Array] = []
    row = 0
    for path, count in zip(paths, counts, strict=True):
        for named, values in _read_batches(path, key, class_names, count):
            _check_probabilities(source, named, values)
            end = row + len(values)
            probabilities[row:end] = _tempered(values, temperature)
            names.append(named)
            row = end
    if not row:
        raise ValueError(f"{source}: there is no row.")
    all_names = pa.concat_arrays(names)
    text = f"{shards.fingerprint(*paths)} {temperature:g}"
    return Given(
        source=source,
        key=key,
        names=all_names,
        probabilities=probabilities,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        rows=_lookup(source, key, names),
    )


def _common_key(
    source: str, paths: Sequence[str], class_names: Sequence[str]
) -> str:
    """Return the column that names the images in all files."""
    keys = set()
    for path in paths:
        with _open(path) as reader:
            columns = reader.schema_arrow.names
            keys.add(_columns(path, columns, class_names)[0])
    if len(keys) > 1:
        raise ValueError(
            f"{source}: some files name images by {_ID!r}, others by "
            f"{_PATH!r}. Use one of both."
        )
    return keys.pop()


def _count_rows(path: str, max_rows: int) -> int:
    with _open(path) as reader:
        count = reader.metadata.num_rows
    return min(count, max_rows) if max_rows else count


def _on_disk(num_rows: int, num_classes: int) -> np.ndarray:
    """Return float32 [num_rows, num_classes] of a file that goes with it."""
    shape = (max(num_rows, 1), num_classes)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)[:num_rows]


def _tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, _TINY)) / temperature
    return special.softmax(logits, axis=1)


def _lookup(source: str, key: str, names: Sequence[pa.Array]) -> lookups.Lookup:
    """Return what finds the row of a name, of which no two are equal."""
    parts = [
        lookups.sortable(
            _from_hex(part) if key == _ID else _hashed(part.to_pylist())
        )
        for part in names
    ]
    ids = np.concatenate(parts)
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    is_repeated = ids[1:] == ids[:-1]
    if is_repeated.any():
        rows = order[1:][is_repeated]
        repeated = pa.concat_arrays(names).take(pa.array(rows)).unique()
        raise ValueError(
            f"{source}: {len(repeated):,} images have several rows: "
            f"{_listed(repeated.to_pylist())}. Leave one of each, or average "
            "them."
        )
    return lookups.Lookup(ids, order.astype(np.int64), -1)


def _from_hex(names: pa.Array) -> np.ndarray:
    flat = np.frombuffer(bytes.fromhex("".join(names.to_pylist())), np.uint8)
    return flat.reshape(-1, schema.ID_BYTES)


def _hashed(paths: Sequence[str]) -> np.ndarray:
    """Return paths as keys of equal length: uint8 [n, 16]."""
    flat = b"".join(
        hashlib.blake2b(path.encode(), digest_size=schema.ID_BYTES).digest()
        for path in paths
    )
    return np.frombuffer(flat, np.uint8).reshape(-1, schema.ID_BYTES)


@contextlib.contextmanager
def _open(path: str) -> Iterator[parquet.ParquetFile]:
    """Open a file, and say of what cannot be read how it is written."""
    try:
        with parquet_files.open_reader(path) as reader:
            yield reader
    except (pa.ArrowInvalid, ValueError) as error:
        if str(error).startswith(FLAG):
            raise
        raise ValueError(
            f"{FLAG}: {path} is no Parquet file of probabilities ({error}). "
            "Write it with pandas' to_parquet or pyarrow's write_table."
        ) from error


def _read_batches(
    path: str, key: str, class_names: Sequence[str], num_rows: int
) -> Iterator[tuple[pa.Array, np.ndarray]]:
    """Yield the names of some images, and their float32 [n, num_classes]."""
    with _open(path) as reader:
        _, wanted = _columns(path, reader.schema_arrow.names, class_names)
        size = max(1, _VALUES_AT_ONCE // len(class_names))
        for batch in reader.iter_batches(
            batch_size=size, columns=[key, *wanted]
        ):
            if not num_rows:
                return
            batch = batch.slice(0, num_rows)
            num_rows -= len(batch)
            names = _names(path, key, batch.column(0))
            values = _values(path, batch, wanted, class_names)
            yield pa.array(names, pa.string()), values


def _columns(
    path: str, columns: Sequence[str], class_names: Sequence[str]
) -> tuple[str, list[str]]:
    """Return the column that names the images, and those of probabilities."""
    key = next((each for each in (_ID, _PATH) if each in columns), "")
    if not key:
        raise ValueError(
            f"{FLAG}: {path} has the columns {_listed(columns)}; needed is "
            f"{_ID!r} (16 bytes, or 32 hex digits) or {_PATH!r} (relative, as "
            "the source lists it: column 'key' of the indexes beside the "
            "shards)."
        )
    if _PROBABILITIES in columns:
        return key, [_PROBABILITIES]
    if missing := [name for name in class_names if name not in columns]:
        raise ValueError(
            f"{FLAG}: {path} has no column {_PROBABILITIES!r} of lists, and "
            f"none of {len(missing)} of the {len(class_names)} classes: "
            f"{_listed(missing)}. Write the lists, or a column for each class "
            "that has its name."
        )
    return key, list(class_names)


def _names(path: str, key: str, column: pa.Array) -> list[str]:
    """Return how rows are named: paths, or ids in hex."""
    if column.null_count:
        raise ValueError(
            f"{FLAG}: {path} has {column.null_count} rows without {key!r}."
        )
    names = column.to_pylist()
    if key == _PATH:
        return [str(name).removeprefix("./") for name in names]
    texts = [
        each.hex() if isinstance(each, bytes) else str(each) for each in names
    ]
    for text in texts:
        if not _is_id(text):
            raise ValueError(
                f"{FLAG}: {path} has the {_ID} {text!r}; accepted are 16 "
                "bytes or 32 hex digits, as predictions and the indexes "
                f"beside the shards have them. Name images by {_PATH!r} where "
                "their ids are not known."
            )
    return texts


def _is_id(text: str) -> bool:
    return len(text) == 2 * schema.ID_BYTES and set(text) <= set(
        "0123456789abcdef"
    )


def _values(
    path: str,
    batch: pa.RecordBatch,
    columns: Sequence[str],
    class_names: Sequence[str],
) -> np.ndarray:
    """Return the numbers of a batch: float32 [num_rows, num_classes]."""
    if list(columns) != [_PROBABILITIES]:
        arrays = [
            batch.column(name).to_numpy(zero_copy_only=False)
            for name in columns
        ]
        return np.stack(arrays, axis=1).astype(np.float32)
    column = batch.column(_PROBABILITIES)
    found = {len(each) for each in column if each.is_valid}
    if column.null_count or found - {len(class_names)}:
        raise ValueError(
            f"{FLAG}: {path} has lists of {sorted(found)} probabilities and "
            f"{column.null_count} empty ones; the labeled images have "
            f"{len(class_names)} classes, in this order: "
            f"{_listed(class_names, 20)}."
        )
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return flat.astype(np.float32).reshape(len(column), len(class_names))


def _check_probabilities(
    source: str, names: pa.Array, probabilities: np.ndarray
) -> None:
    """Refuse rows that are no probabilities, and say what they look like."""
    low, high = probabilities.min(axis=1), probabilities.max(axis=1)
    sums = probabilities.sum(axis=1, dtype=np.float64)
    is_good = schema.are_probabilities(sums, low)
    if is_good.all():
        return
    bad = np.flatnonzero(~is_good)
    named = _listed(names.take(pa.array(bad[:_MAX_NAMED])).to_pylist())
    count = f"{len(bad):,} of {len(names):,} rows"
    if not np.isfinite(sums).all():
        what = "are not finite. Leave such images out"
    elif (low < 0).any() or (high > _MAX_PROBABILITY).any():
        what = (
            f"reach from {low.min():.3g} to {high.max():.3g}: these look like "
            "logits. Write scipy.special.softmax(logits, axis=1)"
        )
    else:
        what = (
            f"do not sum to 1, the first one to {sums[bad[0]]:.3g}. Divide "
            "each row by its sum, if it is of one class out of many"
        )
    raise ValueError(f"{source}: {count} {what}. First: {named}.")


def _listed(names: Sequence[Any], count: int = _MAX_NAMED) -> str:
    shown = ", ".join(str(name) for name in names[:count])
    return shown + (", ..." if len(names) > count else "")
