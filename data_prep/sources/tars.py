"""Images in tar files, read where they lie by their offsets."""

import collections
import contextlib
import dataclasses
import posixpath
import tarfile
from collections.abc import Iterator
from typing import IO, Any

import tensorflow as tf

from data_prep.sources import items
from noisy_student_tf import files, heaps

# Of one reader; a shard's images may lie in more files than may be open.
_MAX_OPEN_FILES = 64

# The name of the source in ids; the archive's name is in the key.
_NAME = "tar"


@contextlib.contextmanager
def read_ranges(_: tuple[items.Item, ...]) -> Iterator[items.ReadItem]:
    """Yield what reads a range of a file.

    A locator is (path, offset, size) in bytes.
    """
    opened: dict[str, IO[Any]] = {}

    def read(item: items.Item) -> bytes:
        path, offset, size = item.locator
        if path not in opened:
            if len(opened) == _MAX_OPEN_FILES:
                opened.pop(next(iter(opened))).close()
            opened[path] = files.open_file(path, "rb")
        opened[path].seek(offset)
        return opened[path].read(size)

    try:
        yield read
    finally:
        for file in opened.values():
            file.close()


def open_tar(pattern: str) -> items.Source:
    """Open `tar:GLOB`: uncompressed tar files, whose members are pictures.

    If every picture lies in a folder, the first folder of its path is its
    class; otherwise the images have no classes.

    Raises:
        FileNotFoundError: No file matches.
        ValueError: A file is compressed or no tar file, or a member's path is
            absolute or leads out of the archive.
    """
    specification = f"tar:{pattern}"
    paths = items.expand(specification, pattern)
    # They stand in the ids.
    items.check_file_names(specification, paths)
    ignored = collections.Counter[str]()
    listed = [item for path in paths for item in _list_file(path, ignored)]
    # Archive, folders, picture.
    parts = [item.key.split("/") for item in listed]
    class_names: tuple[str, ...] = ()
    if all(len(names) > 2 for names in parts):
        class_names = items.sort_class_names(names[1] for names in parts)
        labels = {name: label for label, name in enumerate(class_names)}
        listed = [
            dataclasses.replace(item, label=labels[names[1]])
            for item, names in zip(listed, parts, strict=True)
        ]
    return items.Source(
        specification=specification,
        class_names=class_names,
        reader=read_ranges,
        list_items=lambda: items.Listing(listed, ignored),
    )


def list_file(path: str) -> Iterator[items.Item]:
    """Yield a tar file's pictures, without classes.

    Raises:
        ValueError: See `open_tar`.
    """
    return _list_file(path, collections.Counter())


def _list_file(
    path: str, ignored: collections.Counter[str]
) -> Iterator[items.Item]:
    """Yield a tar file's pictures, and count its other files."""
    for member in list_members(path):
        if heaps.has_hidden_part(member.name):
            ignored[heaps.HIDDEN] += 1
        elif items.has_image_extension(member.name):
            yield make_item(member)
        else:
            ignored[heaps.suffix_of(member.name)] += 1


@dataclasses.dataclass(frozen=True)
class Member:
    """A regular file in a tar file.

    Attributes:
        path: Of the tar file.
        name: Of the member, checked.
        offset: Of its first byte in the tar file.
        size: In bytes.
    """

    path: str
    name: str
    offset: int
    size: int


def make_item(
    member: Member, label: int | None = None, split: str = ""
) -> items.Item:
    """Return the item of a picture."""
    return items.make_item(
        _NAME,
        f"{items.base_name(member.path)}/{member.name}",
        label,
        (member.path, member.offset, member.size),
        split=split,
    )


def list_members(path: str) -> Iterator[Member]:
    """Yield a tar file's regular files.

    Raises:
        ValueError: See `open_tar`.
    """
    with files.open_file(path, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for entry in archive:
                    name = _checked_name(path, entry.name)
                    if entry.isreg():
                        yield Member(path, name, entry.offset_data, entry.size)
        # Out of range: a member ends behind the end of the file.
        except (tarfile.TarError, tf.errors.OutOfRangeError) as error:
            raise ValueError(
                f"{path}: not an uncompressed tar file, or a damaged one "
                f"({error}). Compressed ones cannot be read at random: unpack "
                "them with gunzip, bunzip2 or unxz first."
            ) from error


def _checked_name(path: str, name: str) -> str:
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError(
            f"{path}: the member {name!r} has an absolute path or one that "
            "leads out of the archive; such a file is not to be trusted. Make "
            "the archive anew from inside its folder."
        )
    return posixpath.normpath(name)
