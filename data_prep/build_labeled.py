"""Builds labeled shards: training, validation and test images.

Reads a labeled source (and a held-out one, if given), splits it by the hashes
of the ids, and writes TFRecord shards with indexes and a manifest.

    python -m data_prep.build_labeled --source=folder:birds \\
        --output_dir=runs/birds/labeled

Options of the Beam runner follow a bare `--`.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging

from data_prep.shards import (
    beam_shards,
    class_checks,
    corrected,
    identical,
    labeled_plans,
    manifests,
    shard_building,
    splits,
)
from noisy_student_tf import configs, files, terminal
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import shards

FLAGS = flags.FLAGS

_OVERLAP = "overlap.txt"

# Fields of the configuration that have flags of other names.
_RENAMED = {
    "labeled": "source",
    "evaluation": "evaluation_source",
    "beam_runner": "runner",
}
# That of `build_unlabeled`, and what follows a bare `--`. The unlabeled source
# is named here for images of it that people confirmed (`corrections`).
_OTHERS = ("unlabeled_by_file", "beam_options")
# Flag -> field.
_FIELDS = {
    _RENAMED.get(field.name, field.name): field.name
    for field in dataclasses.fields(configs.DataConfig)
    if field.name not in _OTHERS
}


def build(*, data: configs.DataConfig, directory: str) -> None:
    """Build the labeled directory, or go on with an unfinished build.

    `directory` gets shards of the splits `train`, `validation` and `test`.

    Raises:
        ValueError: The source and the configuration do not fit, too many
            pictures are corrupt, or training and held-out images overlap.
        FileNotFoundError: The source does not exist.
    """
    if manifests.is_done(directory, manifests.configuration_of(data)):
        return
    labeled, held_out = labeled_plans.plan_all(data, directory)
    plans = [*labeled.plans, *held_out.plans]
    class_names, test_class_names = labeled.class_names, held_out.class_names
    shard_building.prepare_directory(directory, plans)
    if data.corrections:
        corrected.keep_copy(labeled.answers, directory)
    shard_building.run(plans, beam_shards.Beam.of(data), title="labeled images")
    if class_names is None:
        class_names = labeled_plans.found_class_names(labeled.plans, data)
        class_checks.check_num_classes(class_names, data)
    if held_out.plans:
        test_class_names = test_class_names or labeled_plans.found_class_names(
            held_out.plans, data, class_names
        )
        class_checks.check_same_classes(data, class_names, test_class_names)
    manifest = manifests.summarize(
        plans,
        data=data,
        class_names=class_names,
        source={
            "labeled": data.labeled,
            "evaluation": data.evaluation,
            **corrected.source_of(data),
        },
        listings={"labeled": labeled.listing, "evaluation": held_out.listing},
    )
    if data.corrections:
        manifest["corrections"] = labeled.corrections
        corrected.tell(labeled.corrections)
    _finish(manifest, plans, data, directory)


def _finish(
    manifest: dict[str, Any],
    plans: Sequence[shard_building.ShardPlan],
    data: configs.DataConfig,
    directory: str,
) -> None:
    """Check what was written, and write the manifest."""
    counts = manifest["counts_per_class"]
    class_checks.check_counts(
        data.labeled, manifest["class_names"], counts[splits.TRAIN]
    )
    contents = identical.read(plans)
    # Named before an overlap that they are may end the build.
    manifest["in_several_classes"] = identical.name_contradictions(
        contents, manifest["class_names"]
    )
    num_overlapping = identical.check_overlap(
        contents, data.allow_overlap, list_path=files.join(directory, _OVERLAP)
    )
    manifest["excluded"] = {"num_overlapping": num_overlapping}
    shards.write_manifest(directory, manifest)
    for split, per_class in counts.items():
        logging.info(
            "%s: %d images, per class %s", split, sum(per_class), per_class
        )


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    """Define the flags of this script; the configuration's, but for a path."""
    config_tree.DEFINE_path(
        "output_dir",
        None,
        "Directory of the shards.",
        required=True,
        values=values,
    )
    config_tree.define_fields(
        configs.DataConfig(split="stratified"), _FIELDS, values
    )


def main(argv: list[str]) -> None:
    """Build from flags; what follows a bare `--` is for the Beam runner."""
    logging.set_verbosity(logging.INFO)
    made_with = configs.DataConfig(beam_options=shlex.join(argv[1:]))
    build(
        data=config_tree.replace_fields(made_with, _FIELDS, FLAGS),
        directory=FLAGS.output_dir,
    )


if __name__ == "__main__":
    define_flags()
    app.run(terminal.guarded(main))
