"""Images that are arrays of pixels: the embedded digits, and IDX files."""

import contextlib
import functools
import gzip
import io
import itertools
import math
import shutil
import struct
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from PIL import Image

from data_prep.sources import items
from noisy_student_tf import files

_UNSIGNED_BYTE = 0x08
_DEFAULT_PART = "train"


@contextlib.contextmanager
def _read_digits(_: tuple[items.Item, ...]) -> Iterator[items.ReadItem]:
    """Yield what returns a digit as PNG; a locator is an index."""
    pictures = _load_digits()[0]
    yield lambda item: encode_png(pictures[item.locator])


def open_digits(argument: str) -> items.Source:
    """Open `digits`: scikit-learn's 1797 handwritten digits, 8 x 8 gray."""
    if argument:
        raise ValueError(f"digits:{argument}: digits takes no argument.")

    return items.Source(
        specification="digits",
        class_names=tuple("0123456789"),
        reader=_read_digits,
        list_items=lambda: items.make_numbered(
            "digits", map(int, _load_digits()[1])
        ),
    )


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


@contextlib.contextmanager
def _read_idx(
    path: str, shape: tuple[int, ...], _: tuple[items.Item, ...]
) -> Iterator[items.ReadItem]:
    """Yield what returns a picture of an IDX file as PNG, by its index.

    Args:
        path: The file, gzipped or not.
        shape: Of the whole array: [num_images, height, width] or
            [num_images, height, width, 3].
    """
    size_bytes = math.prod(shape[1:])
    header_bytes = 4 + 4 * len(shape)
    with _open_seekable(path) as file:

        def read(item: items.Item) -> bytes:
            file.seek(header_bytes + item.locator * size_bytes)
            pixels = np.frombuffer(file.read(size_bytes), np.uint8)
            return encode_png(pixels.reshape(shape[1:]))

        yield read


def open_idx(argument: str) -> items.Source:
    """Open `idx:DIR` or `idx:DIR#PART`: MNIST's format, gzipped or not.

    The files are `PART-images-idx3-ubyte` and `PART-labels-idx1-ubyte`, as
    MNIST and Fashion-MNIST were published; PART is `train` unless given, and
    `t10k` for their test images. Without a file of labels the images have
    none. Classes are named by their numbers.

    Raises:
        FileNotFoundError: The images are missing.
        ValueError: A file is damaged, or the two do not belong together.
    """
    specification = f"idx:{argument}"
    directory, _, part = argument.partition("#")
    part = part or _DEFAULT_PART
    images_path = _find(directory, part, "images", (3, 4))
    if images_path is None:
        raise FileNotFoundError(
            f"{specification}: there is no {part}-images-idx3-ubyte or "
            f"{part}-images-idx3-ubyte.gz in {directory}. Test images are "
            f"addressed as idx:{directory}#t10k."
        )
    shape = _read_shape(images_path)
    if len(shape) not in (3, 4):
        raise ValueError(
            f"{images_path}: the array has the shape {list(shape)}; accepted "
            "are [num_images, height, width] and the same with 3 behind."
        )
    labels_path = _find(directory, part, "labels", (1,))
    labels = None if labels_path is None else _read_labels(labels_path)
    if labels is not None and len(labels) != shape[0]:
        raise ValueError(
            f"{specification}: {len(labels)} labels but {shape[0]} images. "
            f"{labels_path} and {images_path} do not belong together."
        )
    num_classes = 0 if labels is None else max(labels, default=-1) + 1
    name = f"{items.base_name(directory)}/{part}"
    return items.Source(
        specification=specification,
        class_names=tuple(str(label) for label in range(num_classes)),
        reader=functools.partial(_read_idx, images_path, shape),
        list_items=lambda: items.make_numbered(
            name, labels or [None] * shape[0]
        ),
    )


def _find(
    directory: str, part: str, content: str, ranks: tuple[int, ...]
) -> str | None:
    paths = (
        files.join(directory, f"{part}-{content}{dash}idx{rank}-ubyte{suffix}")
        for rank, dash, suffix in itertools.product(ranks, "-.", ("", ".gz"))
    )
    return next(filter(files.exists, paths), None)


@contextlib.contextmanager
def _open_seekable(path: str) -> Iterator[IO[Any]]:
    """Open a file for random access; a gzipped one is unpacked to disk.

    Raises:
        ValueError: A gzipped file is damaged.
    """
    with files.open_file(path, "rb") as file:
        if not path.endswith(".gz"):
            yield file
            return
        with tempfile.TemporaryFile() as unpacked:
            try:
                shutil.copyfileobj(gzip.GzipFile(fileobj=file), unpacked)
            except (EOFError, gzip.BadGzipFile) as error:
                raise ValueError(
                    f"{path}: the file is damaged ({error}). Fetch it again."
                ) from error
            unpacked.seek(0)
            yield unpacked


def _read_shape(path: str) -> tuple[int, ...]:
    """Return the shape of an array of bytes, whose file must be whole.

    Raises:
        ValueError: The file is not such an array, or truncated.
    """
    with _open_seekable(path) as file:
        magic = file.read(4)
        if len(magic) < 4 or magic[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
            raise ValueError(
                f"{path}: not an IDX file of unsigned bytes: it begins with "
                f"{magic.hex()}, not with 000008."
            )
        rank = magic[3]
        shape = struct.unpack(f">{rank}I", file.read(4 * rank))
        size_bytes = 4 + 4 * rank + math.prod(shape)
        file.seek(0, io.SEEK_END)
        if file.tell() < size_bytes:
            raise ValueError(
                f"{path}: the file is truncated: an array of the shape "
                f"{list(shape)} has {size_bytes} bytes. Fetch it again."
            )
    return shape


def _read_labels(path: str) -> list[int]:
    shape = _read_shape(path)
    with _open_seekable(path) as file:
        file.seek(4 + 4 * len(shape))
        return list(file.read(shape[0]))
