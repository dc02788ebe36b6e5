"""Images listed by a table of paths, and of labels if it has them."""

import collections
import dataclasses
import functools
import statistics
from collections.abc import Iterator, Sequence

from absl import logging

from data_prep.sources import folders, items, tables
from noisy_student_tf import files

USAGE = "csv:FILE or csv:FILE#path=COLUMN&label=COLUMN"

_NUM_NAMED = 5


@dataclasses.dataclass(frozen=True)
class _Entry:
    """An image of the table: its label, and the line that names it first."""

    label: str | None
    line: int


def open_csv(argument: str) -> items.Source:
    """Open `csv:FILE`: a table of paths, and of labels if it has them.

    Columns are parted by commas, semicolons, tabs, pipes or spaces. Paths are
    relative to the table. `#path=` and `#label=` choose columns by their
    headings or numbers from 1; an empty `label=` leaves the labels out. Columns
    of numbers that sum to 1 are soft labels; their most probable class is
    taken.

    Raises:
        FileNotFoundError: The table is missing.
        ValueError: It is not understood, or contradicts itself.
    """
    specification = f"csv:{argument}"
    path, chosen = _parse(argument)
    if not files.exists(path) or files.is_directory(path):
        raise FileNotFoundError(f"{specification}: there is no such file.")
    directory = path.rpartition("/")[0]
    table = tables.read(
        specification,
        files.read_bytes(path),
        path_column=chosen.get("path", ""),
        # Asked again and again of the first lines.
        exists=functools.cache(
            lambda key: _is_file(files.join(directory, key))
        ),
    )
    entries = _entries(table, _labels(table, chosen.get("label")))
    class_names = items.sort_class_names(
        entry.label for entry in entries.values() if entry.label is not None
    )
    return items.Source(
        specification=specification,
        class_names=class_names,
        reader=folders.read_files,
        list_items=lambda: _list(path, table, entries, class_names),
    )


def _parse(argument: str) -> tuple[str, dict[str, str]]:
    """Split `FILE#path=COLUMN&label=COLUMN`."""
    path, _, options = argument.rpartition("#")
    parts = [part.partition("=") for part in options.split("&")]
    if path and all(name in ("path", "label") for name, _, _ in parts):
        return path, {name: value for name, _, value in parts}
    return argument, {}


def _labels(table: tables.Table, chosen: str | None) -> list[str | None]:
    """Return the label of every line."""
    if chosen is None:
        soft = tables.soft_labels(table)
        if soft is not None:
            return [*_most_probable(table, soft)]
        column = tables.label_column(table)
    else:
        column = table.column(chosen) if chosen else None
    if column is None:
        return [None] * len(table.lines)
    return [line.fields[column] for line in table.lines]


def _most_probable(
    table: tables.Table, soft: Sequence[dict[str, float]]
) -> list[str]:
    best = [max(row, key=row.__getitem__) for row in soft]
    greatest = [row[name] for row, name in zip(soft, best, strict=True)]
    unsure = [each for each in greatest if each < 1]
    if unsure:
        logging.warning(
            "%s: %d of %d lines have soft labels; of each the most probable "
            "class is taken, of a probability of %.2f on average. An image "
            "has one class here.",
            table.name,
            len(unsure),
            len(soft),
            statistics.mean(unsure),
        )
    return best


def _entries(
    table: tables.Table, labels: Sequence[str | None]
) -> dict[str, _Entry]:
    """Return path -> its entry.

    Raises:
        ValueError: A path has two labels.
    """
    entries: dict[str, _Entry] = {}
    for line, label in zip(table.lines, labels, strict=True):
        key = line.fields[table.path_column]
        # Of Windows.
        key = key if "/" in key else key.replace("\\", "/")
        first = entries.setdefault(key, _Entry(label, line.number))
        if first.label != label:
            raise ValueError(
                f"{table.name}: lines {first.line} and {line.number} give "
                f"{key!r} two labels, {first.label!r} and {label!r}. An image "
                f"has one class here; remove one. {table.understood()}"
            )
    return entries


def _list(
    path: str,
    table: tables.Table,
    entries: dict[str, _Entry],
    class_names: Sequence[str],
) -> items.Listing:
    """List the table's images.

    Raises:
        FileNotFoundError: None of them is there.
    """
    directory = path.rpartition("/")[0]
    numbers = {name: number for number, name in enumerate(class_names)}
    images = [
        items.make_item(
            items.base_name(path),
            key,
            None if entry.label is None else numbers[entry.label],
            files.join(directory, key),
        )
        for key, entry in entries.items()
    ]
    missing = [
        f"line {entries[key].line}: {key}"
        for key in _missing(directory, [*entries])
    ]
    if len(missing) == len(entries):
        named = "; ".join(missing[:_NUM_NAMED])
        raise FileNotFoundError(
            f"{table.name}: none of its {len(missing):,} files is there, "
            f"looked for in {directory or '.'}: {named}. Paths are relative "
            f"to the table. {table.understood()}"
        )
    num_repeated = len(table.lines) - len(entries)
    repeated = {"line that repeats another": num_repeated}
    return items.Listing(
        images,
        ignored=collections.Counter(repeated if num_repeated else {}),
        missing=tuple(missing),
    )


def _is_file(path: str) -> bool:
    return files.exists(path) and not files.is_directory(path)


def _missing(directory: str, keys: Sequence[str]) -> Iterator[str]:
    """Yield the paths that lead nowhere; object stores are listed, not asked.

    Asking costs a round trip a file there.
    """
    listed: dict[str, set[str]] = {}
    for key in keys:
        path = files.join(directory, key)
        if not files.is_remote(path):
            is_there = _is_file(path)
        else:
            parent, _, name = path.rpartition("/")
            if parent not in listed:
                there = files.is_directory(parent)
                listed[parent] = set(
                    files.list_directory(parent) if there else ()
                )
            is_there = name in listed[parent]
        if not is_there:
            yield key
