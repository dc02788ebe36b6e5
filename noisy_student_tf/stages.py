"""The stages of a run: the only place where configuration meets objects.

Each stage reads finished directories, writes one, and closes it with a
manifest; a stage whose manifest exists is skipped.
"""

import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from data_prep import build_labeled as labeled_builder
from data_prep import build_unlabeled as unlabeled_builder
from data_prep import write_pseudo_labeled as pseudo_labeled_writer
from noisy_student_tf import config as configuration
from noisy_student_tf import export as exporter
from noisy_student_tf import files, fixres
from noisy_student_tf import workdir as workdirs
from noisy_student_tf.evaluation import evaluate, results
from noisy_student_tf.model import efficientnet, saved
from noisy_student_tf.model import spec as specs
from noisy_student_tf.pipeline import decode, eval_stream, train_stream
from noisy_student_tf.pseudo_labels import predict as predictor
from noisy_student_tf.pseudo_labels import select as selector
from noisy_student_tf.records import shards
from noisy_student_tf.training import loop
from noisy_student_tf.training import plan as plans

LogitsFn = Callable[[tf.Tensor], tf.Tensor]

# What a validation writes into the curves.
_CURVES = ("accuracy", "loss", "calibration_error")
# How many images the export and the model must agree on.
_CHECKED_IMAGES = 4


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage is given.

    Attributes:
        config: The resolved configuration.
        workdir: The folders.
        strategy: Where models live and compute.
    """

    config: configuration.Config
    workdir: workdirs.Workdir
    strategy: tf.distribute.Strategy


def is_done(directory: str, title: str) -> bool:
    """Tell whether a stage is finished, and say so in the log."""
    if shards.is_finished(directory):
        logging.info("%s: finished already (%s)", title, directory)
        return True
    logging.info("%s -> %s", title, directory)
    files.make_directories(directory)
    files.remove_temporaries(directory)
    return False


def build_labeled(run: Run) -> None:
    """Write the labeled shards: train, validation, test."""
    directory = run.workdir.labeled
    if not is_done(directory, "Labeled shards"):
        labeled_builder.build(data=run.config.data, directory=directory)


def build_unlabeled(run: Run) -> None:
    """Write the unlabeled shards."""
    directory = run.workdir.unlabeled
    if not is_done(directory, "Unlabeled shards"):
        unlabeled_builder.build(
            data=run.config.data,
            directory=directory,
            labeled_directory=run.workdir.labeled,
        )


def train_teacher(run: Run) -> None:
    """Train the first teacher on labeled images, with noise."""
    directory = run.workdir.teacher
    if is_done(directory, "Teacher"):
        return
    if run.config.self_training.teacher_directory:
        _adopt_teacher(run)
        return
    model_config = configuration.teacher_model(run.config)
    _train(
        run,
        directory=directory,
        name="teacher",
        spec=_spec(run, model_config),
        epochs=run.config.training.teacher_epochs,
        pseudo_labeled=None,
    )


def _adopt_teacher(run: Run) -> None:
    """Take a trained model as the teacher, measured on this run's images."""
    source = run.config.self_training.teacher_directory
    model, spec = saved.load(source)
    class_names = _class_names(run)
    if list(spec.class_names) != class_names:
        raise ValueError(
            f"--self_training.teacher_directory={source}: the teacher knows "
            f"{spec.num_classes} classes {list(spec.class_names)[:5]}..., the "
            f"labeled images have {len(class_names)}: {class_names[:5]}.... "
            "Give a teacher of the same classes."
        )
    for name in ("model.json", "ema.weights.h5", "raw.weights.h5"):
        files.copy(
            files.join(source, name), files.join(run.workdir.teacher, name)
        )
    _finish_model(run, run.workdir.teacher, "teacher", model, spec, {})


def train_student(run: Run, iteration: int) -> None:
    """Train a student, counted from 1, on labeled and pseudo-labeled images."""
    directory = run.workdir.student(iteration)
    if is_done(directory, f"Student {iteration}"):
        return
    pseudo_labeled = shards.open_split(
        run.workdir.pseudo_labeled(iteration), "pseudo_labeled"
    )
    _train(
        run,
        directory=directory,
        name=f"student_{iteration}",
        spec=_spec(run, run.config.model),
        epochs=run.config.training.student_epochs,
        pseudo_labeled=pseudo_labeled,
    )


def finetune_fixres(run: Run) -> None:
    """Fine-tune the last student at the higher resolution, without noise."""
    directory = run.workdir.fixres
    if is_done(directory, "FixRes fine-tuning"):
        return
    iteration = run.config.self_training.num_iterations
    source, spec = saved.load(run.workdir.model(iteration))
    settings = run.config.fixres
    optimizer = dataclasses.replace(
        run.config.optimizer,
        schedule="constant",
        warmup_epochs=0.0,
        base_learning_rate=settings.base_learning_rate,
    )
    name = f"{_model_name(iteration)}_fixres"
    _train(
        dataclasses.replace(
            run, config=dataclasses.replace(run.config, optimizer=optimizer)
        ),
        directory=directory,
        name=name,
        spec=dataclasses.replace(spec, resolution=settings.resolution),
        epochs=settings.epochs,
        pseudo_labeled=None,
        unnoised=True,
        trainable=lambda model: fixres.trainable_variables(model, settings),
        initial_weights=lambda model: model.set_weights(source.get_weights()),
    )


def _train(
    run: Run,
    *,
    directory: str,
    name: str,
    spec: specs.ModelSpec,
    epochs: float,
    pseudo_labeled: shards.ShardSet | None,
    unnoised: bool = False,
    trainable: Callable[[keras.Model], list[Any]] | None = None,
    initial_weights: Callable[[keras.Model], None] | None = None,
) -> None:
    """Train one model, measure it and close its directory."""
    labeled = shards.open_split(run.workdir.labeled, "train")
    # Teacher and students start and draw differently under one seed.
    config = dataclasses.replace(
        run.config, seed=_stage_seed(run.config.seed, name)
    )
    plan = plans.make_plan(
        config,
        num_labeled=labeled.num_records,
        epochs=epochs,
        has_unlabeled=pseudo_labeled is not None,
    )

    def build_model() -> keras.Model:
        return efficientnet.build(
            spec,
            synchronized_batch_norm=run.strategy.num_replicas_in_sync > 1,
            seed=config.seed,
        )

    def make_stream(start_step: int) -> tf.data.Dataset:
        return train_stream.make_train_stream(
            labeled=labeled,
            pseudo_labeled=pseudo_labeled,
            config=config,
            resolution=spec.resolution,
            num_classes=spec.num_classes,
            start_step=start_step,
            unnoised=unnoised,
        )

    started = time.monotonic()
    trained = loop.train(
        config=config,
        plan=plan,
        directory=directory,
        strategy=run.strategy,
        build_model=build_model,
        make_stream=make_stream,
        evaluate=_validator(run, spec),
        title=name,
        trainable=trainable,
        initial_weights=initial_weights,
    )
    saved.save(
        directory, model=trained.model, ema_model=trained.ema_model, spec=spec
    )
    _finish_model(
        run,
        directory,
        name,
        trained.ema_model,
        spec,
        {
            "total_steps": plan.total_steps,
            "seconds_since_start": round(time.monotonic() - started, 1),
        },
    )


def _validator(
    run: Run, spec: specs.ModelSpec
) -> Callable[[keras.Model], dict[str, Any]]:
    """Return a function that measures a model on the validation images."""
    if "validation" not in shards.read_manifest(run.workdir.labeled)["splits"]:
        return lambda model: {}

    # Traced once, not at every validation.
    compiled = functools.cache(logits_of)

    def validate(model: keras.Model) -> dict[str, Any]:
        measured = measure(run, compiled(model), spec, split="validation")
        return {name: measured[name] for name in _CURVES}

    return validate


def logits_of(model: keras.Model) -> LogitsFn:
    """Return a model as a compiled function of images, without noise."""
    return tf.function(lambda images: model(images, training=False))


def measure(
    run: Run,
    logits_fn: LogitsFn,
    spec: specs.ModelSpec,
    *,
    split: str,
    resolution: int | None = None,
) -> dict[str, Any]:
    """Measure a model on a held-out split of the labeled images."""
    stream = eval_stream.make_eval_stream(
        shards.open_split(run.workdir.labeled, split),
        resolution=resolution or spec.resolution,
        batch_size=run.config.training.evaluation_batch_size,
        crop=test_crop(spec),
    )
    return evaluate.evaluate(logits_fn, stream, spec.num_classes)


def _finish_model(
    run: Run,
    directory: str,
    name: str,
    model: keras.Model,
    spec: specs.ModelSpec,
    content: dict[str, Any],
) -> None:
    """Measure a trained model on the held-out splits and close its folder."""
    splits = shards.read_manifest(run.workdir.labeled)["splits"]
    logits_fn = logits_of(model)
    rows = []
    for split in ("validation", "test"):
        for resolution in _test_resolutions(run, spec):
            if split in splits:
                measured = measure(
                    run,
                    logits_fn,
                    spec,
                    split=split,
                    resolution=resolution,
                )
                rows.append(
                    results.make_row(
                        model=name,
                        set=run.config.preset,
                        split=split,
                        resolution=resolution,
                        weights="ema",
                        metrics=measured,
                    )
                )
    shards.write_manifest(
        directory,
        {
            "model": name,
            "num_parameters": int(
                sum(
                    variable.shape.num_elements()
                    for variable in model.trainable_variables
                )
            ),
            "fingerprint": saved.fingerprint(directory),
            **content,
            "results": rows,
        },
    )


def _test_resolutions(run: Run, spec: specs.ModelSpec) -> list[int]:
    """Return the model's own resolution and, beside it, FixRes' one."""
    wanted = {spec.resolution}
    if run.config.fixres.resolution:
        wanted |= {run.config.model.resolution, run.config.fixres.resolution}
    return sorted(wanted)


def predict(
    run: Run,
    iteration: int,
    *,
    shard_index: int = 0,
    num_shard_workers: int = 1,
) -> None:
    """Let the student's teacher label the clean unlabeled images."""
    directory = run.workdir.predictions(iteration)
    if is_done(directory, f"Predictions for student {iteration}"):
        return
    teacher_directory = run.workdir.model(iteration - 1)
    shards.read_manifest(teacher_directory)
    model, spec = saved.load(teacher_directory)

    def probabilities(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(model(images, training=False))

    predictor.predict(
        predict_fn=probabilities,
        unlabeled=shards.open_split(run.workdir.unlabeled, "unlabeled"),
        make_shard_stream=lambda path: eval_stream.make_shard_stream(
            path,
            resolution=spec.resolution,
            batch_size=run.config.training.evaluation_batch_size,
            crop=test_crop(spec),
        ),
        directory=directory,
        num_classes=spec.num_classes,
        teacher_fingerprint=saved.fingerprint(teacher_directory),
        shard_index=shard_index,
        num_shard_workers=num_shard_workers,
        title=f"{_model_name(iteration - 1)} labels",
    )


def select(run: Run, iteration: int) -> None:
    """Filter and balance the predictions."""
    directory = run.workdir.selection(iteration)
    if not is_done(directory, f"Selection for student {iteration}"):
        selector.select(
            predictions_directory=run.workdir.predictions(iteration),
            directory=directory,
            selection=run.config.selection,
            num_classes=len(_class_names(run)),
            seed=run.config.seed,
        )


def write_pseudo_labeled(run: Run, iteration: int) -> None:
    """Write the student's pseudo-labeled shards."""
    directory = run.workdir.pseudo_labeled(iteration)
    if not is_done(directory, f"Pseudo-labeled shards {iteration}"):
        pseudo_labeled_writer.write(
            unlabeled_directory=run.workdir.unlabeled,
            predictions_directory=run.workdir.predictions(iteration),
            selection_directory=run.workdir.selection(iteration),
            directory=directory,
            iteration=iteration,
            beam_runner=run.config.data.beam_runner,
        )


def final_model(run: Run) -> str:
    """Return the folder of the model that a run ends with."""
    if run.config.fixres.resolution:
        return run.workdir.fixres
    return run.workdir.model(run.config.self_training.num_iterations)


def export(run: Run) -> None:
    """Write the final model as a SavedModel, and check it."""
    directory = run.workdir.export
    if is_done(directory, "Export"):
        return
    source = final_model(run)
    model, spec = saved.load(source)
    fingerprint = saved.fingerprint(source)

    def preprocess(encoded: tf.Tensor) -> tf.Tensor:
        return decode.test_image(encoded, spec.resolution, crop=test_crop(spec))

    exporter.export(
        model=model,
        spec=spec,
        directory=run.workdir.saved_model,
        training_fingerprint=fingerprint,
        preprocess=preprocess,
        crop=test_crop(spec),
    )
    exporter.check(
        directory=run.workdir.saved_model,
        model=model,
        images=_some_images(run, spec),
        preprocess=preprocess,
    )
    shards.write_manifest(directory, {"fingerprint": fingerprint})


def _some_images(run: Run, spec: specs.ModelSpec) -> np.ndarray:
    """Return a few training images, uint8 [num_images, side, side, 3]."""
    stream = eval_stream.make_eval_stream(
        shards.open_split(run.workdir.labeled, "train"),
        resolution=spec.resolution,
        batch_size=_CHECKED_IMAGES,
        crop=test_crop(spec),
    )
    batch = next(iter(stream))
    return decode.to_uint8(batch["images"][batch["is_valid"]]).numpy()


def collect_results(run: Run) -> list[dict[str, Any]]:
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


def test_crop(spec: specs.ModelSpec) -> decode.TestCrop:
    """Return the test crop: small images are shown whole."""
    return "whole" if spec.small_image_strides else "center"


def _spec(run: Run, model_config: configuration.ModelConfig) -> specs.ModelSpec:
    class_names = _class_names(run)
    return specs.from_config(
        model_config,
        num_classes=len(class_names),
        class_names=tuple(class_names),
    )


def _class_names(run: Run) -> list[str]:
    return shards.read_manifest(run.workdir.labeled)["class_names"]


def _model_name(iteration: int) -> str:
    return f"student_{iteration}" if iteration else "teacher"


def _stage_seed(seed: int, name: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
