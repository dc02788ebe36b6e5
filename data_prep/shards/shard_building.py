"""Writes shards of a source's images, in a Beam pipeline over shards.

No picture outlives its own record, and the pipeline's elements are listings of
keys. A finished shard is skipped, so a killed build goes on where it stopped.
"""

import abc
import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from absl import logging

from data_prep.shards import beam_shards, progress, sidecars, splits
from data_prep.sources import items, pictures
from noisy_student_tf import files, retries
from noisy_student_tf.records import schema, shards

PLAN = "plan.json"

# Pictures that are read and checked at once.
_CHUNK_IMAGES = 256
_CHUNK_BYTES = 32 * 2**20

_SHARD_PATTERN = re.compile(
    r"[a-z_]+-\d{5,}-of-\d{5,}\.(tfrecord|index\.parquet)"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardPlan(abc.ABC):
    """One shard to make: of listed pictures, of files, or a file to index.

    Attributes:
        specification: Of the source.
        directory: Of the shard.
        split: Its split's name.
        index: Its number in the split, of `count`.
        count: Shards of the split.
    """

    # How a record is parsed.
    schema: ClassVar[shards.Schema] = "image"

    specification: str
    directory: str
    split: str
    index: int
    count: int

    @property
    def shard_path(self) -> str:
        """The shard as the manifest names it: without its directory."""
        return shards.shard_name(self.split, self.index, self.count)

    @property
    def index_name(self) -> str:
        """Name of the index, without its directory."""
        return shards.index_name(self.split, self.index, self.count)

    @property
    def index_path(self) -> str:
        """Path of the index, whose existence says that the shard is done."""
        return files.join(self.directory, self.index_name)

    @abc.abstractmethod
    def identity(self) -> str:
        """Return what the shard's bytes depend on."""

    @abc.abstractmethod
    def write(self) -> None:
        """Make the shard, its index last."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListedPlan(ShardPlan):
    """One shard to write of a source's pictures.

    Attributes:
        reader: Reads the source's pictures.
        listed: Which ones, in the shard's order.
        max_side: See `pictures.normalize`.
        excluded_directory: Pictures that are in this labeled directory are
            left out; empty: none are.
    """

    reader: items.Reader
    listed: tuple[items.Item, ...]
    max_side: int
    excluded_directory: str = ""

    @property
    def has_labels(self) -> bool:
        """Whether labels are written."""
        return self.split != splits.UNLABELED

    def identity(self) -> str:
        """Return what the shard's bytes depend on."""
        digest = hashlib.sha256()
        for item in self.listed:
            digest.update(item.image_id + f"{item.label} ".encode())
        excluded = ""
        if self.excluded_directory:
            excluded = shards.manifest_fingerprint(self.excluded_directory)
        return (
            f"{self.specification} {self.index_name} {self.has_labels} "
            f"{self.max_side} {excluded} {digest.hexdigest()}"
        )

    def write(self) -> None:
        """Write the shard and then its index."""
        self.write_items(self.listed)

    def write_items(
        self, wanted: Sequence[items.Item], *, num_same_id: int = 0
    ) -> None:
        """Write the shard, picture by picture, and then its index."""
        excluded_hashes = _read_hashes(self.excluded_directory)
        summary = sidecars.ShardSummary(num_same_id=num_same_id)
        rows: list[tuple[Any, ...]] = []
        path = files.join(self.directory, self.shard_path)
        with (
            self.reader(tuple(wanted)) as read,
            shards.open_writer(path) as writer,
        ):
            for item, picture in _normalized(wanted, read, self.max_side):
                if isinstance(picture, Exception):
                    summary.corrupt.append(
                        {"key": item.key, "reason": _reason(picture)}
                    )
                    continue
                digest = hashlib.sha256(picture).digest()
                if digest in excluded_hashes:
                    summary.excluded.append(item.key)
                    continue
                label = item.label if self.has_labels else None
                record = schema.encode_image(
                    image=picture, image_id=item.image_id, label=label
                )
                writer.write(record)
                rows.append((item.image_id, digest, label, item.key))
        summary = dataclasses.replace(summary, sha256=shards.fingerprint(path))
        sidecars.write_index(self.index_path, rows=rows, summary=summary)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, pictures.CorruptImageError):
        return str(error)
    return f"cannot be read ({error})"


def _normalized(
    wanted: Iterable[items.Item], read: items.ReadItem, max_side: int
) -> Iterator[tuple[items.Item, bytes | Exception]]:
    """Yield pictures as they are stored, or why they are not, in order."""
    for chunk in _read_in_chunks(wanted, read):
        encoded = [each for _, each in chunk if isinstance(each, bytes)]
        stored = iter(pictures.normalize_all(encoded, max_side=max_side))
        for item, each in chunk:
            yield item, next(stored) if isinstance(each, bytes) else each
        progress.advance(len(chunk))


def _read_in_chunks(
    wanted: Iterable[items.Item], read: items.ReadItem
) -> Iterator[list[tuple[items.Item, bytes | Exception]]]:
    """Yield files, and what went wrong, as many as are checked at once."""
    chunk: list[tuple[items.Item, bytes | Exception]] = []
    num_bytes = 0
    for item in wanted:
        try:
            content: bytes | Exception = read(item)
        except files.errors() as error:
            if retries.is_passing(error):
                raise
            content = error
        chunk.append((item, content))
        num_bytes += len(content) if isinstance(content, bytes) else 0
        if len(chunk) == _CHUNK_IMAGES or num_bytes >= _CHUNK_BYTES:
            yield chunk
            chunk, num_bytes = [], 0
    if chunk:
        yield chunk


def write(plan: ShardPlan) -> None:
    """Make one shard, unless it is done."""
    if not files.exists(plan.index_path):
        plan.write()
        logging.debug("%s is written.", plan.index_path)


def _read_hashes(directory: str) -> frozenset[bytes]:
    """Return the content hashes of all pictures of a labeled directory."""
    if not directory:
        return frozenset()
    return _hashes(directory, shards.manifest_fingerprint(directory))


# A worker reads them once, not for each shard: a second for ImageNet's.
@functools.lru_cache(1)
def _hashes(directory: str, _: str) -> frozenset[bytes]:
    paths: list[str] = []
    for split in shards.read_manifest(directory)["splits"]:
        paths += shards.index_paths(directory, split)
    return frozenset(sidecars.read_column(paths, "image_sha256").to_pylist())


def prepare_directory(directory: str, plans: Sequence[ShardPlan]) -> None:
    """Make the directory ready: keep shards of these plans, drop others.

    A directory without manifest is unfinished. Its shards are kept if they
    were planned alike, which `plan.json` tells; otherwise the source or the
    settings have changed and they are written anew.
    """
    files.make_directories(directory)
    files.remove_temporaries(directory)
    path = files.join(directory, PLAN)
    identities = "".join(f"{plan.identity()}\n" for plan in plans)
    digest = {"sha256": hashlib.sha256(identities.encode()).hexdigest()}
    if files.exists(path) and files.read_json(path) == digest:
        logging.info("%s: going on with an unfinished build.", directory)
        return
    for name in files.list_directory(directory):
        if _SHARD_PATTERN.fullmatch(name):
            files.remove(files.join(directory, name))
    files.write_json(path, digest)


def run(
    plans: Sequence[ShardPlan], beam: beam_shards.Beam, *, title: str
) -> None:
    """Write the shards of all plans that are not finished.

    `title` names them where progress is shown.
    """
    unfinished = [p for p in plans if not files.exists(p.index_path)]
    listed = [p for p in unfinished if isinstance(p, ListedPlan)]
    # Files that list their own pictures are not known to be few.
    is_known = all(type(plan) is ListedPlan for plan in unfinished)
    num_images = sum(len(plan.listed) for plan in listed) if is_known else None
    beam_shards.run(unfinished, write, beam, title=title, num_images=num_images)
