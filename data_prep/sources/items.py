"""What a source of images is: named, with classes, listed and read by item."""

import collections
import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from noisy_student_tf import files
from noisy_student_tf.records import pictures as picture_files
from noisy_student_tf.records import schema

# Splits of a run's data directories.
TRAIN, VALIDATION, TEST = "train", "validation", "test"
UNLABELED = "unlabeled"

# What to do about pictures that are not read, by suffix: what cameras keep
# beside JPEG or in its place.
ADVICE = {
    **dict.fromkeys(
        (".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"),
        "convert them to JPEG",
    ),
    **picture_files.ADVICE,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One image of a source, not yet read.

    Attributes:
        image_id: 16 bytes; see `records.schema.make_id`.
        key: Relative path or record index, as messages show it.
        label: 0-based class, None where the source has no classes.
        locator: Where the source finds the picture's bytes.
        split: Which one the source puts it into; empty: any.
    """

    image_id: bytes
    key: str
    label: int | None
    locator: Any
    split: str = ""


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        images: In its order.
        ignored: Kind of file -> number of those that are no pictures; see
            `heaps.Found`.
        missing: Images that a list names and that are not there, each with
            its place in the list.
    """

    images: list[Item]
    ignored: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    missing: tuple[str, ...] = ()


# A file's path to its images; a module's function, which workers import.
ListFile = Callable[[str], Iterator[Item]]


# Returns the bytes of a picture.
ReadItem = Callable[[Item], bytes]

# Opens what holds the wanted pictures, which may then be read in their order;
# small, since every planned shard carries one.
Reader = Callable[
    [tuple[Item, ...]], contextlib.AbstractContextManager[ReadItem]
]


@dataclasses.dataclass(frozen=True)
class Source:
    """A place that images come from.

    Attributes:
        specification: What the user wrote, such as `folder:/data/birds`.
        class_names: Names in the order of the labels; empty without classes.
        reader: Reads the pictures of the listing.
        list_items: Lists all images.
        is_shuffled: Whether neighbors in the listing are of mixed classes and
            cheapest to read together.
    """

    specification: str
    class_names: tuple[str, ...]
    reader: Reader
    list_items: Callable[[], Listing]
    is_shuffled: bool = False


@dataclasses.dataclass(frozen=True)
class FileSource:
    """Files that each list their own images: nothing holds all of them.

    Attributes:
        specification: What the user wrote, such as `tar:/data/heap/*.tar`.
        paths: The files, in order.
        reader: Reads the pictures of the listings.
        list_file: Lists one of them.
    """

    specification: str
    paths: tuple[str, ...]
    reader: Reader
    list_file: ListFile


def make_item(
    source_name: str,
    key: str,
    label: int | None,
    locator: Any,
    *,
    split: str = "",
) -> Item:
    """Return an item whose id is made of the source's name and the key."""
    image_id = schema.make_id(source_name, key)
    return Item(
        image_id=image_id, key=key, label=label, locator=locator, split=split
    )


def make_numbered(source_name: str, labels: Iterable[int | None]) -> Listing:
    """Return an item per label; its number is its key and its locator."""
    return Listing(
        [
            make_item(source_name, str(index), label, index)
            for index, label in enumerate(labels)
        ]
    )


def sort_class_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return distinct class names in order: by number if all are numbers.

    Raises:
        ValueError: A name has a line break or another control character.
    """
    distinct = sorted(set(names))
    for name in distinct:
        if not name.isprintable():
            raise ValueError(
                f"The class {name!r} has a line break or another character "
                "that cannot be printed in its name. Rename it."
            )
    if all(name.isdecimal() for name in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def has_image_extension(path: str) -> bool:
    """Tell whether a file's name is that of a picture."""
    return path.lower().endswith(picture_files.extensions())


def begins_as_picture(head: bytes) -> bool:
    """Tell whether a file's first bytes are those of a picture."""
    return bool(picture_files.kind_of(head))


def base_name(path: str) -> str:
    """Return the last part of a path, whether or not it ends with a slash."""
    return path.rstrip("/").rpartition("/")[2]


def expand(specification: str, pattern: str) -> list[str]:
    """Return the files that match.

    Raises:
        FileNotFoundError: None does.
    """
    paths = files.glob(pattern)
    if not paths:
        raise FileNotFoundError(f"{specification}: no file matches.")
    return paths


def expand_absolute(specification: str, pattern: str) -> list[str]:
    """Return their whole paths, as manifests elsewhere name them."""
    paths = expand(specification, pattern)
    return [p if files.is_remote(p) else os.path.abspath(p) for p in paths]


def check_ids(specification: str, listed: Iterable[Item]) -> None:
    """Check that every id occurs once.

    Raises:
        ValueError: Two images have the same id.
    """
    seen: dict[bytes, str] = {}
    for item in listed:
        if item.image_id in seen:
            raise ValueError(
                f"{specification}: {seen[item.image_id]!r} and {item.key!r} "
                f"have the same id {item.image_id.hex()}, made of the source's "
                "name and the key. Rename or remove one of them."
            )
        seen[item.image_id] = item.key


def check_file_names(specification: str, paths: Iterable[str]) -> None:
    """Check that every file has a name of its own.

    Raises:
        ValueError: Two have the same.
    """
    seen: dict[str, str] = {}
    for path in paths:
        name = base_name(path)
        if name in seen:
            raise ValueError(
                f"{specification}: {seen[name]} and {path} have the same name, "
                "which stands in their images' ids. Rename one of them."
            )
        seen[name] = path
