"""Builds labeled shards: training, validation and test images.

Reads a labeled source (and a held-out one, if given), splits it by the hashes
of the ids, and writes TFRecord shards with indexes and a manifest.

    python -m data_prep.build_labeled --source=folder:birds \\
        --output_dir=runs/birds/labeled

Options of the Beam runner follow a bare `--`.
"""

import dataclasses
from collections.abc import Sequence

from absl import app, flags, logging

from data_prep import items, manifests, shard_building, sources, splits
from noisy_student_tf import config
from noisy_student_tf.records import shards

FLAGS = flags.FLAGS


def build(
    *,
    data: config.DataConfig,
    directory: str,
    num_classes: int = 0,
    beam_options: Sequence[str] = (),
) -> None:
    """Build the labeled directory, or go on with an unfinished build.

    Args:
        data: Sources, splits and limits.
        directory: Where `train`, `validation` and `test` shards go.
        num_classes: Classes that the source must have; 0: what
            `data.num_classes` says.
        beam_options: Further options of the Beam runner.

    Raises:
        ValueError: The source and the configuration do not fit, too many
            pictures are corrupt, or training and held-out images overlap.
        FileNotFoundError: The source does not exist.
    """
    data = dataclasses.replace(
        data, num_classes=num_classes or data.num_classes
    )
    if manifests.is_done(directory, data):
        return
    source = open_labeled(data)
    assignment = assign(source, data)
    plans = _plan(source, assignment.splits, directory, data)
    if data.evaluation:
        plans += _plan_evaluation(source, directory, data)
    shard_building.prepare_directory(directory, plans)
    shard_building.run(
        plans, runner=data.beam_runner, beam_options=beam_options
    )
    manifest = manifests.summarize(
        plans,
        data=data,
        class_names=source.class_names,
        source={"labeled": data.labeled, "evaluation": data.evaluation},
    )
    _check_counts(manifest["counts_per_class"][splits.TRAIN], source)
    manifest["excluded"] = {
        "num_overlapping": _check_overlap(plans, data.allow_overlap)
    }
    shards.write_manifest(directory, manifest)


def open_labeled(data: config.DataConfig) -> items.Source:
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
    num_classes = len(source.class_names)
    if num_classes < 2:
        raise ValueError(
            f"{data.labeled}: a labeled source needs at least 2 classes; this "
            f"one has {list(source.class_names)}."
        )
    if data.num_classes not in (0, num_classes):
        raise ValueError(
            f"{data.labeled}: the source has {num_classes} classes "
            f"({', '.join(source.class_names[:10])}"
            f"{', ...' if num_classes > 10 else ''}), but --data.num_classes="
            f"{data.num_classes}. Correct the flag, or the source."
        )
    return source


def assign(source: items.Source, data: config.DataConfig) -> splits.Assignment:
    """List a labeled source and split it; the same whenever it is called.

    Raises:
        ValueError: A class has no image, or too few.
    """
    listed = sources.list_checked(source)
    num_classes = len(source.class_names)
    counts = splits.count_per_class(listed, num_classes)
    _check_counts(counts, source)
    assignment = splits.assign(
        listed,
        num_classes=num_classes,
        evaluation_fraction=0.0
        if data.evaluation
        else data.evaluation_fraction,
        validation_fraction=data.validation_fraction,
        labeled_per_class=data.labeled_per_class,
    )
    counts = splits.count_per_class(
        assignment.splits[splits.TRAIN], num_classes
    )
    scarce = [
        f"{name}: {count}"
        for name, count in zip(source.class_names, counts, strict=True)
        if count < max(data.labeled_per_class, 1)
    ]
    if scarce:
        raise ValueError(
            f"{data.labeled}: --data.labeled_per_class="
            f"{data.labeled_per_class}, but after holding out validation and "
            f"test images there are fewer of {', '.join(scarce)}. Lower it, "
            "hold out less, or add images."
        )
    return assignment


def _check_counts(counts: Sequence[int], source: items.Source) -> None:
    empty = [
        name
        for name, count in zip(source.class_names, counts, strict=True)
        if not count
    ]
    if empty:
        raise ValueError(
            f"{source.specification}: no usable image of class "
            f"{', '.join(map(repr, empty))}. Add images, or remove the class."
        )


def _plan(
    source: items.Source,
    images: dict[str, list[items.Item]],
    directory: str,
    data: config.DataConfig,
) -> list[shard_building.ShardPlan]:
    plans = []
    for split, split_items in images.items():
        placed = splits.place(
            split_items,
            num_shards=data.num_shards,
            is_shuffled=source.is_shuffled,
        )
        plans += [
            shard_building.ShardPlan(
                source=source,
                items=shard_items,
                directory=directory,
                split=split,
                index=index,
                count=len(placed),
                has_labels=True,
                max_side=data.max_stored_side,
            )
            for index, shard_items in enumerate(placed)
        ]
    return plans


def _plan_evaluation(
    source: items.Source, directory: str, data: config.DataConfig
) -> list[shard_building.ShardPlan]:
    """Plan the test shards of a held-out source with the same classes."""
    held_out = sources.open_source(data.evaluation)
    if held_out.class_names != source.class_names:
        missing = sorted(set(source.class_names) - set(held_out.class_names))
        added = sorted(set(held_out.class_names) - set(source.class_names))
        raise ValueError(
            f"--data.evaluation={data.evaluation}: its classes are not those "
            f"of --data.labeled={data.labeled}. Missing: {missing}; unknown: "
            f"{added}. Both need the same classes in the same order."
        )
    listed = sources.list_checked(held_out)
    return _plan(held_out, {splits.TEST: listed}, directory, data)


def _check_overlap(
    plans: Sequence[shard_building.ShardPlan], allow_overlap: bool
) -> int:
    """Return how many training images are held out, too.

    Raises:
        ValueError: There are some, and they are not allowed.
    """
    pairs = manifests.find_overlap(plans)
    if not pairs:
        return 0
    named = [f"{key} = {other}" for key, other in pairs]
    message = (
        f"{len(pairs)} training images are in the held-out sets, too (by "
        f"content): {manifests.name_some(named)}"
    )
    if not allow_overlap:
        raise ValueError(
            f"{message}. Remove them from one of the sources, or accept them "
            "with --data.allow_overlap (--allow_overlap of the builder)."
        )
    logging.warning("%s.", message)
    return len(pairs)


def define_flags() -> None:
    """Define the flags of this script; defaults are the configuration's."""
    default = config.DataConfig()
    flags.DEFINE_string("source", None, "Labeled images: " + sources.ACCEPTED)
    flags.DEFINE_string("output_dir", None, "Directory of the shards.")
    flags.DEFINE_string(
        "evaluation_source", "", "Held-out labeled images, all of them `test`."
    )
    flags.DEFINE_integer("num_classes", 0, "Classes expected. 0: any.")
    flags.DEFINE_integer(
        "labeled_per_class", 0, "Training images per class. 0: all."
    )
    flags.DEFINE_float(
        "validation_fraction", default.validation_fraction, "Share held out."
    )
    flags.DEFINE_float(
        "evaluation_fraction",
        default.evaluation_fraction,
        "Share held out, where there is no --evaluation_source.",
    )
    flags.DEFINE_float(
        "max_corrupt_fraction",
        default.max_corrupt_fraction,
        "Unreadable images tolerated.",
    )
    flags.DEFINE_integer("num_shards", default.num_shards, "Shards per split.")
    flags.DEFINE_integer(
        "max_stored_side", 0, "Longest stored side in pixels. 0: any."
    )
    flags.DEFINE_bool(
        "allow_overlap", False, "Accept training images that are held out."
    )
    flags.DEFINE_string("runner", default.beam_runner, "Apache Beam runner.")
    flags.mark_flags_as_required(["source", "output_dir"])


def main(argv: Sequence[str]) -> None:
    """Build from flags; what follows a bare `--` is for the Beam runner."""
    data = config.DataConfig(
        labeled=FLAGS.source,
        evaluation=FLAGS.evaluation_source,
        num_classes=FLAGS.num_classes,
        labeled_per_class=FLAGS.labeled_per_class,
        validation_fraction=FLAGS.validation_fraction,
        evaluation_fraction=FLAGS.evaluation_fraction,
        max_corrupt_fraction=FLAGS.max_corrupt_fraction,
        num_shards=FLAGS.num_shards,
        max_stored_side=FLAGS.max_stored_side,
        allow_overlap=FLAGS.allow_overlap,
        beam_runner=FLAGS.runner,
    )
    build(data=data, directory=FLAGS.output_dir, beam_options=argv[1:])
    for split, counts in shards.read_manifest(FLAGS.output_dir)[
        "counts_per_class"
    ].items():
        print(f"{split}: {sum(counts)} images, per class {counts}")


if __name__ == "__main__":
    define_flags()
    app.run(main)
