"""Files of every kind that Pillow writes, made in a process of its own.

Encoders crash on more than decoders do, and would take the tests along.
"""

import dataclasses
import functools
import io
import itertools
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, features

_MODES_WITH_ALPHA = ("LA", "PA", "RGBA", "La", "RGBa")
_MODES_OF_COLOR = ("P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_MODES_OF_GRAY = ("1", "L", "I", "I;16", "I;16B", "F")
MODES = (*_MODES_OF_GRAY, *_MODES_OF_COLOR, *_MODES_WITH_ALPHA)
ORIENTATIONS = range(1, 9)
_ORIENTATION_TAG = 0x0112
# Blocks in plain colors survive lossy encoders; no two corners are alike.
_BLOCK = 8
# Formats that know an option, and the option.
_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("", {}),
    "lossless": ("WEBP", {"lossless": True, "exact": True}),
    "transparency": ("PNG GIF", {"transparency": 0}),
    "progressive": ("JPEG", {"progressive": True}),
    "12 bits": ("PNG TIFF", {}),
    "2 bits": ("PNG", {"bits": 2}),
    "lzw": ("TIFF", {"compression": "tiff_lzw"}),
}
_WITH_EXIF = ("AVIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")


@dataclasses.dataclass(frozen=True)
class PictureFile:
    """A file, and how it was written.

    Attributes:
        form: Pillow's name of the format.
        mode: Pillow's mode of the picture.
        variant: A name among the options of the encoder; mostly empty.
        is_animated: Two pictures, of which the first counts.
        orientation: In [1, 8]; 1 is upright, and 0: there is no such entry.
        content: Its bytes.
    """

    form: str
    mode: str
    variant: str
    is_animated: bool
    orientation: int
    content: bytes

    def __str__(self) -> str:
        """Name it as tests do."""
        words = [self.form, self.mode, self.variant]
        words += ["animated"] * self.is_animated
        words += [f"orientation {self.orientation}"] * (self.orientation > 0)
        return " ".join(filter(None, words))


@functools.cache
def every() -> tuple[PictureFile, ...]:
    """Return a file of every combination that Pillow can write."""
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run(
            [sys.executable, "-m", "tests.picture_files", file.name], check=True
        )
        return tuple(PictureFile(*fields) for fields in pickle.load(file))


def make(mode: str, variant: str = "") -> Image.Image:
    """Return blocks of random colors in a mode, 24 high and 32 wide."""
    colors = np.random.default_rng(0).integers(0, 256, (3, 4, 4), np.uint8)
    blocks = colors.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)
    image = Image.fromarray(blocks)
    gray = np.asarray(image.convert("L"))
    scale = 16 if variant == "12 bits" else 257
    if mode in ("I;16", "I;16B"):
        kind = "<u2" if mode == "I;16" else ">u2"
        return Image.fromarray((gray.astype(np.uint16) * scale).astype(kind))
    if mode == "I":
        return Image.fromarray(gray.astype(np.int32) * scale)
    if mode == "F":
        return Image.fromarray(gray.astype(np.float32))
    if mode == "LAB":
        content = image.convert("RGB").tobytes()
        return Image.frombytes("LAB", image.size, content)
    return image.convert(mode)


def _write_all() -> Iterator[PictureFile]:
    Image.init()
    for form, mode, variant, is_animated, orientation in itertools.product(
        sorted(Image.SAVE), MODES, _OPTIONS, (False, True), (0, *ORIENTATIONS)
    ):
        if orientation and form not in _WITH_EXIF:
            continue
        if form == "AVIF" and is_animated and orientation > 1:
            continue  # Pillow 12.3 crashes.
        content = _write(form, mode, variant, is_animated, orientation)
        if content:
            yield PictureFile(
                form, mode, variant, is_animated, orientation, content
            )


def _write(
    form: str, mode: str, variant: str, is_animated: bool, orientation: int
) -> bytes:
    """Return a file's content, or nothing where Pillow cannot write it."""
    forms, known = _OPTIONS[variant]
    if variant and form not in forms.split():
        return b""
    options = {"speed": 10, **known} if form == "AVIF" else dict(known)
    try:
        image = make(mode, variant)
        if is_animated:
            second = image.transpose(Image.Transpose.ROTATE_180)
            options |= {"save_all": True, "append_images": [second]}
        if orientation:
            exif = Image.Exif()
            exif[_ORIENTATION_TAG] = orientation
            options["exif"] = exif
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
    # Encoders raise what they like at what they cannot write.
    except Exception:
        return b""
    return buffer.getvalue()


def main(path: str) -> None:
    """Write all files into one."""
    if not all(map(features.check, ("webp", "avif", "libtiff"))):
        raise RuntimeError("this Pillow lacks a format: install its wheel.")
    unique = {}
    for file in _write_all():
        # Options that a format does not know make no other file of a mode.
        key = file.form, file.mode, file.is_animated, file.content
        unique.setdefault(key, file)
    with open(path, "wb") as opened:
        pickle.dump([dataclasses.astuple(f) for f in unique.values()], opened)


if __name__ == "__main__":
    main(sys.argv[1])
