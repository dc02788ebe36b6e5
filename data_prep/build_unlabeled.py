"""Builds unlabeled shards, without a picture of the labeled directory.

Reads the labeled source's images that `build_labeled` left over, or a source
of its own; true labels, where known, are kept aside for reports only.

    python -m data_prep.build_unlabeled --labeled_dir=runs/birds/labeled \\
        --source=files:more_birds --output_dir=runs/birds/unlabeled

Options of the Beam runner follow a bare `--`.
"""

import dataclasses
from collections.abc import Sequence

from absl import app, flags

from data_prep import sources
from data_prep.shards import (
    file_plans,
    labeled_plans,
    manifests,
    shard_building,
    sidecars,
    splits,
)
from data_prep.sources import items
from noisy_student_tf import configs, files
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import shards

FLAGS = flags.FLAGS


def build(
    *,
    data: configs.DataConfig,
    directory: str,
    labeled_directory: str,
    beam_options: Sequence[str] = (),
) -> None:
    """Build the unlabeled directory, or go on with an unfinished build.

    Args:
        data: Sources and limits; the same that built `labeled_directory`.
        directory: Where the shards and `truth.parquet` go.
        labeled_directory: What `build_labeled` wrote; its pictures are left
            out, whether they are the same items or the same bytes.
        beam_options: Further options of the Beam runner.

    Raises:
        ValueError: There is no unlabeled image, or too many are corrupt.
        FileNotFoundError: The source or the labeled directory does not exist.
    """
    labeled = shards.read_manifest(labeled_directory)
    if manifests.is_done(directory, data):
        return
    planned = _plan(data, directory, labeled_directory)
    plans = planned.plans
    shard_building.prepare_directory(directory, plans)
    shard_building.run(
        plans, runner=data.beam_runner, beam_options=beam_options
    )
    manifest = manifests.summarize(
        plans,
        data=data,
        class_names=labeled["class_names"],
        source={"unlabeled": planned.specification},
    )
    manifest["excluded"]["num_same_id"] += planned.num_same_id
    if not manifest["splits"][splits.UNLABELED]["num_records"]:
        raise ValueError(_nothing_left(planned.specification))
    knows_truth = list(planned.class_names) == labeled["class_names"]
    path = files.join(directory, sidecars.TRUTH)
    sidecars.write_truth(
        path, _truth(plans, planned.labels) if knows_truth else []
    )
    manifest["checksums"][sidecars.TRUTH] = shards.fingerprint(path)
    shards.write_manifest(directory, manifest)


@dataclasses.dataclass(frozen=True)
class _Planned:
    """The shards to make, and what the source told.

    Attributes:
        specification: Of the source.
        plans: One per shard.
        class_names: Of the true labels; empty where they are not known.
        labels: Id to true label, where they are known.
        num_same_id: Images left out because the labeled ones have their ids.
    """

    specification: str
    plans: Sequence[shard_building.Plan]
    class_names: tuple[str, ...] = ()
    labels: dict[bytes, int | None] = dataclasses.field(default_factory=dict)
    num_same_id: int = 0


def _plan(
    data: configs.DataConfig, directory: str, labeled_directory: str
) -> _Planned:
    if data.unlabeled and data.unlabeled_by_file:
        by_file = sources.open_by_file(data.unlabeled)
        return _Planned(
            by_file.specification,
            file_plans.plan_unlabeled(
                by_file,
                directory=directory,
                data=data,
                labeled_directory=labeled_directory,
                excluded_indexes=tuple(
                    _comparable_indexes(data, labeled_directory)
                ),
            ),
        )
    source, listed, num_same_id = _list_unlabeled(data, labeled_directory)
    return _Planned(
        source.specification,
        labeled_plans.plan_shards(
            source,
            listed,
            split=splits.UNLABELED,
            directory=directory,
            data=data,
            labeled_directory=labeled_directory,
        ),
        class_names=source.class_names,
        labels={item.image_id: item.label for item in listed},
        num_same_id=num_same_id,
    )


def _nothing_left(specification: str) -> str:
    return (
        f"{specification}: no unlabeled image is left beside the labeled and "
        "held-out ones. Give a source with --data.unlabeled (--source of the "
        "builder), or lower --data.labeled_per_class."
    )


def _list_unlabeled(
    data: configs.DataConfig, labeled_directory: str
) -> tuple[items.Source, list[items.Item], int]:
    """Return the source, its images, and how many were left out by id."""
    if not data.unlabeled:
        if not data.labeled_per_class:
            raise ValueError(_nothing_left(data.labeled))
        source = labeled_plans.open_labeled(data)
        listed = labeled_plans.assign(source, data).rest
        num_same_id = 0
    else:
        source = sources.open_source(data.unlabeled)
        everything = sources.list_checked(source)
        taken = _labeled_ids(data, labeled_directory)
        listed = [item for item in everything if item.image_id not in taken]
        num_same_id = len(everything) - len(listed)
    if not listed:
        raise ValueError(_nothing_left(source.specification))
    return source, listed, num_same_id


def _labeled_ids(
    data: configs.DataConfig, labeled_directory: str
) -> frozenset[bytes]:
    paths = _comparable_indexes(data, labeled_directory)
    return frozenset(sidecars.read_column(paths, "image_id").to_pylist())


def _comparable_indexes(
    data: configs.DataConfig, labeled_directory: str
) -> list[str]:
    """Return indexes of labeled images whose ids mean the same in this source.

    Other folders may have the same name and files of the same names; pictures
    that they share are found by content.
    """
    paths: list[str] = []
    for split in shards.read_manifest(labeled_directory)["splits"]:
        is_held_out_source = split == splits.TEST and data.evaluation
        origin = data.evaluation if is_held_out_source else data.labeled
        if data.unlabeled == origin:
            paths += sidecars.split_indexes(labeled_directory, split)
    return paths


def _truth(
    plans: Sequence[shard_building.Plan], labels: dict[bytes, int | None]
) -> list[tuple[bytes, int]]:
    """Return (image_id, label) of the images that were written."""
    written = sidecars.read_column(
        [plan.index_path for plan in plans], "image_id"
    )
    return [
        (image_id, label)
        for image_id in written.to_pylist()
        if (label := labels[image_id]) is not None
    ]


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    """Define the flags of this script."""
    default = configs.DataConfig()
    flags.DEFINE_string(
        "source",
        "",
        f"Unlabeled images: {sources.ACCEPTED}. Empty: what --labeled_dir left "
        "of its source.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "labeled_dir",
        None,
        "What build_labeled wrote; left out here.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "output_dir", None, "Directory of the shards.", flag_values=values
    )
    flags.DEFINE_float(
        "max_corrupt_fraction",
        default.max_corrupt_fraction,
        "Unreadable images tolerated.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "by_file",
        default.unlabeled_by_file,
        "Shards of whole tar or TFRecord files, which the workers list; for "
        "heaps whose listing fits no memory.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_shards", default.num_shards, "Shards.", flag_values=values
    )
    flags.DEFINE_integer(
        "max_stored_side",
        0,
        "Longest stored side in pixels. 0: any.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "runner", default.beam_runner, "Apache Beam runner.", flag_values=values
    )
    flags.mark_flags_as_required(
        ["labeled_dir", "output_dir"], flag_values=values
    )


def main(argv: Sequence[str]) -> None:
    """Build from flags; what follows a bare `--` is for the Beam runner."""
    made_with = shards.read_manifest(FLAGS.labeled_dir)["configuration"]
    data = dataclasses.replace(
        config_tree.from_dict(configs.DataConfig, made_with),
        unlabeled=FLAGS.source,
        unlabeled_by_file=FLAGS.by_file,
        max_corrupt_fraction=FLAGS.max_corrupt_fraction,
        num_shards=FLAGS.num_shards,
        max_stored_side=FLAGS.max_stored_side,
        beam_runner=FLAGS.runner,
    )
    build(
        data=data,
        directory=FLAGS.output_dir,
        labeled_directory=FLAGS.labeled_dir,
        beam_options=argv[1:],
    )
    manifest = shards.read_manifest(FLAGS.output_dir)
    num_images = manifest["splits"][splits.UNLABELED]["num_records"]
    print(f"{splits.UNLABELED}: {num_images} images")


if __name__ == "__main__":
    define_flags()
    app.run(main)
