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

from absl import app, flags, logging

from data_prep import sources
from data_prep.robustness import robustness_shards
from data_prep.shards import beam_shards, manifests
from data_prep.sources import items
from noisy_student_tf import configs, terminal
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import robustness_sets, shards

FLAGS = flags.FLAGS

# Flag -> field of `robustness_shards.Options`.
_FIELDS = {
    name: name
    for name in ("crop", "num_images", "num_sequences", "extra_corruptions")
}

# Held in memory at once: 75 MB at 224 pixels.
_MAX_GROUP = 500


def build(
    *,
    source: str,
    directory: str,
    options: robustness_shards.Options,
    beam: beam_shards.Beam = beam_shards.LOCAL,
) -> None:
    """Build the sets, or go on with an unfinished build.

    `source` is one of `sources.ACCEPTED`; `directory` gets the folders
    `corrupted` and `perturbed`.

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
    chosen = sorted(
        sources.list_checked(opened).images, key=lambda i: i.image_id
    )
    chosen = chosen[: options.num_images or None]
    plans = _plan(opened.reader, chosen, directory, options)
    beam_shards.run(
        plans, robustness_shards.write, beam, title="corrupted images"
    )
    num_images = len(chosen)
    num_sequences = min(options.num_sequences or num_images, num_images)
    content = {"class_names": list(opened.class_names)}
    for part in plans[0].parts():
        entry = shards.split_manifest(
            paths=[plan.shard_name for plan in plans],
            num_records=num_sequences if part.is_sequence else num_images,
            schema="image",
            num_classes=len(opened.class_names),
        )
        splits = {robustness_sets.SPLIT: entry}
        shards.write_manifest(part.directory, {"splits": splits, **content})
    totals = {"num_images": num_images, "num_sequences": num_sequences}
    shards.write_manifest(
        directory, {"configuration": configuration, **content, **totals}
    )


def _plan(
    reader: items.Reader,
    chosen: Sequence[items.Item],
    directory: str,
    options: robustness_shards.Options,
) -> list[robustness_shards.GroupPlan]:
    """Return one plan per group of images, of about equal sizes."""
    count = math.ceil(len(chosen) / _MAX_GROUP)
    num_sequences = options.num_sequences or len(chosen)
    return [
        robustness_shards.GroupPlan(
            reader=reader,
            items=tuple(chosen[index::count]),
            num_sequences=len(range(index, num_sequences, count)),
            directory=directory,
            index=index,
            count=count,
            options=options,
        )
        for index in range(count)
    ]


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    """Define the flags of this script."""
    for name, text in (
        ("source", f"Labeled images: {sources.ACCEPTED}."),
        ("output_dir", "Directory of the sets."),
    ):
        config_tree.DEFINE_path(name, None, text, required=True, values=values)
    flags.DEFINE_integer(
        "resolution",
        None,
        "Side of the corrupted images in pixels.",
        required=True,
        flag_values=values,
    )
    config_tree.define_fields(
        robustness_shards.Options(resolution=0), _FIELDS, values
    )
    config_tree.define_fields(
        configs.DataConfig(), {"runner": "beam_runner"}, values
    )


def main(argv: list[str]) -> None:
    """Build from flags; what follows a bare `--` is for the Beam runner."""
    logging.set_verbosity(logging.INFO)
    build(
        source=FLAGS.source,
        directory=FLAGS.output_dir,
        options=config_tree.replace_fields(
            robustness_shards.Options(resolution=FLAGS.resolution),
            _FIELDS,
            FLAGS,
        ),
        beam=beam_shards.Beam(FLAGS.runner, argv[1:]),
    )


if __name__ == "__main__":
    define_flags()
    app.run(terminal.guarded(main))
