"""Shards on disk: names, atomic writing, manifests, and finding them again.

A data set is a directory of TFRecord shards, one `index` Parquet file a shard
(ids, content hashes, labels, no pictures) and a `manifest.json` that is
written last: without it the directory is unfinished.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from noisy_student_tf import files

if TYPE_CHECKING:
    import tensorflow as tf

MANIFEST = "manifest.json"

Schema = Literal[
    "image", "pseudo_labeled", "imagenet", "published_pseudo_labeled"
]


@dataclasses.dataclass(frozen=True)
class ShardSet:
    """Shards of one split.

    Attributes:
        paths: TFRecord files, in order.
        num_records: Records in all of them.
        schema: How a record is parsed.
        num_classes: Classes of the labels or soft labels; 0 without labels.
        num_copies: Rows of one epoch, copies counted (pseudo-labeled shards);
            elsewhere `num_records`.
        shard_bytes: Size of each file, as it was when the set was opened;
            empty: not looked at. Manifests do not hold it.
    """

    paths: tuple[str, ...]
    num_records: int
    schema: Schema
    num_classes: int
    num_copies: int
    shard_bytes: tuple[int, ...] = dataclasses.field(default=(), compare=False)

    def sizes(self) -> tuple[int, ...]:
        """Return the size of each file in bytes: as kept, or looked at now."""
        if self.shard_bytes:
            return self.shard_bytes
        return tuple(files.call_for_each(files.size_bytes, self.paths))


def shard_name(split: str, index: int, count: int) -> str:
    """Return `train-00003-of-00008.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def index_name(split: str, index: int, count: int) -> str:
    """Return `train-00003-of-00008.index.parquet`."""
    return f"{split}-{index:05d}-of-{count:05d}.index.parquet"


@contextlib.contextmanager
def open_writer(path: str) -> "Iterator[tf.io.TFRecordWriter]":
    """Yield a TFRecord writer; the file appears when the block succeeds."""
    # Manifests are read without TensorFlow, whose import takes seconds.
    import tensorflow as tf

    with files.temporary_name(path) as temporary:
        with tf.io.TFRecordWriter(temporary) as writer:
            yield writer


def read_records(path: str) -> Iterator[bytes]:
    """Yield the raw records of one shard.

    Raises:
        tf.errors.DataLossError: The file is damaged.
    """
    import tensorflow as tf

    for record in tf.data.TFRecordDataset(path):
        yield record.numpy()


def write_manifest(directory: str, content: dict[str, Any]) -> None:
    """Write a stage's manifest: the last thing that a stage does."""
    files.write_json(files.join(directory, MANIFEST), content)


def is_finished(directory: str) -> bool:
    """Tell whether a stage's directory has its manifest."""
    return files.exists(files.join(directory, MANIFEST))


def read_manifest(directory: str) -> dict[str, Any]:
    """Read a stage's manifest.

    Raises:
        FileNotFoundError: The directory is missing or unfinished.
    """
    return files.read_json(_find_manifest(directory))


def manifest_fingerprint(directory: str) -> str:
    """Return the SHA-256 of a stage's manifest, in hex.

    Raises:
        FileNotFoundError: The directory is missing or unfinished.
    """
    return fingerprint(_find_manifest(directory))


def _find_manifest(directory: str) -> str:
    path = files.join(directory, MANIFEST)
    if not files.exists(path):
        raise FileNotFoundError(
            f"{path} does not exist: {directory} is missing or unfinished. "
            "Run the stage that writes it again; it goes on where it stopped."
        )
    return path


def split_manifest(
    *,
    paths: list[str],
    num_records: int,
    schema: Schema,
    num_classes: int,
    num_copies: int | None = None,
) -> dict[str, Any]:
    """Return the entry of one split in a manifest.

    Paths are relative to the directory, but for those of foreign files that are
    read where they lie. Without `num_copies` no image is repeated.
    """
    return {
        "paths": tuple(paths),
        "num_records": num_records,
        "schema": schema,
        "num_classes": num_classes,
        "num_copies": num_records if num_copies is None else num_copies,
    }


def read_split(directory: str, split: str) -> ShardSet:
    """Read what the directory's manifest says of one split, and no more.

    Raises:
        FileNotFoundError: The directory is unfinished, or the split is not in
            it.
    """
    splits = read_manifest(directory)["splits"]
    if split not in splits:
        raise FileNotFoundError(
            f"{directory} has no split {split!r}, only {sorted(splits)}."
        )
    stored = ShardSet(**splits[split])
    paths = tuple(
        path
        if path.startswith("/") or files.is_remote(path)
        else files.join(directory, path)
        for path in stored.paths
    )
    return dataclasses.replace(stored, paths=paths)


def open_split(directory: str, split: str) -> ShardSet:
    """Find the shards of one split, and look at each once.

    Raises:
        FileNotFoundError: The directory is unfinished, the split is not in
            it, or a shard that the manifest names is missing.
    """
    found = read_split(directory, split)

    def look(path: str) -> int:
        try:
            return files.size_bytes(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{path}, named by the manifest of {directory}, is missing. "
                "Remove the manifest and build the directory again."
            ) from error

    sizes = files.call_for_each(look, found.paths)
    return dataclasses.replace(found, shard_bytes=tuple(sizes))


def index_paths(directory: str, split: str) -> list[str]:
    """Return the paths of a finished split's indexes, in shard order."""
    count = len(read_manifest(directory)["splits"][split]["paths"])
    return [
        files.join(directory, index_name(split, index, count))
        for index in range(count)
    ]


def check_not_empty(shard_set: ShardSet) -> None:
    """Refuse shards without an image.

    Raises:
        ValueError: There is none.
    """
    if not shard_set.paths or not shard_set.num_records:
        raise ValueError(
            f"The shards {shard_set.paths[:1]} hold no records. Build them "
            "again from a source with images."
        )


def fingerprint(*paths: str) -> str:
    """Return the SHA-256 of the contents of files, in hex."""
    digest = hashlib.sha256()
    for path in paths:
        _update(digest, path)
    return digest.hexdigest()


def _update(digest: Any, path: str) -> None:
    position = 0

    def read() -> None:
        nonlocal position
        with files.open_file(path, "rb") as file:
            # Where a try before this one got to.
            file.seek(position)
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                position += len(chunk)
        files.check_whole(path, position)

    files.ask(path, read)
