"""Opens a source of images by what `--source` or `--data.*` says.

A new kind of source is a module of this folder and an entry of `_KINDS`.
"""

import dataclasses
import difflib
from collections.abc import Callable

from absl import logging

from data_prep.sources import (
    arrays,
    csv_lists,
    folders,
    items,
    parquet,
    tars,
    tfds,
    tfrecords,
    webdataset,
)
from noisy_student_tf import files, heaps
from noisy_student_tf.records import pictures as picture_files


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A kind of source.

    Attributes:
        usage: How it is written, for messages.
        open: Opens what stands behind `KIND:`.
        reader: Reads the pictures of its files.
        list_file: Lists one of them; None where images do not lie many to a
            file.
        expand: Finds its files, of a specification and what is behind `KIND:`.
    """

    usage: str
    open: Callable[[str], items.Source]
    reader: items.Reader | None = None
    list_file: items.ListFile | None = None
    expand: Callable[[str, str], list[str]] = items.expand


_KINDS = {
    "digits": _Kind("digits", arrays.open_digits),
    "idx": _Kind("idx:DIR or idx:DIR#t10k", arrays.open_idx),
    "folder": _Kind("folder:DIR", folders.open_folder),
    "files": _Kind("files:DIR", folders.open_files),
    "splits": _Kind("splits:DIR or splits:DIR#SPLIT", folders.open_splits),
    "csv": _Kind(csv_lists.USAGE, csv_lists.open_csv),
    "tar": _Kind("tar:GLOB", tars.open_tar, tars.read_ranges, tars.list_file),
    "wds": _Kind(
        webdataset.USAGE,
        webdataset.open_webdataset,
        tars.read_ranges,
        tars.list_file,
        webdataset.expand,
    ),
    "parquet": _Kind(
        parquet.USAGE,
        parquet.open_parquet,
        parquet.read_rows,
        parquet.list_file,
        parquet.expand,
    ),
    "tfds": _Kind("tfds:NAME or tfds:NAME/SPLIT", tfds.open_tfds),
    "imagenet": _Kind(
        "imagenet:GLOB",
        tfrecords.open_imagenet,
        tfrecords.read_pictures,
        tfrecords.list_imagenet_file,
    ),
}

_OUR_SHARDS = "or a directory or glob of our own shards"
ACCEPTED = ", ".join([*(kind.usage for kind in _KINDS.values()), _OUR_SHARDS])


def open_source(specification: str) -> items.Source:
    """Open a source of images by one of the forms in `ACCEPTED`.

    Raises:
        ValueError: The specification or what it names is not accepted.
        FileNotFoundError: What it names does not exist.
    """
    kind, colon, argument = specification.partition(":")
    if kind in _KINDS:
        return _KINDS[kind].open(files.expand_home(argument))
    if colon and not files.is_remote(specification):
        nearest = difflib.get_close_matches(kind, _KINDS, n=1)
        hint = f" Did you mean {nearest[0]}:{argument}?" if nearest else ""
        raise ValueError(
            f"{specification!r} is no source of images.{hint} Accepted: "
            f"{ACCEPTED}."
        )
    return tfrecords.open_shards(files.expand_home(specification))


def open_by_file(specification: str) -> items.FileSource:
    """Open a source whose files list their images where they are read.

    Raises:
        ValueError: It is no source of such files.
        FileNotFoundError: What it names does not exist.
    """
    kind, _, argument = specification.partition(":")
    if kind not in _KINDS:
        return items.FileSource(
            specification,
            tuple(tfrecords.find_shards(files.expand_home(specification))),
            tfrecords.read_pictures,
            tfrecords.list_shard,
        )
    opened = _KINDS[kind]
    if opened.reader is None or opened.list_file is None:
        accepted = [each.usage for each in _KINDS.values() if each.list_file]
        raise ValueError(
            f"--data.unlabeled={specification} with --data.unlabeled_by_file: "
            "accepted are sources of files that hold many images: "
            f"{', '.join([*accepted, _OUR_SHARDS])}. Pack the images, or list "
            "them all with --data.unlabeled_by_file=False."
        )
    paths = opened.expand(specification, files.expand_home(argument))
    # They stand in the ids.
    items.check_file_names(specification, paths)
    return items.FileSource(
        specification, tuple(paths), opened.reader, opened.list_file
    )


def list_checked(source: items.Source) -> items.Listing:
    """List a source's images, at least one and every id once.

    Raises:
        ValueError: The source is empty, or two images have the same id.
    """
    listing = source.list_items()
    ignored = heaps.describe_ignored(listing.ignored, items.ADVICE)
    _check_not_empty(source, listing, ignored)
    if ignored:
        logging.warning("%s: %s.", source.specification, ignored)
    items.check_ids(source.specification, listing.images)
    return listing


def check(specification: str) -> None:
    """Check that a source is there, before anything is built of another.

    Whether it has images is told of folders on this machine; to list other
    sources their files are read.

    Raises:
        ValueError: It is not accepted, or the folder has no image.
        FileNotFoundError: It does not exist.
    """
    source = open_source(specification)
    kind, _, path = specification.partition(":")
    if kind in ("files", "folder") and not files.is_remote(path):
        listing = source.list_items()
        ignored = heaps.describe_ignored(listing.ignored, items.ADVICE)
        _check_not_empty(source, listing, ignored)


def _check_not_empty(
    source: items.Source, listing: items.Listing, ignored: str
) -> None:
    if not listing.images:
        raise ValueError(
            f"{source.specification}: there are no images. Looked for files "
            f"ending in {', '.join(picture_files.extensions())}; "
            f"{ignored or 'there are no other files'}."
        )
