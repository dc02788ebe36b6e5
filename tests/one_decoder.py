"""What every way through the code makes of a file: read, and put in a table.

`python -m tests.one_decoder` writes the table of `docs/pictures.md` anew.
"""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from data_prep.sources import pictures
from noisy_student_tf.pipeline import decode, decoders
from noisy_student_tf.records import pictures as picture_files
from tests import picture_files as written

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "pictures.md"
_BEGIN, _END = "<!-- table -->\n", "<!-- end of table -->\n"
_NAMES = {"JPEG": "JPEG", "MPO": "MPO (JPEG of phones)", "HEIF": "HEIC"}

graph = tf.function(
    decoders.decode,
    input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False,
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        stored: What the builders store; None where they refuse it.
        trained: Pixels of that, uint8 [height, width, 3].
        served: Pixels that an export makes of the file itself, or None.
        classified: Pixels that the scripts' export makes of it, or None.
    """

    stored: bytes | None
    trained: np.ndarray | None
    served: np.ndarray | None
    classified: np.ndarray | None


def read(content: bytes) -> Outcome:
    """Send a file every way."""
    try:
        stored = pictures.normalize(content)
    except pictures.CorruptImageError:
        stored = None
    try:
        decodable = picture_files.to_decodable(content, is_kept=False)
    except picture_files.CorruptImageError:
        decodable = b""
    trained = None if stored is None else decode.decode(stored).numpy()
    return Outcome(stored, trained, _pixels(content), _pixels(decodable))


def _pixels(content: bytes) -> np.ndarray | None:
    try:
        return graph(content).numpy()
    except tf.errors.InvalidArgumentError:
        return None


@functools.cache
def every() -> tuple[tuple[written.PictureFile, Outcome], ...]:
    """Return every file that can be written, and what became of it."""
    return tuple((file, read(file.content)) for file in written.every())


def table(rows: Iterable[tuple[written.PictureFile, Outcome]]) -> str:
    """Return what became of files, by format, as a table of Markdown."""
    groups: dict[tuple[str, ...], set[str]] = collections.defaultdict(set)
    refused = set()
    for file, outcome in rows:
        if outcome.stored is None:
            refused.add(file.form)
            continue
        form = _NAMES.get(file.form, file.form)
        form += ", animated" * (file.is_animated and file.form != "MPO")
        if outcome.stored == file.content:
            stored = "as it is"
        elif picture_files.is_lossy(file.content):
            side = picture_files.LOSSLESS_SIDE
            stored = f"PNG; JPEG of quality 95 above {side} pixels"
        else:
            stored = "PNG"
        alone = "no" if outcome.served is None else "yes"
        mode = file.mode + f" ({file.variant})" * ("bits" in file.variant)
        groups[form, stored, alone].add(mode)
    lines = [
        "| file | of Pillow's modes | stored | export alone reads it |",
        "|---|---|---|---|",
    ]
    for (form, stored, alone), modes in sorted(groups.items()):
        named = ", ".join(sorted(modes))
        lines.append(f"| {form} | {named} | {stored} | {alone} |")
    accepted = {file.form for file, outcome in rows if outcome.stored}
    others = ", ".join(sorted(refused - accepted))
    return "\n".join([*lines, "", f"Refused everywhere: {others}.", ""])


def page(text: str) -> str:
    """Return the page's text with the table of now."""
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    return f"{before}{_BEGIN}\n{table(every())}\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
