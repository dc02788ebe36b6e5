"""How many images a run's sources hold, and what each of them takes.

Sources are listed, and a few pictures are read, or all.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from data_prep import build_unlabeled
from data_prep.shards import (
    file_plans,
    identical,
    imagenet_shards,
    labeled_plans,
    shard_building,
    splits,
)
from data_prep.sources import items
from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.planning import looking


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """How many images each split would get, and what was seen of them.

    Attributes:
        train: Images; so `validation`, `test` and `unlabeled`.
        num_classes: Classes of the labels.
        class_names: Their names; empty where only reading tells.
        per_class: Split -> images of each class; empty likewise.
        ignored: Role of a source -> kind of file -> number of those that are
            no pictures.
        bytes_per_image: Mean size as stored.
        seconds_per_image: Mean time to read and check one.
        num_read: Pictures that were looked at.
        unusable: Source -> `{"key", "reason"}` of those that cannot be used.
        num_identical: Unlabeled pictures that were read and are labeled or
            held out, too; they are left out, and not in `unlabeled`.
    """

    train: int
    validation: int
    test: int
    unlabeled: int
    num_classes: int
    class_names: tuple[str, ...] = ()
    per_class: Mapping[str, list[int]] = dataclasses.field(default_factory=dict)
    ignored: Mapping[str, Mapping[str, int]] = dataclasses.field(
        default_factory=dict
    )
    bytes_per_image: float
    seconds_per_image: float
    num_read: int
    unusable: Mapping[str, list[dict[str, str]]]
    num_identical: int


def count_images(
    config: configs.Config,
    workdir: workdirs.Workdir,
    *,
    reads_all: bool = False,
) -> Counts:
    """Plan the splits and read a few pictures of each, or all.

    Raises:
        ValueError: A source, or what it holds, does not fit the settings.
        FileNotFoundError: A source does not exist.
    """
    data = config.data
    labeled, held_out = labeled_plans.plan_all(data, workdir.labeled)
    unlabeled = build_unlabeled.plan(data, workdir.unlabeled)
    by_split: dict[str, list[shard_building.ShardPlan]] = {
        split: [] for split in (splits.TRAIN, splits.VALIDATION, splits.TEST)
    }
    for plan in (*labeled.plans, *held_out.plans):
        by_split[plan.split].append(plan)
    num_images = {split: _count(plans) for split, plans in by_split.items()}
    looked = looking.look(
        [labeled.plans, held_out.plans, unlabeled.plans],
        data,
        reads_all=reads_all,
    )
    names = labeled.class_names or ()
    _check_identical(looked.contents, names, data)
    return Counts(
        **num_images,
        unlabeled=_count(unlabeled.plans) - looked.num_identical,
        num_classes=len(names) or data.num_classes,
        class_names=names,
        per_class={
            split: splits.count_per_class(_listed(plans), len(names))
            for split, plans in by_split.items()
            if plans and names
        },
        ignored=_ignored(
            labeled=labeled.listing,
            evaluation=held_out.listing,
            unlabeled=unlabeled.listing if data.unlabeled else None,
        ),
        bytes_per_image=statistics.mean(looked.num_bytes or [0]),
        seconds_per_image=statistics.mean(looked.seconds or [0]),
        num_read=looked.num_read,
        unusable=looked.unusable,
        num_identical=looked.num_identical,
    )


def _check_identical(
    contents: pa.Table, names: Sequence[str], data: configs.DataConfig
) -> None:
    """Say what the builder would of pictures that occur twice.

    Raises:
        ValueError: Training images are held out, too, and may not be.
    """
    if not names:
        num_classes = (pc.max(contents["label"]).as_py() or 0) + 1
        names = [str(label) for label in range(num_classes)]
    identical.name_contradictions(contents, names)
    identical.check_overlap(contents, data.allow_overlap)


def _ignored(
    **listings: items.Listing | None,
) -> dict[str, Mapping[str, int]]:
    """Return role -> what was no picture, where there was something."""
    return {
        role: listing.ignored
        for role, listing in listings.items()
        if listing is not None and listing.ignored
    }


def _listed(plans: Sequence[shard_building.ShardPlan]) -> list[items.Item]:
    return [
        item
        for plan in plans
        if isinstance(plan, shard_building.ListedPlan)
        for item in plan.listed
    ]


def _count(plans: Sequence[shard_building.ShardPlan]) -> int:
    """Count images; those of files that are not listed, by their size."""
    listed = len(_listed(plans))
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
    examples = tf.data.TFRecordDataset(in_place[0]).take(
        looking.SAMPLED_PICTURES
    )
    record_bytes = statistics.mean(len(record.numpy()) for record in examples)
    total_bytes = sum(files.size_bytes(path) for path in in_place)
    return listed + round(total_bytes / record_bytes)
