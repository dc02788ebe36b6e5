"""Opens a source of images by what `--source` or `--data.*` says."""

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from data_prep import items, source_folders


@dataclasses.dataclass(frozen=True)
class DigitsSource:
    """The 1797 handwritten digits embedded in scikit-learn, 8 x 8 gray."""

    specification: str = "digits"
    name: str = "digits"
    class_names: tuple[str, ...] = tuple("0123456789")
    is_shuffled: bool = False

    def list_items(self) -> list[items.Item]:
        """List the digits; a locator is an index."""
        _, labels = _load_digits()
        return [
            items.make_item(self.name, str(index), int(label), index)
            for index, label in enumerate(labels)
        ]

    @contextlib.contextmanager
    def open_reader(
        self, wanted: tuple[items.Item, ...]
    ) -> Iterator[Callable[[items.Item], bytes]]:
        """Yield a function that returns a digit as PNG."""
        pictures, _ = _load_digits()
        yield lambda item: encode_png(pictures[item.locator])


def _load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return pictures uint8 [1797, 8, 8] in [0, 255] and labels [1797]."""
    # Imported here: only this source needs it.
    from sklearn import datasets

    digits = datasets.load_digits()
    # Stored as 0 ... 16.
    pictures = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return pictures, digits.target


def encode_png(picture: np.ndarray) -> bytes:
    """Encode a picture, uint8 [height, width] or [height, width, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _open_digits(argument: str) -> DigitsSource:
    if argument:
        raise ValueError(f"digits:{argument}: digits takes no argument.")
    return DigitsSource()


_OPENERS: dict[str, Callable[[str], items.Source]] = {
    "digits": _open_digits,
    "folder": source_folders.open_folder,
    "files": source_folders.open_files,
}

ACCEPTED = "digits, folder:DIR or files:DIR"


def open_source(specification: str) -> items.Source:
    """Open a source of images.

    Args:
        specification: `digits`, `folder:DIR`, ...; see `ACCEPTED`.

    Raises:
        ValueError: The specification or what it names is not accepted.
        FileNotFoundError: What it names does not exist.
    """
    kind, _, argument = specification.partition(":")
    if kind not in _OPENERS:
        raise ValueError(
            f"{specification!r} is no source of images. Accepted: {ACCEPTED}."
        )
    return _OPENERS[kind](argument)


def list_checked(source: items.Source) -> list[items.Item]:
    """List a source's images, at least one and every id once.

    Raises:
        ValueError: The source is empty, or two images have the same id.
    """
    listed = source.list_items()
    if not listed:
        raise ValueError(
            f"{source.specification}: there are no images. Looked for files "
            f"ending in {', '.join(items.EXTENSIONS)}."
        )
    seen: dict[bytes, str] = {}
    for item in listed:
        if item.image_id in seen:
            raise ValueError(
                f"{source.specification}: {seen[item.image_id]!r} and "
                f"{item.key!r} have the same id {item.image_id.hex()}, made "
                f"of the source's name {source.name!r} and the key. Rename or "
                "remove one of them."
            )
        seen[item.image_id] = item.key
    return listed
