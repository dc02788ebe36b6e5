"""Builds robustness sets of one's own images: corrupted ones and sequences.

Reads labeled images, and writes for each of the corruptions and severities of
ImageNet-C a directory of labeled shards, and for each of the perturbations of
ImageNet-P a directory of sequences.

    python -m data_prep.build_robustness --source=runs/digits/labeled#test \\
        --output_dir=runs/digits-robustness --resolution=24 --crop=whole

Options of the Beam runner follow a bare `--`.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from absl import app, flags, logging

from data_prep import sources
from data_prep.robustness import robustness_shards
from data_prep.shards import beam_shards, manifests
from data_prep.sources import items
from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.pipeline import decode
from noisy_student_tf.records import robustness_sets, shards

FLAGS = flags.FLAGS

# Flag -> field of `Options`.
_FIELDS = {
    name: name
    for name in ("crop", "num_images", "num_sequences", "extra_corruptions")
}

# Held in memory at once: 75 MB at 224 pixels.
_MAX_GROUP = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is built."""

    # Side of the corrupted images in pixels; the published constants are for
    # about this size.
    resolution: int
    crop: decode.TestCrop = configs.options.option(
        "center", "The test crop that comes before corruption."
    )
    num_images: int = configs.options.option(
        0, "Corrupted images, the first in the order of ids. 0: all."
    )
    num_sequences: int = configs.options.option(
        0, "Sequences per perturbation. 0: one per image."
    )
    extra_corruptions: bool = configs.options.option(
        False, "Also build the four corruptions that do not count for mCE."
    )


def build(
    *,
    source: str,
    directory: str,
    options: Options,
    beam_runner: str = "DirectRunner",
    beam_options: Sequence[str] = (),
) -> None:
    """Build the sets, or go on with an unfinished build.

    Args:
        source: Labeled images; see `sources.ACCEPTED`.
        directory: Gets the folders `corrupted` and `perturbed`.
        options: What is built.
        beam_runner: Name of a Beam runner.
        beam_options: Further options of the runner.

    Raises:
        ValueError: The source has no labels, or other sets are finished in
            the directory.
        FileNotFoundError: The source does not exist.
    """
    configuration = {"source": source, **dataclasses.asdict(options)}
    if manifests.is_done(directory, configuration):
        return
    opened = sources.open_source(source)
    if not opened.class_names:
        raise ValueError(
            f"{source}: the images have no labels, which robustness is "
            "measured with. Give a labeled source."
        )
    chosen = sorted(sources.list_checked(opened), key=lambda i: i.image_id)
    chosen = chosen[: options.num_images or None]
    plans = _plan(opened, chosen, directory, options)
    beam_shards.run(
        plans,
        robustness_shards.write,
        runner=beam_runner,
        beam_options=beam_options,
    )
    _write_manifests(plans, opened.class_names, directory, configuration)


def _plan(
    source: items.Source,
    chosen: Sequence[items.Item],
    directory: str,
    options: Options,
) -> list[robustness_shards.GroupPlan]:
    """Return one plan per group of images, of about equal sizes."""
    count = math.ceil(len(chosen) / _MAX_GROUP)
    num_sequences = options.num_sequences or len(chosen)
    corruptions: tuple[str, ...] = robustness_sets.CORRUPTIONS
    if options.extra_corruptions:
        corruptions += robustness_sets.EXTRA_CORRUPTIONS
    return [
        robustness_shards.GroupPlan(
            reader=source.reader,
            items=tuple(chosen[index::count]),
            num_sequences=len(range(index, num_sequences, count)),
            directory=directory,
            index=index,
            count=count,
            resolution=options.resolution,
            crop=options.crop,
            corruptions=corruptions,
        )
        for index in range(count)
    ]


def _write_manifests(
    plans: Sequence[robustness_shards.GroupPlan],
    class_names: Sequence[str],
    directory: str,
    configuration: dict[str, Any],
) -> None:
    """Close every part, and then the whole."""
    num_images = sum(len(plan.items) for plan in plans)
    num_sequences = sum(
        min(plan.num_sequences, len(plan.items)) for plan in plans
    )
    for part in plans[0].parts():
        shards.write_manifest(
            part.directory,
            {
                "splits": {
                    robustness_sets.SPLIT: shards.split_manifest(
                        paths=[plan.shard_name for plan in plans],
                        num_records=num_sequences
                        if part.is_sequence
                        else num_images,
                        schema="image",
                        num_classes=len(class_names),
                    )
                },
                "class_names": list(class_names),
            },
        )
    shards.write_manifest(
        directory,
        {
            "configuration": configuration,
            "class_names": list(class_names),
            "num_images": num_images,
            "num_sequences": num_sequences,
        },
    )


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    """Define the flags of this script."""
    for name, text in (
        ("source", f"Labeled images: {sources.ACCEPTED}."),
        ("output_dir", "Directory of the sets."),
    ):
        flags.DEFINE_string(name, None, text, required=True, flag_values=values)
    flags.DEFINE_integer(
        "resolution",
        None,
        "Side of the corrupted images in pixels.",
        required=True,
        flag_values=values,
    )
    config_tree.define_fields(Options(resolution=0), _FIELDS, values)
    config_tree.define_fields(
        configs.DataConfig(), {"runner": "beam_runner"}, values
    )


def main(argv: Sequence[str]) -> None:
    """Build from flags; what follows a bare `--` is for the Beam runner."""
    logging.set_verbosity(logging.INFO)
    build(
        source=FLAGS.source,
        directory=FLAGS.output_dir,
        options=config_tree.replace_fields(
            Options(resolution=FLAGS.resolution), _FIELDS, FLAGS
        ),
        beam_runner=FLAGS.runner,
        beam_options=argv[1:],
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
