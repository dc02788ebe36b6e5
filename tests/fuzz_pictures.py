"""Sends damaged files of every format through builder, scripts and export.

`python -m tests.fuzz_pictures COUNT` damages so many of each format, and
prints one JSON object: files, how many were still pictures, the slowest one,
the memory. It ends with an error where the ways disagree, and with a signal
where a decoder crashes; the file it died of lies in the folder that
`--kept=DIR` names.
"""

import argparse
import io
import json
import pathlib
import time
from collections.abc import Iterator

import numpy as np
import pillow_heif
from PIL import Image

from tests import one_decoder, picture_files

_MAX_CHANGED_BYTES = 12
_HEAD_BYTES = 64


def originals() -> Iterator[tuple[str, bytes]]:
    """Yield (format, file) of what is damaged."""
    pillow_heif.register_heif_opener()
    second = picture_files.make("RGB").transpose(Image.Transpose.ROTATE_180)
    animation = {"save_all": True, "append_images": [second]}
    for form, mode, options in (
        ("JPEG", "RGB", {"exif": _turned()}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("PNG", "RGBA", {"exif": _turned()}),
        ("PNG", "P", {"transparency": 0}),
        ("PNG", "I;16", {}),
        ("WEBP", "RGBA", {"exif": _turned()}),
        ("WEBP", "RGB", animation),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
        ("GIF", "P", animation),
        ("TIFF", "RGBA", {"compression": "tiff_lzw"}),
        ("TIFF", "I;16", {}),
        ("AVIF", "RGBA", {}),
        ("HEIF", "RGB", {}),
    ):
        buffer = io.BytesIO()
        picture_files.make(mode).save(buffer, form, **options)
        yield form, buffer.getvalue()


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def damage(content: bytes, generator: np.random.Generator) -> bytes:
    """Return a file with bytes changed, cut out, repeated or missing."""
    data = bytearray(content)
    for _ in range(generator.integers(1, _MAX_CHANGED_BYTES)):
        limit = _HEAD_BYTES if generator.random() < 0.5 else len(data)
        place = int(generator.integers(min(limit, len(data))))
        data[place] = generator.choice([0, 0xFF, generator.integers(256)])
    begin, end = sorted(generator.integers(0, len(data), 2).tolist())
    change = generator.random()
    if change < 0.1:
        del data[begin:]
    elif change < 0.15:
        del data[begin:end]
    elif change < 0.2:
        data[begin:begin] = data[begin:end]
    return bytes(data)


def check(content: bytes) -> bool:
    """Send a file every way; return whether it is a picture.

    Raises:
        ValueError: The ways disagree.
    """
    outcome = one_decoder.read(content)
    for name in ("served", "classified"):
        pixels = getattr(outcome, name)
        is_missing = pixels is None and name == "served"
        if not is_missing and not np.array_equal(pixels, outcome.trained):
            raise ValueError(f"{name} differs: {content.hex()}")
    return outcome.trained is not None


def main(count: int, kept: pathlib.Path | None) -> None:
    """Damage files, and say what became of them."""
    generator = np.random.default_rng(0)
    files = dict.fromkeys(("num_files", "num_pictures"), 0)
    slowest = 0.0
    for _, content in originals():
        for _ in range(count):
            damaged = damage(content, generator)
            if kept:
                (kept / "last").write_bytes(damaged)
            started = time.process_time()
            files["num_pictures"] += check(damaged)
            files["num_files"] += 1
            slowest = max(slowest, time.process_time() - started)
    print(
        json.dumps(
            {**files, "slowest_seconds": slowest, "peak_gib": peak_gib()}
        )
    )


def peak_gib() -> float:
    """Return the most memory that this program has held.

    `getrusage` would count what its parent held when it was begun.
    """
    status = pathlib.Path("/proc/self/status").read_text()
    (line,) = (x for x in status.splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--kept", type=pathlib.Path)
    arguments = parser.parse_args()
    main(arguments.count, arguments.kept)
