"""Small pictures and folders of them, for the tests of the builders."""

import io
import tarfile

import numpy as np
from PIL import Image

from noisy_student_tf import files


def pixels(seed: int, height: int = 10, width: int = 12) -> np.ndarray:
    """Return noise: uint8 [height, width, 3]."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), np.uint8)


def encode(picture: np.ndarray | Image.Image, kind: str = "PNG", **options):
    """Encode an array or a Pillow image."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(seed: int) -> bytes:
    """Return a PNG that no other seed gives."""
    return encode(pixels(seed))


def write(path: str, content: bytes) -> None:
    """Write a file and the folders above it."""
    files.make_directories(path.rpartition("/")[0])
    files.write_bytes(path, content)


def write_class_folders(
    directory: str, *, num_per_class: int, first_seed: int = 0
) -> None:
    """Write PNGs of the classes cat, dog and owl."""
    for label, name in enumerate(("cat", "dog", "owl")):
        for index in range(num_per_class):
            seed = first_seed + label * num_per_class + index
            write(f"{directory}/{name}/{index:03d}.png", png(seed))


def write_tar(path, members: dict[str, bytes], mode: str = "w") -> None:
    """Write a tar file of members' names and contents."""
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
