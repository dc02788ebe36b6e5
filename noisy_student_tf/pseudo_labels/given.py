"""Probabilities that a model of any origin gave, by image: read and checked.

A table of them stands in the place of the first teacher. Its rows are found by
id, or by the path that the source listed; `docs/teachers.md` says how such a
file is written.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
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
        probabilities: float32 [num_rows, num_classes], rows sum to 1.
        fingerprint: Of all files and the temperature: SHA-256 in hex.
        rows: Looks rows up.
    """

    source: str
    key: str
    names: Sequence[str]
    probabilities: np.ndarray
    fingerprint: str
    rows: lookups.Lookup

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
    read_files = [_read_file(path, class_names, max_rows) for path in paths]
    keys = {key for key, _, _ in read_files}
    if len(keys) > 1:
        raise ValueError(
            f"{source}: some files name images by {_ID!r}, others by "
            f"{_PATH!r}. Use one of both."
        )
    names = [name for _, part, _ in read_files for name in part]
    probabilities = np.concatenate([part for _, _, part in read_files])
    _check_names(source, names)
    _check_probabilities(source, names, probabilities)
    if temperature != 1:
        logits = np.log(np.maximum(probabilities, _TINY)) / temperature
        probabilities = special.softmax(logits, axis=1)
    text = f"{shards.fingerprint(*paths)} {temperature:g}"
    key = keys.pop()
    return Given(
        source=source,
        key=key,
        names=names,
        probabilities=probabilities,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        rows=_lookup(key, names),
    )


def _lookup(key: str, names: Sequence[str]) -> lookups.Lookup:
    if key == _ID:
        flat = np.frombuffer(bytes.fromhex("".join(names)), np.uint8)
        ids = lookups.sortable(flat.reshape(-1, schema.ID_BYTES))
    else:
        ids = lookups.sortable(_hashed(names))
    order = np.argsort(ids, kind="stable")
    return lookups.Lookup(ids[order], order.astype(np.int64), -1)


def _hashed(paths: Sequence[str]) -> np.ndarray:
    """Return paths as keys of equal length: uint8 [n, 16]."""
    flat = b"".join(
        hashlib.blake2b(path.encode(), digest_size=schema.ID_BYTES).digest()
        for path in paths
    )
    return np.frombuffer(flat, np.uint8).reshape(-1, schema.ID_BYTES)


def _read_file(
    path: str, class_names: Sequence[str], max_rows: int
) -> tuple[str, list[str], np.ndarray]:
    """Return what names the images, their names, and the probabilities."""
    names: list[str] = []
    parts = [np.zeros((0, len(class_names)), np.float32)]
    try:
        with parquet_files.open_reader(path) as reader:
            columns = reader.schema_arrow.names
            key, wanted = _columns(path, columns, class_names)
            size = max(1, _VALUES_AT_ONCE // len(class_names))
            for batch in reader.iter_batches(
                batch_size=min(size, max_rows or size), columns=[key, *wanted]
            ):
                names += _names(path, key, batch.column(0))
                parts.append(_values(path, batch, wanted, class_names))
                if max_rows and len(names) >= max_rows:
                    break
    except (pa.ArrowInvalid, ValueError) as error:
        if str(error).startswith(FLAG):
            raise
        raise ValueError(
            f"{FLAG}: {path} is no Parquet file of probabilities ({error}). "
            "Write it with pandas' to_parquet or pyarrow's write_table."
        ) from error
    return key, names, np.concatenate(parts)


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


def _check_names(source: str, names: Sequence[str]) -> None:
    if len(set(names)) == len(names):
        return
    unique, counts = np.unique(np.array(names), return_counts=True)
    repeated = unique[counts > 1].tolist()
    raise ValueError(
        f"{source}: {len(repeated):,} images have several rows: "
        f"{_listed(repeated)}. Leave one of each, or average them."
    )


def _check_probabilities(
    source: str, names: Sequence[str], probabilities: np.ndarray
) -> None:
    """Refuse rows that are no probabilities, and say what they look like."""
    if not len(names):
        raise ValueError(f"{source}: there is no row.")
    low, high = probabilities.min(axis=1), probabilities.max(axis=1)
    sums = probabilities.sum(axis=1, dtype=np.float64)
    is_good = schema.are_probabilities(sums, low)
    if is_good.all():
        return
    bad = np.flatnonzero(~is_good)
    named = _listed([names[row] for row in bad[:_MAX_NAMED]])
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
