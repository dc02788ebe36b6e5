"""Tables of text as they come: separator, encoding and columns found out.

What was understood stands in every message: a wrong guess looks like a wrong
file. Nothing here reads or lists files.
"""

import collections
import csv
import dataclasses
import io
import math
from collections.abc import Callable, Sequence

from data_prep.sources import items

# In this order: a comma may stand in what a semicolon parts, and a space in
# what a comma parts. "" is a table of one column.
_SEPARATORS = {
    "\t": "tab",
    ";": "semicolon",
    "|": "pipe",
    ",": "comma",
    "": "none",
    " ": "space",
}
# In no text.
_NO_SEPARATOR = "\x1f"
_PATH_NAMES = ("path", "image", "file", "filename", "filepath", "file_name")
_LABEL_NAMES = ("label", "class", "category", "target", "class_name", "species")
_SNIFFED_ROWS = 200
_SNIFFED_CHARACTERS = 65_536
_SUM_TOLERANCE = 0.01


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a table: its number, from 1, and its fields."""

    number: int
    fields: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table as it was understood.

    Attributes:
        name: What messages call it.
        encoding: Of its text.
        separator: Of its columns; empty if there is one.
        heading: Names of the columns; empty without.
        lines: Those behind the heading, all of as many fields.
        path_column: Which column holds the paths.
    """

    name: str
    encoding: str
    separator: str
    heading: tuple[str, ...]
    lines: tuple[Line, ...]
    path_column: int

    def understood(self) -> str:
        """Say how it was read, with its first line, for messages."""
        first = self.lines[0]
        return (
            f"Read as {self.encoding}; separator: "
            f"{_SEPARATORS[self.separator]}; heading: "
            f"{list(self.heading) or 'none'}; line {first.number}: "
            f"{list(first.fields)}; path: column {self.path_column + 1}. "
            "Choose columns by heading or number: "
            "csv:FILE#path=COLUMN&label=COLUMN."
        )

    def column(self, name: str) -> int:
        """Return the index of a column of a heading or of a number from 1.

        Raises:
            ValueError: There is none.
        """
        return _find_column(self.name, self.heading, self.lines[0], name)


def read(
    name: str,
    content: bytes,
    *,
    path_column: str = "",
    exists: Callable[[str], bool],
) -> Table:
    """Understand a table.

    Args:
        name: What messages call it.
        content: Its bytes.
        path_column: Heading or number of the column of paths, if chosen.
        exists: Tells whether a path in it leads to a file.

    Raises:
        ValueError: It is empty, or lines have different numbers of fields.
    """
    text, encoding = _decode(content)
    separator = _find_separator(text, exists)
    lines = _part(text, separator)
    if not lines:
        raise ValueError(f"{name}: the table is empty.")
    width = _width(lines)
    for line in lines:
        if len(line.fields) != width or not all(line.fields):
            raise ValueError(
                f"{name}: line {line.number} is {list(line.fields)}; accepted "
                f"are lines of {width} fields, none empty (separator: "
                f"{_SEPARATORS[separator]}, {encoding}). Mend or remove it."
            )
    paths = _best_column(lines, exists)
    heading: tuple[str, ...] = ()
    if _is_heading(lines, paths, exists):
        heading = lines[0].fields
        names = [each.lower() for each in heading]
        known = [names.index(each) for each in _PATH_NAMES if each in names]
        if paths is None and known:
            paths = known[0]
        lines = lines[1:]
    if not lines:
        raise ValueError(f"{name}: there is a heading and nothing below it.")
    if path_column:
        paths = _find_column(name, heading, lines[0], path_column)
    return Table(name, encoding, separator, heading, tuple(lines), paths or 0)


def _decode(content: bytes) -> tuple[str, str]:
    """Return a table's text, and the name of its encoding."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace"), "UTF-16"
    if b"\0" in content[:200]:
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
        return content.decode(encoding, errors="replace"), "UTF-16"
    try:
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        # Of older spreadsheets; all but five bytes are characters there.
        return content.decode("cp1252", errors="replace"), "Windows-1252"


def _find_separator(text: str, exists: Callable[[str], bool]) -> str:
    """Return the separator with which the first lines look best."""
    head = text[:_SNIFFED_CHARACTERS]
    if len(head) < len(text):
        head = head.rpartition("\n")[0]
    found = {
        separator: lines
        for separator in _SEPARATORS
        if (lines := _part(head, separator)) and _is_table(lines, separator)
    }
    scores = {key: _score(lines, exists) for key, lines in found.items()}
    return max(scores, key=lambda key: scores[key], default="")


def _part(text: str, separator: str) -> list[Line]:
    """Part the lines of a table; white space around fields is dropped."""
    if separator == " ":
        text = "\n".join(each.strip() for each in text.splitlines())
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator or _NO_SEPARATOR,
        skipinitialspace=True,
    )
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error:
        return []  # Quotes that do not end, taken with this separator.
    # A line break within quotes is white space, too.
    lines = [
        Line(number, tuple(" ".join(field.split()) for field in row))
        for number, row in rows
    ]
    return [line for line in lines if any(line.fields)]


def _width(lines: Sequence[Line]) -> int:
    """Return how many fields most lines have."""
    counts = collections.Counter(len(line.fields) for line in lines)
    return counts.most_common(1)[0][0]


def _is_table(lines: Sequence[Line], separator: str) -> bool:
    """Tell whether at least half of the lines have as many fields."""
    width = _width(lines)
    num_even = sum(len(line.fields) == width for line in lines)
    return (width > 1 or not separator) and 2 * num_even >= len(lines)


def _is_path(field: str, exists: Callable[[str], bool]) -> bool:
    return items.has_image_extension(field) or exists(field)


def _shares(lines: Sequence[Line], tells: Callable[[str], bool]) -> list[float]:
    """Return of how many fields of a column something holds, as a share."""
    width = _width(lines)
    even = [line for line in lines if len(line.fields) == width]
    return [
        sum(tells(line.fields[column]) for line in even) / len(even)
        for column in range(width)
    ]


def _score(
    lines: Sequence[Line], exists: Callable[[str], bool]
) -> tuple[bool, bool]:
    """Return whether a column leads to files, and whether it looks so."""
    few = lines[:3]
    looks = _shares(lines[:_SNIFFED_ROWS], items.has_image_extension)
    return max(_shares(few, exists)) > 0, max(looks) >= 0.5


def _best_column(
    lines: Sequence[Line], exists: Callable[[str], bool]
) -> int | None:
    """Return the first column of paths, if one looks like that."""
    looks = _shares(lines[:_SNIFFED_ROWS], items.has_image_extension)
    if max(looks) < 0.5:
        looks = _shares(lines[:3], exists)
    return looks.index(max(looks)) if max(looks) > 0 else None


def _is_heading(
    lines: Sequence[Line], paths: int | None, exists: Callable[[str], bool]
) -> bool:
    first = lines[0].fields
    if paths is not None and len(lines) > 1:
        return not _is_path(first[paths], exists)
    return any(field.lower() in _PATH_NAMES for field in first)


def _find_column(
    table: str, heading: Sequence[str], first: Line, name: str
) -> int:
    if name in heading:
        return list(heading).index(name)
    width = len(first.fields)
    if name.isdecimal() and 0 < int(name) <= width:
        return int(name) - 1
    raise ValueError(
        f"{table}: there is no column {name!r}. The columns are "
        f"{list(heading) or width}; line {first.number} is "
        f"{list(first.fields)}."
    )


def label_column(table: Table) -> int | None:
    """Return which column holds the labels; None: there is no other column.

    Raises:
        ValueError: It is not to be told.
    """
    others = [
        column
        for column in range(len(table.lines[0].fields))
        if column != table.path_column
    ]
    if len(others) < 2:
        return others[0] if others else None
    names = [name.lower() for name in table.heading]
    known = [names.index(name) for name in _LABEL_NAMES if name in names]
    if not known:
        raise ValueError(
            f"{table.name}: which column holds the labels? {table.understood()}"
        )
    return known[0]


def soft_labels(table: Table) -> list[dict[str, float]] | None:
    """Return class -> probability of each line, where columns hold them.

    They do if there is a heading and all columns but that of the paths, two or
    more, are numbers that sum to 1.
    """
    columns = [
        column
        for column in range(len(table.heading))
        if column != table.path_column
    ]
    if len(columns) < 2:
        return None
    found = []
    for line in table.lines:
        try:
            values = [float(line.fields[column]) for column in columns]
        except ValueError:
            return None
        if min(values) < 0 or not math.isclose(
            sum(values), 1, abs_tol=_SUM_TOLERANCE
        ):
            return None
        names = [table.heading[column] for column in columns]
        found.append(dict(zip(names, values, strict=True)))
    return found
