"""Images that are files: class folders, and folders without classes."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from data_prep import items
from noisy_student_tf import files


@dataclasses.dataclass(frozen=True)
class FileSource:
    """Pictures in files below one directory; a locator is a whole path."""

    specification: str
    name: str
    directory: str
    class_names: tuple[str, ...]
    is_shuffled: bool = False

    def list_items(self) -> list[items.Item]:
        """List the pictures, those of class folders with their label."""
        if not self.class_names:
            return [self._item(key, None) for key in _walk(self.directory, "")]
        return [
            self._item(key, label)
            for label, class_name in enumerate(self.class_names)
            for key in _walk(self.directory, class_name)
        ]

    def _item(self, key: str, label: int | None) -> items.Item:
        path = files.join(self.directory, key)
        return items.make_item(self.name, key, label, path)

    @contextlib.contextmanager
    def open_reader(
        self, wanted: tuple[items.Item, ...]
    ) -> Iterator[Callable[[items.Item], bytes]]:
        """Yield a function that reads a picture's file."""
        yield lambda item: files.read_bytes(item.locator)


def open_folder(directory: str) -> FileSource:
    """Open `folder:DIR`: a folder a class, pictures at any depth below.

    Raises:
        FileNotFoundError: The directory is missing.
        ValueError: It has no class folders.
    """
    specification = f"folder:{directory}"
    _check_directory(directory, specification)
    class_names = tuple(
        name
        for name in files.list_directory(directory)
        if not name.startswith(".")
        and not items.has_image_extension(name)
        and files.is_directory(files.join(directory, name))
    )
    if not class_names:
        raise ValueError(
            f"{specification}: the folder has no class folders. Put the images "
            "of each class into a folder named after the class, or use "
            f"files:{directory} for images without classes."
        )
    return FileSource(
        specification=specification,
        name=items.base_name(directory),
        directory=directory,
        class_names=class_names,
    )


def open_files(directory: str) -> FileSource:
    """Open `files:DIR`: pictures without classes, at any depth.

    Raises:
        FileNotFoundError: The directory is missing.
    """
    specification = f"files:{directory}"
    _check_directory(directory, specification)
    return FileSource(
        specification=specification,
        name=items.base_name(directory),
        directory=directory,
        class_names=(),
    )


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
