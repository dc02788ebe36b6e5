"""Plans the shards of the labeled directory: sources, checked and split."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from data_prep import sources
from data_prep.shards import (
    class_checks,
    corrected,
    imagenet_shards,
    manifests,
    shard_building,
    splits,
)
from data_prep.sources import items, tfrecords
from noisy_student_tf import configs


def open_labeled(data: configs.DataConfig) -> items.Source:
    """Open the labeled source and check its classes.

    Raises:
        ValueError: There is none, it has no classes, or not as many as
            `data.num_classes`.
    """
    if not data.labeled:
        raise ValueError(
            "--data.labeled (--source of the builder) is empty. Give a source "
            f"of labeled images: {sources.ACCEPTED}."
        )
    source = sources.open_source(data.labeled)
    class_checks.check_num_classes(source.class_names, data)
    return source


def list_images(
    source: items.Source, data: configs.DataConfig
) -> items.Listing:
    """List a source's images.

    Raises:
        ValueError: There are none, or too many that it names are missing.
    """
    listing = sources.list_checked(source)
    missing = [
        {"key": place, "reason": "no such file"} for place in listing.missing
    ]
    manifests.check_corrupt(
        source.specification,
        missing,
        num_used=len(listing.images) - len(missing),
        max_corrupt_fraction=data.max_corrupt_fraction,
    )
    return listing


def assign(
    source: items.Source, listing: items.Listing, data: configs.DataConfig
) -> splits.Assignment:
    """Split a labeled source's images; the same whenever it is called.

    Raises:
        ValueError: A class has no image, or too few.
    """
    listed = listing.images
    num_classes = len(source.class_names)
    counts = splits.count_per_class(listed, num_classes)
    class_checks.check_counts(data.labeled, source.class_names, counts)
    if data.evaluation and any(item.split == splits.TEST for item in listed):
        raise ValueError(
            f"--data.evaluation={data.evaluation}: {data.labeled} has test "
            "images of its own. Leave the flag out, or name the training "
            "images alone, as in splits:DIR#train."
        )
    assignment = splits.assign(
        listed,
        splits.Shares(
            test=0.0 if data.evaluation else data.evaluation_fraction,
            validation=data.validation_fraction,
            labeled_per_class=data.labeled_per_class,
            how=data.split,
            seed=data.split_seed,
        ),
        num_classes,
    )
    counts = splits.count_per_class(
        assignment.splits[splits.TRAIN], num_classes
    )
    num_wanted = max(data.labeled_per_class, 1)
    scarce = [
        f"{name}: {count}"
        for name, count in zip(source.class_names, counts, strict=True)
        if count < num_wanted
    ]
    if scarce:
        raise ValueError(
            f"{data.labeled}: {num_wanted} training images per class are "
            f"wanted (--data.labeled_per_class={data.labeled_per_class}), but "
            f"with validation and test images held out there are fewer of "
            f"{', '.join(scarce)}. Ask for fewer, hold out less, or add images."
        )
    return assignment


def plan_shards(
    source: items.Source,
    images: Sequence[items.Item],
    *,
    split: str,
    directory: str,
    data: configs.DataConfig,
    labeled_directory: str = "",
) -> list[shard_building.ShardPlan]:
    """Plan the shards of one split.

    Labels are written unless the split is `unlabeled`; pictures of a labeled
    directory, where one is named, are left out.
    """
    placed = splits.place(
        images, num_shards=data.num_shards, is_shuffled=source.is_shuffled
    )
    return [
        shard_building.ListedPlan(
            specification=source.specification,
            reader=source.reader,
            listed=shard_items,
            directory=directory,
            split=split,
            index=index,
            count=len(placed),
            max_side=data.max_stored_side,
            excluded_directory=labeled_directory,
        )
        for index, shard_items in enumerate(placed)
    ]


@dataclasses.dataclass(frozen=True)
class Planned:
    """Shards to make of a labeled source.

    Attributes:
        plans: One a shard.
        class_names: None where only reading the shards tells.
        listing: What the source holds; None where it is not listed.
        answers: What people say of the images.
        corrections: What became of that, for the manifest; empty: nothing.
    """

    plans: Sequence[shard_building.ShardPlan] = ()
    class_names: tuple[str, ...] | None = None
    listing: items.Listing | None = None
    answers: corrected.Answers = dataclasses.field(
        default_factory=corrected.Answers
    )
    corrections: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def plan_labeled(data: configs.DataConfig, directory: str) -> Planned:
    """Plan the splits of the labeled source."""
    in_place = imagenet_shards.is_read_in_place(data.labeled, data)
    if in_place and not data.labeled_per_class:
        if data.corrections:
            raise ValueError(
                f"--data.corrections={data.corrections}: the records of "
                f"{data.labeled} are read where they lie, with their labels. "
                "Leave the flag out, or take some with --data.labeled_per_class"
            )
        return Planned(imagenet_shards.plan_splits(data, directory))
    source = open_labeled(data)
    listing = list_images(source, data)
    assignment = assign(source, listing, data)
    answers = corrected.read(data)
    more: list[shard_building.ShardPlan] = []
    summary: dict[str, Any] = {}
    if data.corrections:
        corrected.check(answers, source.class_names, data)
        assignment, more, summary = _correct(
            source, assignment, answers, data, directory
        )
    plans: list[shard_building.ShardPlan] = []
    for split, images in assignment.splits.items():
        plans += plan_shards(
            source, images, split=split, directory=directory, data=data
        )
    return Planned(
        _renumber(plans, more), source.class_names, listing, answers, summary
    )


def _correct(
    source: items.Source,
    assignment: splits.Assignment,
    answers: corrected.Answers,
    data: configs.DataConfig,
    directory: str,
) -> tuple[splits.Assignment, list[shard_building.ShardPlan], dict[str, Any]]:
    """Apply people's decisions; see `corrected.apply`.

    Returns:
        The assignment; shards of images of the unlabeled source that train
        now; and what the manifest says.
    """
    other, images = source, []
    if data.unlabeled:
        other = sources.open_source(data.unlabeled)
        images = list_images(other, data).images
    assignment, confirmed, summary = corrected.apply(
        assignment, images, answers, source.class_names
    )
    plans: list[shard_building.ShardPlan] = []
    if confirmed:
        plans = plan_shards(
            other, confirmed, split=splits.TRAIN, directory=directory, data=data
        )
    return assignment, plans, summary


def _renumber(
    plans: Sequence[shard_building.ShardPlan],
    more: Sequence[shard_building.ShardPlan],
) -> list[shard_building.ShardPlan]:
    """Put further shards behind those of the training images."""
    train = [plan for plan in plans if plan.split == splits.TRAIN]
    train += more
    others = [plan for plan in plans if plan.split != splits.TRAIN]
    numbered = [
        dataclasses.replace(plan, index=index, count=len(train))
        for index, plan in enumerate(train)
    ]
    return [*numbered, *others] if more else [*plans]


def plan_evaluation(
    data: configs.DataConfig,
    directory: str,
    class_names: tuple[str, ...] | None = None,
) -> Planned:
    """Plan the test split of the held-out source, if there is one.

    It may lack some of the labeled source's `class_names`, and have them in
    another order.
    """
    if not data.evaluation:
        return Planned()
    if imagenet_shards.is_read_in_place(data.evaluation, data):
        return Planned(imagenet_shards.plan_test(data, directory))
    source = sources.open_source(data.evaluation)
    listing = list_images(source, data)
    names = class_names or ()
    if source.class_names and set(source.class_names) <= set(names):
        source, listing = _name_anew(source, listing, names)
    plans = plan_shards(
        source,
        [item for item in listing.images if item.split != splits.UNLABELED],
        split=splits.TEST,
        directory=directory,
        data=data,
    )
    return Planned(plans, source.class_names, listing)


def _name_anew(
    source: items.Source, listing: items.Listing, class_names: tuple[str, ...]
) -> tuple[items.Source, items.Listing]:
    """Give a source of some of the classes the labels of all."""
    labels = [class_names.index(name) for name in source.class_names]
    images = [
        dataclasses.replace(
            item, label=None if item.label is None else labels[item.label]
        )
        for item in listing.images
    ]
    return (
        dataclasses.replace(source, class_names=class_names),
        dataclasses.replace(listing, images=images),
    )


def plan_all(
    data: configs.DataConfig, directory: str
) -> tuple[Planned, Planned]:
    """Plan what is labeled and what is held out, and compare their classes.

    Raises:
        ValueError: See `class_checks.check_same_classes`.
    """
    labeled = plan_labeled(data, directory)
    held_out = plan_evaluation(data, directory, labeled.class_names)
    if labeled.class_names is not None and held_out.class_names is not None:
        class_checks.check_same_classes(
            data, labeled.class_names, held_out.class_names
        )
    return labeled, held_out


def found_class_names(
    plans: Sequence[shard_building.ShardPlan],
    data: configs.DataConfig,
    class_names: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return the class names of files that were indexed in place.

    Args:
        plans: Of the labeled or of the held-out source, all done.
        data: Its number of classes counts, where it has one.
        class_names: Expected names, for classes that the files do not have or
            do not name.
    """
    found = imagenet_shards.found_classes(plans)
    num_classes = max(len(class_names), data.num_classes, max(found) + 1)
    named = {label: name for label, name in found.items() if name != str(label)}
    names = dict(enumerate(class_names)) | named
    return tfrecords.name_classes(names, num_classes)
