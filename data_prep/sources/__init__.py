"""Opens a source of images by what `--source` or `--data.*` says."""

import difflib
from collections.abc import Callable

from data_prep.sources import arrays as source_arrays
from data_prep.sources import folders as source_folders
from data_prep.sources import items
from data_prep.sources import records as source_records
from data_prep.sources import tars as source_tars
from data_prep.sources import tfds as source_tfds
from noisy_student_tf import files

_OPENERS: dict[str, Callable[[str], items.Source]] = {
    "digits": source_arrays.open_digits,
    "idx": source_arrays.open_idx,
    "folder": source_folders.open_folder,
    "files": source_folders.open_files,
    "csv": source_folders.open_csv,
    "tar": source_tars.open_tar,
    "tfds": source_tfds.open_tfds,
    "imagenet": source_records.open_imagenet,
}

_FILE_OPENERS: dict[str, Callable[[str], items.FileSource]] = {
    "tar": source_tars.open_tar_files,
    "imagenet": source_records.open_imagenet_files,
}

ACCEPTED = (
    "digits, idx:DIR or idx:DIR#t10k, folder:DIR, files:DIR, csv:FILE, "
    "tar:GLOB, tfds:NAME or tfds:NAME/SPLIT, imagenet:GLOB, or a directory or "
    "glob of our own shards"
)


def open_source(specification: str) -> items.Source:
    """Open a source of images.

    Args:
        specification: `digits`, `folder:DIR`, ...; see `ACCEPTED`.

    Raises:
        ValueError: The specification or what it names is not accepted.
        FileNotFoundError: What it names does not exist.
    """
    kind, colon, argument = specification.partition(":")
    if kind in _OPENERS:
        return _OPENERS[kind](argument)
    if colon and not files.is_remote(specification):
        nearest = difflib.get_close_matches(kind, _OPENERS, n=1)
        hint = f" Did you mean {nearest[0]}:{argument}?" if nearest else ""
        raise ValueError(
            f"{specification!r} is no source of images.{hint} Accepted: "
            f"{ACCEPTED}."
        )
    return source_records.open_shards(specification)


def open_by_file(specification: str) -> items.FileSource:
    """Open a source whose files list their images where they are read.

    Raises:
        ValueError: It is no source of such files.
        FileNotFoundError: What it names does not exist.
    """
    kind, _, argument = specification.partition(":")
    if kind in _FILE_OPENERS:
        return _FILE_OPENERS[kind](argument)
    if kind in _OPENERS:
        raise ValueError(
            f"--data.unlabeled={specification} with --data.unlabeled_by_file: "
            "accepted are sources of files that hold many images: tar:GLOB, "
            "imagenet:GLOB, or a directory or glob of our own shards. Pack the "
            "images, or list them all with --data.unlabeled_by_file=False."
        )
    return source_records.open_shard_files(specification)


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
