"""Builds unlabeled shards, without a picture of the labeled directory.

Reads the labeled source's images that `build_labeled` left over, or a source
of its own; true labels, where known, are kept aside for reports only.

    python -m data_prep.build_unlabeled --labeled_dir=runs/birds/labeled \\
        --source=files:more_birds --output_dir=runs/birds/unlabeled

Options of the Beam runner follow a bare `--`.
"""

import dataclasses
import shlex
from collections.abc import Sequence

from absl import app, flags, logging

from data_prep import sources
from data_prep.shards import (
    beam_shards,
    corrected,
    file_plans,
    imagenet_shards,
    labeled_plans,
    manifests,
    shard_building,
    sidecars,
    splits,
)
from data_prep.sources import items
from noisy_student_tf import configs, files, terminal
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import shards

FLAGS = flags.FLAGS

# Flag -> field of the configuration; the others are those of the labeled ones.
_FIELDS = {
    "source": "unlabeled",
    "by_file": "unlabeled_by_file",
    "max_corrupt_fraction": "max_corrupt_fraction",
    "num_shards": "num_shards",
    "max_stored_side": "max_stored_side",
    "runner": "beam_runner",
}


def build(
    *, data: configs.DataConfig, directory: str, labeled_directory: str
) -> None:
    """Build the unlabeled directory, or go on with an unfinished build.

    Args:
        data: Sources and limits; the same that built `labeled_directory`.
        directory: Where the shards and `truth.parquet` go.
        labeled_directory: What `build_labeled` wrote; its pictures are left
            out, whether they are the same items or the same bytes.

    Raises:
        ValueError: There is no unlabeled image, or too many are corrupt.
        FileNotFoundError: The source or the labeled directory does not exist.
    """
    labeled = shards.read_manifest(labeled_directory)
    if manifests.is_done(directory, manifests.configuration_of(data)):
        return
    planned = plan(data, directory, labeled_directory)
    plans = planned.plans
    shard_building.prepare_directory(directory, plans)
    shard_building.run(
        plans, beam_shards.Beam.of(data), title="unlabeled images"
    )
    manifest = manifests.summarize(
        plans,
        data=data,
        class_names=labeled["class_names"],
        source={"unlabeled": data.unlabeled or data.labeled},
        listings={"unlabeled": planned.listing},
    )
    manifest["excluded"]["num_same_id"] += planned.num_same_id
    if data.corrections:
        manifest["excluded"]["num_corrected"] = planned.num_corrected
    num_images = manifest["splits"][splits.UNLABELED]["num_records"]
    _check_not_empty(num_images, data)
    knows_truth = list(planned.class_names) == labeled["class_names"]
    path = files.join(directory, sidecars.TRUTH)
    sidecars.write_truth(
        path, _truth(plans, planned.labels) if knows_truth else []
    )
    manifest["checksums"][sidecars.TRUTH] = shards.fingerprint(path)
    shards.write_manifest(directory, manifest)
    logging.info("%s: %d images", splits.UNLABELED, num_images)


@dataclasses.dataclass(frozen=True)
class Planned:
    """The shards to make, and what the source told.

    Attributes:
        plans: One per shard.
        class_names: Of the true labels; empty where they are not known.
        labels: Id to true label, where they are known.
        num_same_id: Images left out because the labeled ones have their ids.
        num_corrected: Images left out because people decided on them.
        listing: What the source holds; None where it is not listed.
    """

    plans: Sequence[shard_building.ShardPlan]
    class_names: tuple[str, ...] = ()
    labels: dict[bytes, int | None] = dataclasses.field(default_factory=dict)
    num_same_id: int = 0
    num_corrected: int = 0
    listing: items.Listing | None = None


def plan(
    data: configs.DataConfig, directory: str, labeled_directory: str = ""
) -> Planned:
    """Plan the unlabeled shards, without pictures of a labeled directory.

    Raises:
        ValueError: There is no unlabeled image.
        FileNotFoundError: The source or the labeled directory does not exist.
    """
    indexes = _comparable_indexes(data, labeled_directory)
    if data.unlabeled and data.unlabeled_by_file:
        return Planned(
            file_plans.plan_unlabeled(
                sources.open_by_file(data.unlabeled),
                directory=directory,
                data=data,
                labeled_directory=labeled_directory,
                excluded_indexes=tuple(indexes),
            )
        )
    source, listing, listed = _list(data, indexes)
    num_same_id = len(listing.images) - len(listed) if data.unlabeled else 0
    answers = corrected.read(data, labeled_directory)
    num_listed = len(listed)
    listed = corrected.without_decided(listed, answers)
    _check_not_empty(len(listed), data)
    return Planned(
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
        num_corrected=num_listed - len(listed),
        listing=listing,
    )


def _list(
    data: configs.DataConfig, indexes: Sequence[str]
) -> tuple[items.Source, items.Listing, list[items.Item]]:
    """Return the source, what it holds, and what of it is unlabeled."""
    if data.unlabeled:
        source = sources.open_source(data.unlabeled)
        listing = labeled_plans.list_images(source, data)
        taken = sidecars.read_ids(indexes)
        return (
            source,
            listing,
            [item for item in listing.images if item.image_id not in taken],
        )
    if imagenet_shards.is_read_in_place(data.labeled, data):
        # Listing would read all files.
        _check_not_empty(data.labeled_per_class, data)
    source = labeled_plans.open_labeled(data)
    listing = labeled_plans.list_images(source, data)
    return source, listing, labeled_plans.assign(source, listing, data).rest


def _check_not_empty(num_images: int, data: configs.DataConfig) -> None:
    if not num_images:
        raise ValueError(
            f"{data.unlabeled or data.labeled}: no unlabeled image is left "
            "beside the labeled and held-out ones. Give a source with "
            "--data.unlabeled (--source of the builder), or label fewer with "
            f"--data.labeled_per_class, which is {data.labeled_per_class} (0: "
            "all); a run that has shards already takes another --workdir."
        )


def _comparable_indexes(
    data: configs.DataConfig, labeled_directory: str
) -> list[str]:
    """Return indexes of labeled images whose ids mean the same in this source.

    Other folders may have the same name and files of the same names; pictures
    that they share are found by content.
    """
    paths: list[str] = []
    if not labeled_directory:
        return paths
    for split in shards.read_manifest(labeled_directory)["splits"]:
        is_held_out_source = split == splits.TEST and data.evaluation
        origin = data.evaluation if is_held_out_source else data.labeled
        if data.unlabeled == origin:
            paths += shards.index_paths(labeled_directory, split)
    return paths


def _truth(
    plans: Sequence[shard_building.ShardPlan], labels: dict[bytes, int | None]
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
    for name, text in (
        ("labeled_dir", "What build_labeled wrote; left out here."),
        ("output_dir", "Directory of the shards."),
    ):
        config_tree.DEFINE_path(name, None, text, required=True, values=values)
    config_tree.define_fields(configs.DataConfig(), _FIELDS, values)


def main(argv: list[str]) -> None:
    """Build from flags; what follows a bare `--` is for the Beam runner.

    What is not given is as it was of the labeled directory.
    """
    logging.set_verbosity(logging.INFO)
    made_with = shards.read_manifest(FLAGS.labeled_dir)["configuration"]
    made_with["beam_options"] = shlex.join(argv[1:])
    data = config_tree.from_dict(configs.DataConfig, made_with)
    build(
        data=config_tree.replace_fields(
            data, _FIELDS, FLAGS, keeps_defaults=False
        ),
        directory=FLAGS.output_dir,
        labeled_directory=FLAGS.labeled_dir,
    )


if __name__ == "__main__":
    define_flags()
    app.run(terminal.guarded(main))
