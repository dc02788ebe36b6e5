"""Reads pictures of planned shards, a few of them or all, and writes none."""

import collections
import dataclasses
import functools
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import tqdm

from data_prep.shards import (
    file_plans,
    identical,
    imagenet_shards,
    manifests,
    shard_building,
    splits,
)
from data_prep.sources import items, pictures, tfrecords
from noisy_student_tf import configs, files
from noisy_student_tf.records import schema

SAMPLED_PICTURES = 16


@dataclasses.dataclass(frozen=True)
class Looked:
    """What was found of some pictures.

    Attributes:
        num_bytes: Their stored sizes.
        seconds: What reading and checking each took.
        unusable: Source -> `{"key", "reason"}` of those that cannot be used.
        contents: Of labeled and held-out ones, where all were read; see
            `identical.SCHEMA`.
        num_identical: Unlabeled ones that are among those.
    """

    num_bytes: list[int]
    seconds: list[float]
    unusable: dict[str, list[dict[str, str]]]
    contents: pa.Table
    num_identical: int

    @property
    def num_read(self) -> int:
        """Pictures that were looked at."""
        return len(self.num_bytes) + sum(map(len, self.unusable.values()))


@dataclasses.dataclass(frozen=True)
class _Picture:
    """A planned picture, and what reads, checks and normalizes it."""

    key: str
    label: int | None
    split: str
    read: Callable[[], bytes]


@dataclasses.dataclass
class _Contents:
    """What was read of labeled pictures, and how many others repeat them.

    Unlabeled pictures come last.
    """

    columns: dict[str, list[Any]] = dataclasses.field(
        default_factory=lambda: {name: [] for name in identical.SCHEMA.names}
    )
    labeled: set[bytes] = dataclasses.field(default_factory=set)
    num_identical: int = 0

    def add(self, picture: _Picture, stored: bytes) -> None:
        """Take a picture in, as it would be stored."""
        digest = hashlib.sha256(stored).digest()
        if picture.split == splits.UNLABELED:
            self.num_identical += digest in self.labeled
            return
        self.labeled.add(digest)
        values = (digest, picture.key, picture.label, picture.split)
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)


def look(
    groups: Iterable[Sequence[shard_building.ShardPlan]],
    data: configs.DataConfig,
    *,
    reads_all: bool,
) -> Looked:
    """Read the first pictures of each group of plans, or all pictures.

    Groups of unlabeled pictures come last.

    Raises:
        ValueError: All were read, and more of a source cannot be used than
            `data.max_corrupt_fraction` accepts.
    """
    num_bytes: list[int] = []
    seconds: list[float] = []
    unusable: dict[str, list[dict[str, str]]] = collections.defaultdict(list)
    contents = _Contents()
    for plans in groups:
        entries: list[dict[str, str]] = []
        num_before = len(num_bytes)
        for picture in _shown(plans, reads_all=reads_all):
            started = time.monotonic()
            stored = _read(picture, entries)
            if stored is None:
                continue
            num_bytes.append(len(stored))
            seconds.append(time.monotonic() - started)
            if reads_all:
                contents.add(picture, stored)
        if not entries:
            continue
        specification = plans[0].specification
        unusable[specification] += entries
        if reads_all:
            # As the builders, which make each group a directory.
            manifests.check_corrupt(
                specification,
                entries,
                num_used=len(num_bytes) - num_before,
                max_corrupt_fraction=data.max_corrupt_fraction,
            )
    return Looked(
        num_bytes,
        seconds,
        unusable,
        pa.Table.from_pydict(contents.columns, identical.SCHEMA),
        contents.num_identical,
    )


def _read(picture: _Picture, entries: list[dict[str, str]]) -> bytes | None:
    """Return a picture as it would be stored; or add why it cannot be."""
    errors: tuple[type[Exception], ...] = (
        pictures.CorruptImageError,
        *files.errors(),
    )
    try:
        return picture.read()
    except errors as error:
        entries.append({"key": picture.key, "reason": str(error)})
        return None


def _shown(
    plans: Sequence[shard_building.ShardPlan], *, reads_all: bool
) -> Iterator[_Picture]:
    """Yield the first pictures of some plans, or all with a bar."""
    if not reads_all:
        for plan in plans[:1]:
            yield from _pictures(plan, SAMPLED_PICTURES)
    elif plans:
        yield from tqdm.tqdm(
            itertools.chain.from_iterable(
                _pictures(plan, None) for plan in plans
            ),
            desc="pictures",
            total=_num_listed(plans),
        )


def _num_listed(plans: Sequence[shard_building.ShardPlan]) -> int | None:
    """Return how many pictures the plans name; None: only reading tells."""
    total = sum(
        len(plan.listed)
        for plan in plans
        if isinstance(plan, shard_building.ListedPlan)
    )
    return total or None


def _pictures(
    plan: shard_building.ShardPlan, limit: int | None
) -> Iterator[_Picture]:
    """Yield the first pictures of a plan."""
    if isinstance(plan, imagenet_shards.ForeignPlan):
        examples = tfrecords.read_examples(plan.source_path)
        for number, (_, _, example) in enumerate(
            itertools.islice(examples, limit)
        ):
            picture = schema.stored_bytes(example, schema.IMAGE)
            key = tfrecords.record_key(plan.source_path, number)
            yield _Picture(
                key,
                tfrecords.imagenet_label(example, key),
                plan.split,
                functools.partial(_checked, picture),
            )
        return
    if not isinstance(plan, shard_building.ListedPlan):
        return
    listed: Iterable[items.Item] = plan.listed
    if isinstance(plan, file_plans.FilesPlan):
        listed = itertools.chain.from_iterable(map(plan.list_file, plan.paths))
    wanted = tuple(itertools.islice(listed, limit))
    with plan.reader(wanted) as read:
        for item in wanted:
            yield _Picture(
                item.key,
                item.label,
                plan.split,
                functools.partial(_normalized, plan, read, item),
            )


def _checked(picture: bytes) -> bytes:
    pictures.check_decodable(picture)
    return picture


def _normalized(
    plan: shard_building.ListedPlan, read: items.ReadItem, item: items.Item
) -> bytes:
    return pictures.normalize(read(item), max_side=plan.max_side)
