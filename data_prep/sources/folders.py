"""Images that are files: in class folders, in any folder, listed by a CSV."""

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping

from data_prep.sources import items
from noisy_student_tf import files


@contextlib.contextmanager
def _read_files(_: tuple[items.Item, ...]) -> Iterator[items.ReadItem]:
    """Yield what reads a picture's file; a locator is its whole path."""
    yield lambda item: files.read_bytes(item.locator)


def open_folder(directory: str) -> items.Source:
    """Open `folder:DIR`: a folder a class, pictures at any depth below.

    Raises:
        FileNotFoundError: The directory is missing.
        ValueError: It has no class folders.
    """
    specification = f"folder:{directory}"
    _check_directory(directory, specification)
    class_names = find_classes(directory)
    if not class_names:
        raise ValueError(
            f"{specification}: the folder has no class folders. Put the images "
            "of each class into a folder named after the class, or use "
            f"files:{directory} for images without classes."
        )

    return items.Source(
        specification=specification,
        class_names=class_names,
        reader=_read_files,
        list_items=lambda: _list(
            directory, {name: label for label, name in enumerate(class_names)}
        ),
    )


def find_classes(directory: str) -> tuple[str, ...]:
    """Return the names of the class folders in a directory, in their order."""
    return items.sort_class_names(
        entry
        for entry in files.list_directory(directory)
        if not entry.startswith(".")
        and not items.has_image_extension(entry)
        and files.is_directory(files.join(directory, entry))
    )


def open_files(directory: str) -> items.Source:
    """Open `files:DIR`: pictures without classes, at any depth.

    Raises:
        FileNotFoundError: The directory is missing.
    """
    specification = f"files:{directory}"
    _check_directory(directory, specification)
    return items.Source(
        specification=specification,
        class_names=(),
        reader=_read_files,
        list_items=lambda: _list(directory, {"": None}),
    )


def _list(
    directory: str, folders: Mapping[str, int | None]
) -> list[items.Item]:
    """List the pictures below folders of a directory: folder -> label."""
    name = items.base_name(directory)
    return [
        _make_item(name, directory, key, label)
        for folder, label in folders.items()
        for key in _walk(directory, folder)
    ]


def open_csv(path: str) -> items.Source:
    """Open `csv:FILE`: lines of path and label, or of paths alone.

    Paths are relative to the file. A first line whose first field is `path`
    is a heading.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: A line has another number of fields than the first.
    """
    specification = f"csv:{path}"
    if not files.exists(path):
        raise FileNotFoundError(f"{specification}: there is no such file.")
    lines = csv.reader(io.StringIO(files.read_text(path).lstrip("\ufeff")))
    rows = [
        (lines.line_num, [field.strip() for field in row])
        for row in lines
        if row
    ]
    if rows and rows[0][1][0].lower() == "path":
        rows = rows[1:]
    for number, row in rows:
        if len(row) != len(rows[0][1]) or len(row) > 2 or not all(row):
            raise ValueError(
                f"{specification}: line {number} is {row}; accepted are lines "
                "of path,label, or of paths alone throughout."
            )
    class_names = items.sort_class_names(row[1] for _, row in rows if row[1:])
    labels = {name: label for label, name in enumerate(class_names)}

    name = items.base_name(path)
    directory = path.rpartition("/")[0]

    def list_items() -> list[items.Item]:
        return [
            _make_item(
                name, directory, row[0], labels[row[1]] if row[1:] else None
            )
            for _, row in rows
        ]

    return items.Source(
        specification=specification,
        class_names=class_names,
        reader=_read_files,
        list_items=list_items,
    )


def _make_item(
    name: str, directory: str, key: str, label: int | None
) -> items.Item:
    return items.make_item(name, key, label, files.join(directory, key))


def _check_directory(directory: str, specification: str) -> None:
    if not files.is_directory(directory):
        raise FileNotFoundError(
            f"{specification}: there is no such folder. Check the path; it is "
            "taken relative to the working directory."
        )


def _walk(directory: str, below: str) -> Iterator[str]:
    """Yield the pictures' paths relative to a directory, in sorted order.

    Only names that do not look like a picture's are asked whether they are
    folders: asking costs a round trip each on object stores.
    """
    for name in files.list_directory(files.join(directory, below)):
        path = f"{below}/{name}" if below else name
        if name.startswith("."):
            continue
        if items.has_image_extension(name):
            yield path
        elif files.is_directory(files.join(directory, path)):
            yield from _walk(directory, path)
