"""The stages that make data and hand the final model over.

Each stage reads finished directories, writes one, and closes it with a
manifest; a stage whose manifest exists is skipped. Here and in `model_stages`
configuration meets objects, and nowhere else.
"""

import shlex
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import build_labeled as labeled_builder
from data_prep import build_unlabeled as unlabeled_builder
from noisy_student_tf import export as exporter
from noisy_student_tf import files
from noisy_student_tf import run as runs
from noisy_student_tf.model import folding, saved
from noisy_student_tf.model import spec as specs
from noisy_student_tf.pipeline import decode, eval_stream
from noisy_student_tf.records import shards

# How many images the export and the model must agree on.
_CHECKED_IMAGES = 4


def build_labeled(run: runs.Run) -> None:
    """Write the labeled shards: train, validation, test."""
    directory = run.workdir.labeled
    if not runs.is_done(directory, "Labeled shards"):
        labeled_builder.build(
            data=run.config.data,
            directory=directory,
            beam_options=shlex.split(run.config.data.beam_options),
        )


def build_unlabeled(run: runs.Run) -> None:
    """Write the unlabeled shards."""
    directory = run.workdir.unlabeled
    if not runs.is_done(directory, "Unlabeled shards"):
        unlabeled_builder.build(
            data=run.config.data,
            directory=directory,
            labeled_directory=run.workdir.labeled,
            beam_options=shlex.split(run.config.data.beam_options),
        )


def export(run: runs.Run) -> None:
    """Write the final model as a SavedModel, and check it."""
    directory = run.workdir.export
    if runs.is_done(directory, "Export"):
        return
    source = runs.final_model(run)
    model, spec = saved.load(source)
    fingerprint = saved.fingerprint(source)

    def preprocess(encoded: tf.Tensor) -> tf.Tensor:
        return decode.test_image(
            encoded, spec.resolution, crop=runs.test_crop(spec)
        )

    exporter.export(
        model=folding.FoldedEfficientNet(model),
        spec=spec,
        directory=run.workdir.saved_model,
        training_fingerprint=fingerprint,
        preprocess=preprocess,
        crop=runs.test_crop(spec),
    )
    exporter.check(
        directory=run.workdir.saved_model,
        model=model,
        images=_some_images(run, spec),
        preprocess=preprocess,
    )
    name = shards.read_manifest(source)["model"]
    shards.write_manifest(
        directory, {"model": name, "fingerprint": fingerprint}
    )


def _some_images(run: runs.Run, spec: specs.ModelSpec) -> np.ndarray:
    """Return a few training images, uint8 [num_images, side, side, 3]."""
    stream = eval_stream.make_eval_stream(
        shards.open_split(run.workdir.labeled, "train"),
        resolution=spec.resolution,
        batch_size=_CHECKED_IMAGES,
        crop=runs.test_crop(spec),
    )
    batch = next(iter(stream))
    return decode.to_uint8(batch["images"][batch["is_valid"]]).numpy()


def collect_results(run: runs.Run) -> list[dict[str, Any]]:
    """Gather the measurements of all finished models in `results.json`."""
    last = run.config.self_training.num_iterations
    directories = [run.workdir.model(i) for i in range(last + 1)]
    directories.append(run.workdir.fixres)
    rows = [
        row
        for directory in directories
        if shards.is_finished(directory)
        for row in shards.read_manifest(directory)["results"]
    ]
    files.write_json(run.workdir.results, rows)
    return rows
