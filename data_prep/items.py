"""What a source of images is: named, with classes, listed and read by item."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

from noisy_student_tf.records import schema

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One image of a source, not yet read.

    Attributes:
        image_id: 16 bytes; see `records.schema.make_id`.
        key: Relative path or record index, as messages show it.
        label: 0-based class, None where the source has no classes.
        locator: Where the source finds the picture's bytes.
    """

    image_id: bytes
    key: str
    label: int | None
    locator: Any


class Source(Protocol):
    """A place that images come from; small, so that workers can be sent it.

    Attributes:
        specification: What the user wrote, such as `folder:/data/birds`.
        name: Stands in the ids; never a path of one machine.
        class_names: Names in the order of the labels; empty without classes.
        is_shuffled: Whether neighbors in the listing are of mixed classes and
            cheapest to read together.
    """

    @property
    def specification(self) -> str:
        """What the user wrote."""

    @property
    def name(self) -> str:
        """The name in the ids."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the labels."""

    @property
    def is_shuffled(self) -> bool:
        """Whether neighbors are mixed and cheapest to read together."""

    def list_items(self) -> list[Item]:
        """List all images without reading the pictures."""

    def open_reader(
        self, items: tuple[Item, ...]
    ) -> contextlib.AbstractContextManager[Callable[[Item], bytes]]:
        """Open the source and yield a function that reads one of `items`."""


def make_item(
    source_name: str, key: str, label: int | None, locator: Any
) -> Item:
    """Return an item whose id is made of the source's name and the key."""
    image_id = schema.make_id(source_name, key)
    return Item(image_id=image_id, key=key, label=label, locator=locator)


def has_image_extension(path: str) -> bool:
    """Tell whether a file's name is that of a picture."""
    return path.lower().endswith(EXTENSIONS)


def base_name(path: str) -> str:
    """Return the last part of a path, whether or not it ends with a slash."""
    return path.rstrip("/").rpartition("/")[2]
