"""Plans the shards of the labeled directory: sources, checked and split."""

import dataclasses
from collections.abc import Sequence

from data_prep import sources
from data_prep.shards import (
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
    check_num_classes(source.class_names, data)
    return source


def check_num_classes(
    class_names: Sequence[str], data: configs.DataConfig
) -> None:
    """Check the labeled source's classes against the configuration.

    Raises:
        ValueError: There are fewer than two, or not `data.num_classes`.
    """
    num_classes = len(class_names)
    if num_classes < 2:
        raise ValueError(
            f"{data.labeled}: a labeled source needs at least 2 classes; this "
            f"one has {list(class_names)}. Of csv:, wds: and parquet: the "
            "column or key of the labels is chosen by #label=NAME."
        )
    if data.num_classes not in (0, num_classes):
        raise ValueError(
            f"{data.labeled}: the source has {num_classes} classes "
            f"({', '.join(class_names[:10])}"
            f"{', ...' if num_classes > 10 else ''}), but --data.num_classes="
            f"{data.num_classes}. Correct the flag, or the source."
        )


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
    check_counts(data.labeled, source.class_names, counts)
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


def check_counts(
    specification: str, class_names: Sequence[str], counts: Sequence[int]
) -> None:
    """Check that every class has an image.

    Raises:
        ValueError: Some have none.
    """
    empty = [
        name
        for name, count in zip(class_names, counts, strict=True)
        if not count
    ]
    if empty:
        raise ValueError(
            f"{specification}: there is no usable image of class "
            f"{', '.join(map(repr, empty))}. Add images, or remove the class."
        )


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
    """

    plans: Sequence[shard_building.ShardPlan] = ()
    class_names: tuple[str, ...] | None = None
    listing: items.Listing | None = None


def plan_labeled(data: configs.DataConfig, directory: str) -> Planned:
    """Plan the splits of the labeled source."""
    in_place = imagenet_shards.is_read_in_place(data.labeled, data)
    if in_place and not data.labeled_per_class:
        return Planned(imagenet_shards.plan_splits(data, directory))
    source = open_labeled(data)
    listing = list_images(source, data)
    plans: list[shard_building.ShardPlan] = []
    for split, images in assign(source, listing, data).splits.items():
        plans += plan_shards(
            source, images, split=split, directory=directory, data=data
        )
    return Planned(plans, source.class_names, listing)


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
        ValueError: See `check_same_classes`.
    """
    labeled = plan_labeled(data, directory)
    held_out = plan_evaluation(data, directory, labeled.class_names)
    if labeled.class_names is not None and held_out.class_names is not None:
        check_same_classes(data, labeled.class_names, held_out.class_names)
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


def check_same_classes(
    data: configs.DataConfig,
    class_names: Sequence[str],
    held_out_class_names: Sequence[str],
) -> None:
    """Check that the held-out source has the labeled source's classes.

    Raises:
        ValueError: It has others.
    """
    if tuple(class_names) == tuple(held_out_class_names):
        return
    missing = sorted(set(class_names) - set(held_out_class_names))
    unknown = sorted(set(held_out_class_names) - set(class_names))
    raise ValueError(
        f"--data.evaluation={data.evaluation}: its classes are not those of "
        f"--data.labeled={data.labeled}. Missing: {missing}; unknown: "
        f"{unknown}. Classes that the held-out images lack may be missing "
        "there; all others need the names of labeled ones."
    )
