"""How many images a run's sources hold, and what each of them takes.

Sources are listed, and a few pictures are read.
"""

import collections
import dataclasses
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence

import tensorflow as tf

from data_prep import build_unlabeled
from data_prep.shards import (
    file_plans,
    imagenet_shards,
    labeled_plans,
    shard_building,
    splits,
)
from data_prep.sources import pictures
from noisy_student_tf import configs, files, workdirs

_SAMPLED_PICTURES = 16


@dataclasses.dataclass(frozen=True)
class Counts:
    """How many images each split would get, and their mean stored size."""

    train: int
    validation: int
    test: int
    unlabeled: int
    num_classes: int
    bytes_per_image: float
    seconds_per_image: float


def count_images(config: configs.Config, workdir: workdirs.Workdir) -> Counts:
    """Plan the splits and read a few pictures of each.

    Raises:
        ValueError: A source, or what it holds, does not fit the settings.
        FileNotFoundError: A source does not exist.
    """
    data = config.data
    plans, class_names = labeled_plans.plan_labeled(data, workdir.labeled)
    held_out, _ = labeled_plans.plan_evaluation(data, workdir.labeled)
    unlabeled = build_unlabeled.plan(data, workdir.unlabeled).plans
    num_images: dict[str, int] = collections.Counter()
    num_bytes, seconds = [], []
    for split in (splits.TRAIN, splits.VALIDATION, splits.TEST):
        chosen = [plan for plan in [*plans, *held_out] if plan.split == split]
        num_images[split] = _count(chosen)
    for group in (plans, held_out, unlabeled):
        for size, elapsed in _sample(group):
            num_bytes.append(size)
            seconds.append(elapsed)
    return Counts(
        train=num_images[splits.TRAIN],
        validation=num_images[splits.VALIDATION],
        test=num_images[splits.TEST],
        unlabeled=_count(unlabeled),
        num_classes=len(class_names or ()) or data.num_classes,
        bytes_per_image=statistics.mean(num_bytes or [0]),
        seconds_per_image=statistics.mean(seconds or [0]),
    )


def _count(plans: Sequence[shard_building.ShardPlan]) -> int:
    """Count images; those of files that are not listed, by their size."""
    listed = sum(
        len(plan.listed)
        for plan in plans
        if isinstance(plan, shard_building.ListedPlan)
    )
    by_file = [
        (plan, path)
        for plan in plans
        if isinstance(plan, file_plans.FilesPlan)
        for path in plan.paths
    ]
    if by_file:
        plan, first = by_file[0]
        num_first = sum(1 for _ in plan.list_file(first))
        total_bytes = sum(files.size_bytes(path) for _, path in by_file)
        listed += round(num_first * total_bytes / files.size_bytes(first))
    in_place = [
        plan.source_path
        for plan in plans
        if isinstance(plan, imagenet_shards.ForeignPlan)
    ]
    if not in_place:
        return listed
    examples = tf.data.TFRecordDataset(in_place[0]).take(_SAMPLED_PICTURES)
    record_bytes = statistics.mean(len(record.numpy()) for record in examples)
    total_bytes = sum(files.size_bytes(path) for path in in_place)
    return listed + round(total_bytes / record_bytes)


def _sample(
    plans: Sequence[shard_building.ShardPlan],
) -> Iterator[tuple[int, float]]:
    """Yield the stored bytes of a few pictures, and the seconds they took."""
    for plan in plans[:1]:
        if isinstance(plan, file_plans.FilesPlan):
            images = plan.list_file(plan.paths[0])
            wanted = tuple(itertools.islice(images, _SAMPLED_PICTURES))
        elif isinstance(plan, shard_building.ListedPlan):
            wanted = plan.listed[:_SAMPLED_PICTURES]
        else:
            continue
        with plan.reader(wanted) as read:
            for item in wanted:
                started = time.monotonic()
                try:
                    picture = pictures.normalize(
                        read(item), max_side=plan.max_side
                    )
                except pictures.CorruptImageError:
                    continue  # The builders count and name it.
                yield len(picture), time.monotonic() - started
