"""The stages that make data and hand the final model over.

Each stage reads finished directories, writes one, and closes it with a
manifest; a stage whose manifest exists is skipped. Here and in `model_stages`
configuration meets objects, and nowhere else.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import build_labeled as labeled_builder
from data_prep import build_unlabeled as unlabeled_builder
from data_prep import write_pseudo_labeled as pseudo_labeled_writer
from noisy_student_tf import export as exporter
from noisy_student_tf import files, noised_teacher
from noisy_student_tf import run as runs
from noisy_student_tf.model import folding, saved
from noisy_student_tf.model import spec as specs
from noisy_student_tf.pipeline import decode, eval_stream
from noisy_student_tf.pseudo_labels import predict as predictor
from noisy_student_tf.pseudo_labels import select as selector
from noisy_student_tf.records import shards

# How many images the export and the model must agree on.
_CHECKED_IMAGES = 4


def build_labeled(run: runs.Run) -> None:
    """Write the labeled shards: train, validation, test."""
    directory = run.workdir.labeled
    if not runs.is_done(directory, "Labeled shards"):
        labeled_builder.build(data=run.config.data, directory=directory)


def build_unlabeled(run: runs.Run) -> None:
    """Write the unlabeled shards."""
    directory = run.workdir.unlabeled
    if not runs.is_done(directory, "Unlabeled shards"):
        unlabeled_builder.build(
            data=run.config.data,
            directory=directory,
            labeled_directory=run.workdir.labeled,
        )


def predict(
    run: runs.Run,
    iteration: int,
    *,
    shard_index: int = 0,
    num_shard_workers: int = 1,
    closes: bool = True,
) -> None:
    """Let the student's teacher label the unlabeled images.

    They are clean, and so is the teacher, but for the ablation.
    """
    directory = run.workdir.predictions(iteration)
    if runs.is_done(directory, f"Predictions for student {iteration}"):
        return
    teacher_directory = run.workdir.model(iteration - 1)
    shards.read_manifest(teacher_directory)
    model, spec = saved.load(teacher_directory)
    if run.config.self_training.noised_teacher:
        predict_fn = noised_teacher.predict_fn(
            model, run.config.augmentation.unlabeled, seed=run.config.seed
        )
    else:

        def predict_fn(images: tf.Tensor) -> tf.Tensor:
            return tf.nn.softmax(model(images, training=False))

    predictor.predict(
        predict_fn=predict_fn,
        unlabeled=shards.open_split(run.workdir.unlabeled, "unlabeled"),
        make_shard_stream=lambda path: eval_stream.make_shard_stream(
            path,
            resolution=spec.resolution,
            batch_size=run.config.training.evaluation_batch_size,
            crop=runs.test_crop(spec),
        ),
        directory=directory,
        num_classes=spec.num_classes,
        teacher_fingerprint=saved.fingerprint(teacher_directory),
        shard_index=shard_index,
        num_shard_workers=num_shard_workers,
        title=f"{runs.model_name(iteration - 1)} labels",
        closes=closes,
    )


def select(run: runs.Run, iteration: int) -> None:
    """Filter and balance the predictions."""
    directory = run.workdir.selection(iteration)
    if not runs.is_done(directory, f"Selection for student {iteration}"):
        selector.select(
            predictions_directory=run.workdir.predictions(iteration),
            directory=directory,
            selection=run.config.selection,
            num_classes=len(runs.class_names(run)),
            seed=run.config.seed,
        )


def write_pseudo_labeled(run: runs.Run, iteration: int) -> None:
    """Write the student's pseudo-labeled shards."""
    directory = run.workdir.pseudo_labeled(iteration)
    if not runs.is_done(directory, f"Pseudo-labeled shards {iteration}"):
        pseudo_labeled_writer.write(
            unlabeled_directory=run.workdir.unlabeled,
            predictions_directory=run.workdir.predictions(iteration),
            selection_directory=run.workdir.selection(iteration),
            directory=directory,
            iteration=iteration,
            beam_runner=run.config.data.beam_runner,
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
