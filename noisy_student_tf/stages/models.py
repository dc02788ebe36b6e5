"""The stages that make a model: trained here, adopted, or only its answers."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from noisy_student_tf import files, recipes, terminal
from noisy_student_tf.devices import runtime
from noisy_student_tf.evaluation import evaluate, metrics
from noisy_student_tf.model import saved, specs
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.stages import model_training, runs

# Of the training images so many are looked at.
_MAX_TRAINING_IMAGES = 10_000


def make(run: runs.Run, model: recipes.Model) -> None:
    """Train or adopt a model, measure it and close its folder.

    Of a teacher that is a table of probabilities there are no weights.

    Raises:
        FileNotFoundError: What it begins with or learns from is not there.
        ValueError: It does not fit.
    """
    directory = runs.directory(run, model)
    if runs.is_done(directory, model.title):
        return
    if model.adopted_from:
        runs.on_chief(run, lambda: _adopt(run, model))
        return
    if model.predictions_from:
        # Who trains need not load what labels.
        from noisy_student_tf.stages import labeler

        runs.on_chief(run, lambda: labeler.take_predictions(run, model))
        return
    trained = model_training.train(run, model)
    runs.on_chief(run, lambda: _save(run, model, trained))


def _save(
    run: runs.Run, model: recipes.Model, trained: model_training.Trained
) -> None:
    directory = runs.directory(run, model)
    saved.save(
        directory,
        model=trained.model,
        ema_model=trained.ema_model,
        spec=trained.spec,
    )
    content: dict[str, Any] = {"total_steps": trained.total_steps}
    if model.start:
        start = runs.directory(run, model.start)
        content["initial_fingerprint"] = saved.fingerprint(start)
    _close(
        run,
        model,
        keras_model=trained.ema_model,
        logits_fn=trained.logits_fn,
        spec=trained.spec,
        content={**content, "step": trained.step},
    )


def _adopt(run: runs.Run, model: recipes.Model) -> None:
    """Take a trained model as the teacher, measured on this run's images."""
    source = model.adopted_from
    # The other workers wait: they would have to make its variables, too.
    alone = dataclasses.replace(
        run, strategy=runtime.own_strategy(run.strategy)
    )
    with alone.strategy.scope():
        keras_model, spec = saved.load(source)
    class_names = runs.class_names(run)
    if list(spec.class_names) != class_names:
        raise ValueError(
            f"--self_training.teacher_directory={source}: the teacher knows "
            f"{spec.num_classes} classes {list(spec.class_names)[:5]}..., the "
            f"labeled images have {len(class_names)}: {class_names[:5]}.... "
            "Give a teacher of the same classes."
        )
    saved.copy(source, runs.directory(run, model))
    _close(
        alone,
        model,
        keras_model=keras_model,
        logits_fn=model_training.logits_of(keras_model, alone.strategy),
        spec=spec,
        content={},
    )


def _close(
    run: runs.Run,
    model: recipes.Model,
    *,
    keras_model: keras.Model,
    logits_fn: evaluate.LogitsFn,
    spec: specs.ModelSpec,
    content: dict[str, Any],
) -> None:
    """Measure a model on the held-out splits and close its folder."""
    directory = runs.directory(run, model)
    variables = keras_model.trainable_variables
    with terminal.working(f"measuring {model.title}"):
        rows = _measure(run, model, logits_fn, spec)
        standing = _standing(run, model, logits_fn, spec)
    files.remove_temporaries(directory)
    shards.write_manifest(
        directory,
        {
            "model": model.name,
            "resolution": spec.resolution,
            "num_parameters": int(
                sum(variable.shape.num_elements() for variable in variables)
            ),
            "fingerprint": saved.fingerprint(directory),
            **content,
            "standing": standing,
            "results": rows,
        },
    )


def _measure(
    run: runs.Run,
    model: recipes.Model,
    logits_fn: evaluate.LogitsFn,
    spec: specs.ModelSpec,
) -> list[dict[str, Any]]:
    """Return the rows of all held-out splits and resolutions.

    What the model says of each image stays in its folder.
    """
    splits = shards.read_manifest(run.workdir.labeled)["splits"]
    rows = []
    for split in ("validation", "test"):
        for resolution in _test_resolutions(run, spec):
            if split not in splits:
                continue
            measured = _measure_split(
                run, model, logits_fn, spec, split=split, resolution=resolution
            )
            row = evaluate.make_row(
                model=model.name,
                set=run.config.preset,
                split=split,
                resolution=resolution,
                weights="ema",
                metrics=measured,
            )
            rows.append(row)
    return rows


def _measure_split(
    run: runs.Run,
    model: recipes.Model,
    logits_fn: evaluate.LogitsFn,
    spec: specs.ModelSpec,
    *,
    split: str,
    resolution: int,
) -> dict[str, Any]:
    """Return the metrics on a split, and keep the logits they follow from."""
    path = held_out.path(
        runs.directory(run, model),
        split,
        resolution=0 if resolution == spec.resolution else resolution,
    )
    stream = runs.test_stream(
        run,
        spec,
        split=split,
        resolution=resolution,
        is_named=True,
        hosts=runtime.other_hosts(run.strategy),
    )
    return evaluate.evaluate_and_keep(
        logits_fn,
        stream,
        spec.num_classes,
        path=path,
        class_names=spec.class_names,
        where=f"{model.name}, {split} images",
    )


def _test_resolutions(run: runs.Run, spec: specs.ModelSpec) -> list[int]:
    """Return the model's own resolution first, and FixRes' two behind it."""
    others = set()
    if run.config.fixres.resolution:
        others = {run.config.model.resolution, run.config.fixres.resolution}
    return [spec.resolution, *sorted(others - {spec.resolution})]


def _standing(
    run: runs.Run,
    model: recipes.Model,
    logits_fn: evaluate.LogitsFn,
    spec: specs.ModelSpec,
) -> dict[str, dict[str, Any]]:
    """Return how a measured model does on validation and training images.

    What it says of the validation images lies in its folder.
    """
    found = {}
    path = held_out.path(runs.directory(run, model), "validation")
    if "validation" in shards.read_manifest(run.workdir.labeled)["splits"]:
        choices = held_out.read_choices(path)
        found["validation"] = metrics.standing(choices.labels, choices.classes)
    hosts = runtime.other_hosts(run.strategy)
    stream = runs.test_stream(run, spec, split="train", hosts=hosts)
    num_batches = math.ceil(
        _MAX_TRAINING_IMAGES / run.config.training.evaluation_batch_size
    )
    batches = evaluate.valid_batches(
        logits_fn, stream.take(num_batches), spec.num_classes
    )
    answers = [(labels, logits.argmax(-1)) for logits, labels, _ in batches]
    labels, named = map(np.concatenate, zip(*answers, strict=True))
    found["train"] = metrics.standing(labels, named)
    return {split: dataclasses.asdict(each) for split, each in found.items()}
