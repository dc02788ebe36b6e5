"""Images in Parquet files, as Hugging Face's data sets lie on disk.

A column holds pictures' bytes, their paths, or structs of both
(`datasets.Image`). Row groups are read in batches of a few rows.
"""

import bisect
import contextlib
import dataclasses
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.sources import items
from noisy_student_tf import files
from noisy_student_tf.records import parquet_files

USAGE = "parquet:GLOB or parquet:GLOB#image=COLUMN&label=COLUMN"

# The name of the source in ids; the file's name is in the key.
_NAME = "parquet"
_IMAGE_NAMES = ("image", "img", "picture", "photo", "path", "file_name", "file")
_LABEL_NAMES = ("label", "labels", "class", "fine_label", "category", "target")
# Of pictures, which may be of megabytes each.
_ROWS_AT_A_TIME = 16
_LABELS_AT_A_TIME = 65_536

# Hugging Face's files: train-00000-of-00002.parquet.
_SPLIT = re.compile(r"(train|validation|test)-\d+-of-\d+\b.*\.parquet")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns hold what.

    Attributes:
        image: Of the pictures.
        label: Of the labels; empty without.
        class_names: Of numbered labels, where the file names them.
    """

    image: str
    label: str
    class_names: tuple[str, ...] = ()


def open_parquet(argument: str) -> items.Source:
    """Open `parquet:GLOB` or `parquet:DIR`, all Parquet files in it.

    `#image=` and `#label=` choose columns; an empty `label=` leaves the labels
    out. Paths of pictures are relative to their file. Files named as Hugging
    Face does belong to their split; rows without a label are unlabeled.

    Raises:
        FileNotFoundError: No file matches.
        ValueError: A file is no Parquet file, or a column is not there or not
            to be told.
    """
    specification = f"parquet:{argument}"
    _, _, options = argument.partition("#")
    chosen = dict(p.partition("=")[::2] for p in options.split("&") if p)
    paths = expand(specification, argument)
    items.check_file_names(specification, paths)
    columns = {path: find_columns(path, chosen) for path in paths}
    names = _class_names(columns)
    labels = {name: number for number, name in enumerate(names)}
    images = []
    for path, found in columns.items():
        for number, value in enumerate(_read_labels(path, found.label)):
            label = labels.get(str(value))
            if found.class_names and isinstance(value, int):
                # Hugging Face writes -1 where a label is not known.
                label = value if value in range(len(names)) else None
            item = _make_item(path, number, label, found.image)
            if names and label is None:
                item = dataclasses.replace(item, split=items.UNLABELED)
            images.append(item)
    return items.Source(
        specification=specification,
        class_names=names,
        reader=read_rows,
        list_items=lambda: items.Listing(images),
        # Rows of one group are cheapest to read together.
        is_shuffled=True,
    )


def _class_names(columns: Mapping[str, Columns]) -> tuple[str, ...]:
    """Return the files' classes; none unless all files have labels."""
    if not all(each.label for each in columns.values()):
        return ()
    named = {each.class_names for each in columns.values()}
    if len(named) == 1 and (names := named.pop()):
        return names
    return items.sort_class_names(
        str(value)
        for path, each in columns.items()
        for value in _read_labels(path, each.label)
        if value is not None
    )


def list_file(path: str) -> Iterator[items.Item]:
    """Yield a file's pictures, without classes.

    Raises:
        ValueError: See `open_parquet`.
    """
    column = find_columns(path, {"label": ""}).image
    for number, _ in enumerate(_read_labels(path, "")):
        yield _make_item(path, number, None, column)


def _make_item(
    path: str, number: int, label: int | None, column: str
) -> items.Item:
    name = items.base_name(path)
    match = _SPLIT.fullmatch(name)
    return items.make_item(
        _NAME,
        f"{name}/{number}",
        label,
        (path, number, column),
        split=match[1] if match else "",
    )


def expand(specification: str, pattern: str) -> list[str]:
    """Return the files of a folder, its `data/`, or a pattern.

    Raises:
        FileNotFoundError: There are none.
    """
    pattern = pattern.partition("#")[0]
    if not files.is_directory(pattern):
        return items.expand(specification, pattern)
    inside = [
        files.join(directory, name)
        for directory in (pattern, files.join(pattern, "data"))
        if files.is_directory(directory)
        for name in files.list_directory(directory)
        if name.endswith(".parquet")
    ]
    if not inside:
        raise FileNotFoundError(
            f"{specification}: no Parquet file is in the folder or its data/."
        )
    return inside


def find_columns(path: str, chosen: Mapping[str, str]) -> Columns:
    """Find out which columns of a file hold pictures and labels.

    Args:
        path: The file.
        chosen: "image" and "label" -> the name of a column; an empty label:
            none.

    Raises:
        ValueError: It is no Parquet file, or a column is not there or not to
            be told.
    """
    with _open(path) as file:
        schema = file.schema_arrow
    features = _features(schema)
    of_images = [n for n, each in features.items() if each == "Image"]
    image = chosen.get("image") or next(
        (
            name
            for name in (*of_images, *_IMAGE_NAMES, *schema.names)
            if name in schema.names and _may_hold_images(schema.field(name))
        ),
        "",
    )
    label = chosen.get("label")
    if label is None:
        names = {name.lower(): name for name in schema.names if name != image}
        of_labels = [
            n for n, each in features.items() if isinstance(each, list)
        ]
        known = [names[name] for name in _LABEL_NAMES if name in names]
        label = next(iter([*of_labels, *known]), "")
    for name in filter(None, (image or "image", label)):
        if name not in schema.names:
            raise ValueError(
                f"{path}: there is no column {name!r}. The columns are "
                f"{schema.names}; choose with parquet:{path}"
                "#image=COLUMN&label=COLUMN."
            )
    if label and pa.types.is_nested(schema.field(label).type):
        raise ValueError(
            f"{path}: the column {label!r} holds {schema.field(label).type}; "
            "a label is a number or a text, one an image."
        )
    class_names = features.get(label)
    return Columns(
        image,
        label,
        tuple(class_names) if isinstance(class_names, list) else (),
    )


def _features(schema: pa.Schema) -> dict[str, str | list[str]]:
    """Return what Hugging Face says of columns: a type, or class names."""
    metadata = (schema.metadata or {}).get(b"huggingface", b"{}")
    features = json.loads(metadata).get("info", {}).get("features", {})
    return {
        name: each.get("names") or each.get("_type", "")
        for name, each in features.items()
        if isinstance(each, dict)
    }


def _may_hold_images(field: pa.Field) -> bool:
    if pa.types.is_struct(field.type):
        return {"bytes", "path"} & {inner.name for inner in field.type} != set()
    if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
        return True
    is_text = pa.types.is_string(field.type)
    return is_text and field.name.lower() in _IMAGE_NAMES


@contextlib.contextmanager
def _open(path: str) -> Iterator[pq.ParquetFile]:
    """Open a file.

    Raises:
        ValueError: It is no Parquet file, or a damaged one.
    """
    with parquet_files.opened(path, "rb") as source:
        try:
            file = pq.ParquetFile(source)
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"{path}: no Parquet file, or a damaged one ({error}). Fetch "
                "it again."
            ) from error
        yield file


def _read_labels(path: str, column: str) -> Iterator[Any]:
    """Yield the label of every row; None without a column."""
    with _open(path) as file:
        if not column:
            yield from itertools.repeat(None, file.metadata.num_rows)
            return
        for batch in file.iter_batches(_LABELS_AT_A_TIME, columns=[column]):
            yield from batch.column(0).to_pylist()


@contextlib.contextmanager
def read_rows(_: tuple[items.Item, ...]) -> Iterator[items.ReadItem]:
    """Yield what returns a row's picture; cheapest in the files' order.

    A locator is (path, number of the row, column).
    """
    with contextlib.ExitStack() as stack:
        current: tuple[str, str] | None = None
        rows: _Rows | None = None

        def read(item: items.Item) -> bytes:
            nonlocal current, rows
            path, number, column = item.locator
            if rows is None or current != (path, column):
                stack.close()
                current = (path, column)
                rows = _Rows(stack.enter_context(_open(path)), column)
            return _picture(path, rows.value(number))

        yield read


def _picture(path: str, value: Any) -> bytes:
    """Return a picture's bytes.

    Raises:
        FileNotFoundError: There are none, and no file of its path.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        return files.read_bytes(files.join(files.directory_name(path), value))
    if value is None:
        raise FileNotFoundError(f"{path}: the row has no picture.")
    return value


class _Rows:
    """A column, read forward in batches within its row groups."""

    def __init__(self, file: pq.ParquetFile, column: str) -> None:
        """Begin before the first row."""
        self._file, self._column = file, column
        sizes = (
            file.metadata.row_group(group).num_rows
            for group in range(file.num_row_groups)
        )
        self._starts = [0, *itertools.accumulate(sizes)]
        self._group = -1
        self._first, self._values = 0, pa.array([])
        self._batches: Iterator[pa.RecordBatch] = iter(())

    def value(self, number: int) -> Any:
        """Return what a row holds."""
        group = bisect.bisect_right(self._starts, number) - 1
        if group != self._group or number < self._first:
            self._group, self._first = group, self._starts[group]
            self._values = pa.array([])
            self._batches = self._file.iter_batches(
                _ROWS_AT_A_TIME, row_groups=[group], columns=[self._column]
            )
        while number >= self._first + len(self._values):
            self._first += len(self._values)
            self._values = next(self._batches).column(0)
        return self._values[number - self._first].as_py()
