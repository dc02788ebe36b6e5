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

from data_prep import sources
from data_prep.shards import labeled_plans, manifests, shard_building, splits
from noisy_student_tf import configs
from noisy_student_tf.records import shards

FLAGS = flags.FLAGS


def build(
    *,
    data: configs.DataConfig,
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
    plans, class_names = labeled_plans.plan_labeled(data, directory)
    test_plans, test_class_names = labeled_plans.plan_evaluation(
        data, directory
    )
    if class_names is not None and test_class_names is not None:
        # Before any work is done.
        labeled_plans.check_same_classes(data, class_names, test_class_names)
    shard_building.prepare_directory(directory, [*plans, *test_plans])
    shard_building.run(
        [*plans, *test_plans],
        runner=data.beam_runner,
        beam_options=beam_options,
    )
    if class_names is None:
        class_names = labeled_plans.found_class_names(plans, data)
        labeled_plans.check_num_classes(class_names, data)
    if test_plans:
        labeled_plans.check_same_classes(
            data,
            class_names,
            test_class_names
            or labeled_plans.found_class_names(test_plans, data, class_names),
        )
    _finish([*plans, *test_plans], class_names, data, directory)


def _finish(
    plans: Sequence[shard_building.Plan],
    class_names: Sequence[str],
    data: configs.DataConfig,
    directory: str,
) -> None:
    """Check what was written, and write the manifest."""
    manifest = manifests.summarize(
        plans,
        data=data,
        class_names=class_names,
        source={"labeled": data.labeled, "evaluation": data.evaluation},
    )
    counts = manifest["counts_per_class"][splits.TRAIN]
    labeled_plans.check_counts(data.labeled, class_names, counts)
    manifest["excluded"] = {
        "num_overlapping": _check_overlap(plans, data.allow_overlap)
    }
    shards.write_manifest(directory, manifest)


def _check_overlap(
    plans: Sequence[shard_building.Plan], allow_overlap: bool
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


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    """Define the flags of this script; defaults are the configuration's."""
    default = configs.DataConfig()
    flags.DEFINE_string(
        "source",
        None,
        "Labeled images: " + sources.ACCEPTED,
        flag_values=values,
    )
    flags.DEFINE_string(
        "output_dir", None, "Directory of the shards.", flag_values=values
    )
    flags.DEFINE_string(
        "evaluation_source",
        "",
        "Held-out labeled images, all of them `test`.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_classes", 0, "Classes expected. 0: any.", flag_values=values
    )
    flags.DEFINE_integer(
        "labeled_per_class",
        0,
        "Training images per class. 0: all.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "validation_fraction",
        default.validation_fraction,
        "Share held out.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "evaluation_fraction",
        default.evaluation_fraction,
        "Share held out, where there is no --evaluation_source.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "max_corrupt_fraction",
        default.max_corrupt_fraction,
        "Unreadable images tolerated.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_shards",
        default.num_shards,
        "Shards per split.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_stored_side",
        0,
        "Longest stored side in pixels. 0: any.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "allow_overlap",
        False,
        "Accept training images that are held out.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "runner", default.beam_runner, "Apache Beam runner.", flag_values=values
    )
    flags.mark_flags_as_required(["source", "output_dir"], flag_values=values)


def main(argv: Sequence[str]) -> None:
    """Build from flags; what follows a bare `--` is for the Beam runner."""
    data = configs.DataConfig(
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
