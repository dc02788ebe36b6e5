"""Index pseudo-labeled shards of the authors' code, to train a student on.

Their records hold `image/encoded`, `probabilities` (a float per class),
`label` and `prob`; an image that is repeated is stored again. The files are
read where they lie; only a manifest is written.

    python -m data_prep.index_published --source='filtered/train-*' \\
        --num_classes=1000 --output_dir=runs/imagenet/pseudo_labeled_1

A run whose `pseudo_labeled_1/` is finished neither predicts nor selects for
student 1. Options of the Beam runner follow a bare `--`.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import app, flags
from google.protobuf import message

from data_prep import write_pseudo_labeled
from data_prep.shards import beam_shards
from data_prep.sources import items
from noisy_student_tf import configs, files
from noisy_student_tf.configs import config_flags
from noisy_student_tf.records import schema, shards

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class _Found:
    """Records of some files.

    Attributes:
        num_records: Path -> records.
        counts: int64 [num_classes], by the stored class.
    """

    num_records: dict[str, int]
    counts: np.ndarray


def index(
    pattern: str,
    *,
    directory: str,
    num_classes: int,
    iteration: int = 1,
    beam_runner: str = "DirectRunner",
    beam_options: Sequence[str] = (),
) -> None:
    """Read the files once, check them, and write the manifest.

    Args:
        pattern: Of the files.
        directory: Where the manifest goes.
        num_classes: Of the probabilities.
        iteration: Which student they are for, from 1.
        beam_runner: Apache Beam runner.
        beam_options: Further options of the runner.

    Raises:
        FileNotFoundError: No file matches.
        ValueError: A file is damaged, or a record is no pseudo-label of so
            many classes.
    """
    paths = items.expand(pattern, pattern)
    # The manifest names them from another directory.
    paths = [p if files.is_remote(p) else os.path.abspath(p) for p in paths]
    files.make_directories(directory)
    found = beam_shards.map_reduce(
        paths,
        functools.partial(_read, num_classes),
        _merge,
        directory=directory,
        runner=beam_runner,
        beam_options=beam_options,
    )
    split = write_pseudo_labeled.SPLIT
    entry = shards.split_manifest(
        paths=paths,
        num_records=sum(found.num_records.values()),
        schema="published_pseudo_labeled",
        num_classes=num_classes,
    )
    shards.write_manifest(
        directory,
        {
            "splits": {split: entry},
            "num_classes": num_classes,
            "iteration": iteration,
            "counts_per_class": {split: found.counts.tolist()},
            "copies_per_class": {split: found.counts.tolist()},
        },
    )


def _read(num_classes: int, path: str) -> _Found:
    counts = np.zeros(num_classes, np.int64)
    number = 0
    try:
        for record in shards.read_records(path):
            example = tf.train.Example.FromString(record)
            counts[_class_of(example, num_classes, f"{path}/{number}")] += 1
            number += 1
    except (tf.errors.DataLossError, message.DecodeError) as error:
        raise ValueError(
            f"{path}: damaged or truncated behind record {number}. Make or "
            "fetch it again."
        ) from error
    return _Found({path: number}, counts)


def _class_of(example: tf.train.Example, num_classes: int, where: str) -> int:
    """Return a record's class.

    Raises:
        ValueError: It has no picture, no such class or no probabilities.
    """
    feature = example.features.feature
    probabilities = np.asarray(
        feature[schema.PUBLISHED_PROBABILITIES].float_list.value
    )
    labels = feature[schema.PUBLISHED_LABEL].int64_list.value
    if (
        not schema.stored_bytes(example, schema.IMAGE)
        or len(probabilities) != num_classes
        or not abs(probabilities.sum() - 1) <= schema.MAX_PROBABILITY_SUM_ERROR
        or len(labels) != 1
        or not 0 <= labels[0] < num_classes
    ):
        raise ValueError(
            f"{where}: {len(probabilities)} probabilities of sum "
            f"{probabilities.sum():.3f}, label {list(labels)}; accepted are "
            f"records of the authors' filtering with a picture, {num_classes} "
            "probabilities of sum 1 and a label. Correct --num_classes or "
            "--source."
        )
    return labels[0]


def _merge(first: _Found, second: _Found) -> _Found:
    return _Found(
        first.num_records | second.num_records, first.counts + second.counts
    )


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    """Define the flags of this script."""
    for name, text in (
        ("source", "Glob of the authors' shards."),
        ("output_dir", "Where the manifest goes."),
    ):
        flags.DEFINE_string(name, None, text, required=True, flag_values=values)
    flags.DEFINE_integer(
        "num_classes",
        None,
        "Of the probabilities.",
        required=True,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "iteration", 1, "Which student they are for.", flag_values=values
    )
    config_flags.define_fields(
        configs.DataConfig(), {"runner": "beam_runner"}, values
    )


def main(argv: Sequence[str]) -> None:
    """Index; what follows a bare `--` is for the Beam runner."""
    index(
        FLAGS.source,
        directory=FLAGS.output_dir,
        num_classes=FLAGS.num_classes,
        iteration=FLAGS.iteration,
        beam_runner=FLAGS.runner,
        beam_options=argv[1:],
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
