"""Opens a source of images by what `--source` or `--data.*` says.

A new kind of source is a module of this folder and an entry of `_KINDS`.
"""

import dataclasses
import difflib
from collections.abc import Callable

from data_prep.sources import arrays, folders, items, tars, tfds, tfrecords
from noisy_student_tf import files


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A kind of source.

    Attributes:
        usage: How it is written, for messages.
        open: Opens what stands behind `KIND:`.
        open_by_file: The same, listed file by file; None where images do not
            lie many to a file.
    """

    usage: str
    open: Callable[[str], items.Source]
    open_by_file: Callable[[str], items.FileSource] | None = None


_KINDS = {
    "digits": _Kind("digits", arrays.open_digits),
    "idx": _Kind("idx:DIR or idx:DIR#t10k", arrays.open_idx),
    "folder": _Kind("folder:DIR", folders.open_folder),
    "files": _Kind("files:DIR", folders.open_files),
    "csv": _Kind("csv:FILE", folders.open_csv),
    "tar": _Kind("tar:GLOB", tars.open_tar, tars.open_tar_files),
    "tfds": _Kind("tfds:NAME or tfds:NAME/SPLIT", tfds.open_tfds),
    "imagenet": _Kind(
        "imagenet:GLOB",
        tfrecords.open_imagenet,
        tfrecords.open_imagenet_files,
    ),
}

_OUR_SHARDS = "or a directory or glob of our own shards"
ACCEPTED = ", ".join([*(kind.usage for kind in _KINDS.values()), _OUR_SHARDS])


def open_source(specification: str) -> items.Source:
    """Open a source of images.

    Args:
        specification: `digits`, `folder:DIR`, ...; see `ACCEPTED`.

    Raises:
        ValueError: The specification or what it names is not accepted.
        FileNotFoundError: What it names does not exist.
    """
    kind, colon, argument = specification.partition(":")
    if kind in _KINDS:
        return _KINDS[kind].open(argument)
    if colon and not files.is_remote(specification):
        nearest = difflib.get_close_matches(kind, _KINDS, n=1)
        hint = f" Did you mean {nearest[0]}:{argument}?" if nearest else ""
        raise ValueError(
            f"{specification!r} is no source of images.{hint} Accepted: "
            f"{ACCEPTED}."
        )
    return tfrecords.open_shards(specification)


def open_by_file(specification: str) -> items.FileSource:
    """Open a source whose files list their images where they are read.

    Raises:
        ValueError: It is no source of such files.
        FileNotFoundError: What it names does not exist.
    """
    kind, _, argument = specification.partition(":")
    if kind not in _KINDS:
        return tfrecords.open_shard_files(specification)
    opener = _KINDS[kind].open_by_file
    if opener is None:
        accepted = [each.usage for each in _KINDS.values() if each.open_by_file]
        raise ValueError(
            f"--data.unlabeled={specification} with --data.unlabeled_by_file: "
            "accepted are sources of files that hold many images: "
            f"{', '.join([*accepted, _OUR_SHARDS])}. Pack the images, or list "
            "them all with --data.unlabeled_by_file=False."
        )
    return opener(argument)


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
    items.check_ids(source.specification, listed)
    return listed
