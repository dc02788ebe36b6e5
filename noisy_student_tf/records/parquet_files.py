"""Parquet files wherever `files` reaches, their ids and fixed-size columns."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from noisy_student_tf import files
from noisy_student_tf.records import schema

_ROWS_PER_BATCH = 1 << 17


class _RemoteFile(io.RawIOBase):
    """A file of `files` with the whole interface that Arrow asks for."""

    def __init__(self, path: str, mode: str) -> None:
        super().__init__()
        self._file = files.open_file(path, mode)
        self._writes = "w" in mode

    def readable(self) -> bool:
        return not self._writes

    def writable(self) -> bool:
        return self._writes

    seekable = readable

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def write(self, content: Any) -> int:
        self._file.write(bytes(content))
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def find(pattern: str, *, flag: str) -> list[str]:
    """Return the files that a user names.

    Args:
        pattern: One or several.
        flag: That names them.

    Raises:
        FileNotFoundError: There is none.
    """
    paths = files.glob(pattern)
    if not paths:
        raise FileNotFoundError(
            f"{flag}={pattern}: no file matches. Accepted are a Parquet file "
            "and patterns such as predictions-*.parquet."
        )
    return paths


@contextlib.contextmanager
def opened(path: str, mode: str) -> Iterator[Any]:
    """Open a file for Arrow: "rb" or "wb"."""
    if files.is_remote(path):
        with _RemoteFile(path, mode) as file:
            yield file
    else:
        # Arrow's own files release the interpreter while they read.
        with pa.OSFile(path, mode) as file:
            yield file


@contextlib.contextmanager
def open_writer(
    path: str, columns: pa.Schema, *, compression: str | dict[str, str] = "NONE"
) -> Iterator[parquet.ParquetWriter]:
    """Yield a writer; the file appears when the block succeeds.

    `compression` is one codec, or one per column.
    """
    with files.temporary_name(path) as temporary:
        with opened(temporary, "wb") as file:
            # Ids and confidences hardly repeat: a dictionary of them would
            # only cost time.
            with parquet.ParquetWriter(
                file, columns, use_dictionary=False, compression=compression
            ) as writer:
                yield writer


@contextlib.contextmanager
def open_reader(path: str) -> Iterator[parquet.ParquetFile]:
    """Yield a Parquet file opened for reading.

    Raises:
        ValueError: The file is damaged.
    """
    with opened(path, "rb") as file:
        try:
            reader = parquet.ParquetFile(file)
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"{path} is no readable Parquet file ({error}). Remove it and "
                "run the stage that writes it again."
            ) from error
        with reader:
            yield reader


def write_table(path: str, table: pa.Table) -> None:
    """Write a whole file; it appears complete or not at all."""
    with open_writer(path, table.schema) as writer:
        writer.write_table(table)


def read_table(path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a whole file, all columns or some.

    Raises:
        ValueError: The file is damaged, or a column is missing.
    """
    with open_reader(path) as reader:
        check_columns(reader, path, columns or ())
        return reader.read(columns)


def read_columns(path: str, columns: Sequence[str]) -> dict[str, pa.Array]:
    """Read some columns of a whole file, each as one array.

    Raises:
        ValueError: The file is damaged, or a column is missing.
    """
    table = read_table(path, columns)
    return {name: table[name].combine_chunks() for name in columns}


def read_batches(
    path: str, columns: Sequence[str], *, rows_per_batch: int = 0
) -> Iterator[dict[str, pa.Array]]:
    """Yield columns of a Parquet file in batches of bounded size.

    Args:
        path: Of the file.
        columns: What is read of it.
        rows_per_batch: 0: a number that suits a few columns of numbers.

    Raises:
        ValueError: A column is missing.
    """
    with open_reader(path) as reader:
        check_columns(reader, path, columns)
        for batch in reader.iter_batches(
            batch_size=rows_per_batch or _ROWS_PER_BATCH, columns=list(columns)
        ):
            yield {name: batch.column(name) for name in columns}


def check_columns(
    reader: parquet.ParquetFile, path: str, columns: Sequence[str]
) -> None:
    """Check that a file has columns.

    Raises:
        ValueError: Some are missing.
    """
    names = reader.schema_arrow.names
    if missing := set(columns) - set(names):
        raise ValueError(
            f"{path} has no column {sorted(missing)}, only {names}."
        )


def read_metadata(path: str) -> dict[str, str]:
    """Return the text that the writer's schema carried as metadata."""
    with open_reader(path) as reader:
        metadata = reader.schema_arrow.metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items()}


def fixed_bytes_array(rows: np.ndarray) -> pa.Array:
    """Return an Arrow column of fixed-size byte strings.

    Args:
        rows: uint8 [num_rows, width].
    """
    num_rows, width = rows.shape
    content = pa.py_buffer(np.ascontiguousarray(rows, np.uint8))
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), num_rows, [None, content]
    )


def fixed_bytes(column: pa.Array) -> np.ndarray:
    """Return a column of fixed-size byte strings as uint8 [num_rows, width].

    Raises:
        ValueError: The column holds strings of varying length or nulls.
    """
    if not pa.types.is_fixed_size_binary(column.type) or column.null_count:
        raise ValueError(
            f"A column is {column.type} with {column.null_count} nulls; "
            "accepted is fixed_size_binary without nulls."
        )
    width = column.type.byte_width
    rows = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, width)
    return rows[column.offset : column.offset + len(column)]


def fixed_lists_array(rows: np.ndarray) -> pa.Array:
    """Return an Arrow column of fixed-size lists.

    Args:
        rows: Any dtype [num_rows, width].
    """
    return pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(rows).reshape(-1)), rows.shape[1]
    )


def fixed_lists(column: pa.Array) -> np.ndarray:
    """Return a column of fixed-size lists as an array [num_rows, width]."""
    return (
        column.flatten()
        .to_numpy(zero_copy_only=False)
        .reshape(len(column), column.type.list_size)
    )


def image_ids(column: pa.Array, path: str) -> np.ndarray:
    """Return a column of image ids: uint8 [num_rows, 16].

    Args:
        column: What was read.
        path: Where, for errors.

    Raises:
        ValueError: The ids are not 16 bytes each.
    """
    if column.type != pa.binary(schema.ID_BYTES) or column.null_count:
        raise ValueError(
            f"{path}: the ids are {column.type} with {column.null_count} "
            f"nulls; accepted is fixed_size_binary[{schema.ID_BYTES}] without "
            "nulls."
        )
    return fixed_bytes(column)
