"""Reads pictures of planned shards, a few of them or all, and writes none."""

import collections
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import tqdm

from data_prep.shards import (
    file_plans,
    imagenet_shards,
    manifests,
    shard_building,
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
    """

    num_bytes: list[int]
    seconds: list[float]
    unusable: dict[str, list[dict[str, str]]]

    @property
    def num_read(self) -> int:
        """Pictures that were looked at."""
        return len(self.num_bytes) + sum(map(len, self.unusable.values()))


# A picture's key, and what reads, checks and normalizes it.
_Picture = tuple[str, Callable[[], bytes]]


def look(
    groups: Iterable[Sequence[shard_building.ShardPlan]],
    data: configs.DataConfig,
    *,
    reads_all: bool,
) -> Looked:
    """Read the first pictures of each group of plans, or all pictures.

    Raises:
        ValueError: All were read, and more of a source cannot be used than
            `data.max_corrupt_fraction` accepts.
    """
    unusable: tuple[type[Exception], ...] = (
        pictures.CorruptImageError,
        *files.errors(),
    )
    looked = Looked([], [], collections.defaultdict(list))
    limit = None if reads_all else SAMPLED_PICTURES
    for plans in groups:
        wanted = itertools.chain.from_iterable(
            _pictures(plan, limit) for plan in plans[: limit and 1]
        )
        entries: list[dict[str, str]] = []
        shown = tqdm.tqdm(
            wanted,
            desc="pictures",
            total=_num_listed(plans),
            disable=not reads_all or not plans,
        )
        num_before = len(looked.num_bytes)
        for key, read in shown:
            started = time.monotonic()
            try:
                size = len(read())
            except unusable as error:
                entries.append({"key": key, "reason": str(error)})
                continue
            looked.num_bytes.append(size)
            looked.seconds.append(time.monotonic() - started)
        if not entries:
            continue
        specification = plans[0].specification
        looked.unusable[specification] += entries
        if reads_all:
            # As the builders, which make each group a directory.
            manifests.check_corrupt(
                specification,
                entries,
                num_used=len(looked.num_bytes) - num_before,
                max_corrupt_fraction=data.max_corrupt_fraction,
            )
    return looked


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
            yield key, functools.partial(_checked, picture)
        return
    if not isinstance(plan, shard_building.ListedPlan):
        return
    listed: Iterable[items.Item] = plan.listed
    if isinstance(plan, file_plans.FilesPlan):
        listed = itertools.chain.from_iterable(map(plan.list_file, plan.paths))
    wanted = tuple(itertools.islice(listed, limit))
    with plan.reader(wanted) as read:
        for item in wanted:
            yield item.key, functools.partial(_normalized, plan, read, item)


def _checked(picture: bytes) -> bytes:
    pictures.check_decodable(picture)
    return picture


def _normalized(
    plan: shard_building.ListedPlan, read: items.ReadItem, item: items.Item
) -> bytes:
    return pictures.normalize(read(item), max_side=plan.max_side)
