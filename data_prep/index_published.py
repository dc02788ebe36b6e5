"""Index pseudo-labeled shards of the authors' code, to train a student on.

Their records hold `image/encoded`, `probabilities` (a float per class),
`label` and `prob`; an image that is repeated is stored again. The files are
read where they lie; only a manifest is written. Every picture is decoded once:
a file that holds some that cannot be decoded is copied without them.

    python -m data_prep.index_published --source='filtered/train-*' \\
        --num_classes=1000 --output_dir=runs/imagenet/pseudo_labeled_1

A run whose `pseudo_labeled_1/` is finished neither predicts nor selects for
student 1. Options of the Beam runner follow a bare `--`.
"""

import dataclasses
import functools
import os
from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags

from data_prep import write_pseudo_labeled
from data_prep.shards import beam_shards, manifests
from data_prep.sources import items, pictures, tfrecords
from noisy_student_tf import configs, files, terminal
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import schema, shards

FLAGS = flags.FLAGS

SPLIT = write_pseudo_labeled.SPLIT


@dataclasses.dataclass(frozen=True)
class _Found:
    """Records of some files.

    Attributes:
        paths: File -> path of its copy where it has one, else its own.
        counts: int64 [num_classes], by the stored class.
        corrupt: `{"key", "reason"}` of the pictures that are left out.
    """

    paths: dict[str, str]
    counts: np.ndarray
    corrupt: list[dict[str, str]]


def index(
    pattern: str,
    *,
    directory: str,
    num_classes: int,
    iteration: int = 1,
    max_corrupt_fraction: float = 0.0,
    beam: beam_shards.Beam = beam_shards.LOCAL,
) -> None:
    """Read the files once, check them, and write the manifest.

    `iteration` says which student they are for, from 1.

    Raises:
        FileNotFoundError: No file matches.
        ValueError: A file is damaged, a record is no pseudo-label of so many
            classes, or too many pictures cannot be decoded.
    """
    paths = items.expand_absolute(pattern, pattern)
    files.make_directories(directory)
    names = [shards.shard_name(SPLIT, i, len(paths)) for i in range(len(paths))]
    copies = [files.join(directory, name) for name in names]
    found = beam_shards.map_reduce(
        list(zip(paths, copies, strict=True)),
        functools.partial(_read, num_classes),
        _merge,
        directory=directory,
        beam=beam,
    )
    manifests.check_corrupt(
        pattern,
        found.corrupt,
        num_used=int(found.counts.sum()),
        max_corrupt_fraction=max_corrupt_fraction,
    )
    kept = [found.paths[path] for path in paths]
    shards.write_manifest(directory, _make_manifest(found, kept, iteration))


def _make_manifest(
    found: _Found, paths: list[str], iteration: int
) -> dict[str, Any]:
    num_classes = len(found.counts)
    entry = shards.split_manifest(
        paths=paths,
        num_records=int(found.counts.sum()),
        schema="published_pseudo_labeled",
        num_classes=num_classes,
    )
    counts = {SPLIT: found.counts.tolist()}
    return {
        "splits": {SPLIT: entry},
        "num_classes": num_classes,
        "iteration": iteration,
        "counts_per_class": counts,
        "copies_per_class": counts,
        "corrupt": found.corrupt,
    }


def _read(num_classes: int, paths: tuple[str, str]) -> _Found:
    """Check a file, and write its copy if pictures must be left out."""
    path, copy = paths
    counts = np.zeros(num_classes, np.int64)
    corrupt: dict[int, dict[str, str]] = {}
    for number, (_, _, example) in enumerate(tfrecords.read_examples(path)):
        key = f"{path}/{number}"
        class_id = _class_of(example, num_classes, key)
        try:
            pictures.check_decodable(schema.stored_bytes(example, schema.IMAGE))
            counts[class_id] += 1
        except pictures.CorruptImageError as error:
            corrupt[number] = {"key": key, "reason": str(error)}
    if corrupt:
        tfrecords.copy_without(path, copy, corrupt.keys())
    kept = os.path.basename(copy) if corrupt else path
    return _Found({path: kept}, counts, list(corrupt.values()))


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
        or not schema.are_probabilities(
            probabilities.sum(), probabilities.min()
        )
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
        first.paths | second.paths,
        first.counts + second.counts,
        first.corrupt + second.corrupt,
    )


def define_flags(values: flags.FlagValues = FLAGS) -> None:
    """Define the flags of this script."""
    for name, text in (
        ("source", "Glob of the authors' shards."),
        ("output_dir", "Where the manifest goes."),
    ):
        config_tree.DEFINE_path(name, None, text, required=True, values=values)
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
    config_tree.define_fields(
        configs.DataConfig(),
        {
            "max_corrupt_fraction": "max_corrupt_fraction",
            "runner": "beam_runner",
        },
        values,
    )


def main(argv: list[str]) -> None:
    """Index; what follows a bare `--` is for the Beam runner."""
    index(
        FLAGS.source,
        directory=FLAGS.output_dir,
        num_classes=FLAGS.num_classes,
        iteration=FLAGS.iteration,
        max_corrupt_fraction=FLAGS.max_corrupt_fraction,
        beam=beam_shards.Beam(FLAGS.runner, argv[1:]),
    )


if __name__ == "__main__":
    define_flags()
    app.run(terminal.guarded(main))
