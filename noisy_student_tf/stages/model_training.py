"""One model of a run: trained, measured, its folder closed.

Here and in the modules of stages configuration meets objects, nowhere else.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from noisy_student_tf import configs, files
from noisy_student_tf.devices import replicas
from noisy_student_tf.evaluation import evaluate, results
from noisy_student_tf.model import (
    architectures,
    efficientnet,
    saved,
    specs,
    starts,
)
from noisy_student_tf.pipeline import eval_stream, train_stream
from noisy_student_tf.records import shards
from noisy_student_tf.stages import runs
from noisy_student_tf.training import engine, loop
from noisy_student_tf.training import plan as plans
from noisy_student_tf.training import state as states

LogitsFn = Callable[[tf.Tensor], tf.Tensor]

# What a validation writes into the curves.
_CURVES = ("accuracy", "loss", "calibration_error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Attributes:
        name: The model's.
        directory: Gets its weights and curves.
        spec: Its architecture.
        epochs: Length of the training, in labeled epochs.
        pseudo_labeled: Images beside the labeled ones; None for a teacher.
        start: Directory of the model that it begins with; empty: none.
        online_teacher: Directory of the model that labels within each step;
            empty: the labels are stored.
        shows_test_crops: Whether images are shown as in tests, without noise.
        choose_trained: Freezes layers and returns the variables to train.
            None: all.
    """

    name: str
    directory: str
    spec: specs.ModelSpec
    epochs: float
    pseudo_labeled: shards.ShardSet | None = None
    start: str = ""
    online_teacher: str = ""
    shows_test_crops: bool = False
    choose_trained: states.ChooseTrained | None = None


def train(run: runs.Run, recipe: Recipe) -> None:
    """Train one model, measure it and close its directory."""
    labeled = shards.open_split(run.workdir.labeled, "train")
    # Teacher and students start and draw differently under one seed.
    config = dataclasses.replace(
        run.config, seed=runs.stage_seed(run.config.seed, recipe.name)
    )
    plan = plans.make_plan(
        config,
        num_labeled=labeled.num_records,
        epochs=recipe.epochs,
        has_unlabeled=recipe.pseudo_labeled is not None,
    )
    # Traced once for each model, not at every measurement.
    compiled = functools.cache(
        functools.partial(logits_of, strategy=run.strategy)
    )
    trained = loop.train(
        config=config,
        plan=plan,
        directory=recipe.directory,
        strategy=run.strategy,
        models=_model_source(run, recipe, config.seed),
        make_stream=_stream_maker(config, recipe, labeled),
        evaluate=_validator(run, recipe.spec, compiled),
        title=recipe.name,
        class_names=runs.class_names(run),
        profile_steps=run.profile_steps,
    )
    runs.on_chief(
        run,
        lambda: _save(
            run,
            recipe,
            trained,
            compiled(trained.ema_model),
            total_steps=plan.total_steps,
        ),
    )


def _save(
    run: runs.Run,
    recipe: Recipe,
    trained: engine.TrainResult,
    logits_fn: LogitsFn,
    *,
    total_steps: int,
) -> None:
    saved.save(
        recipe.directory,
        model=trained.model,
        ema_model=trained.ema_model,
        spec=recipe.spec,
    )
    content: dict[str, Any] = {"total_steps": total_steps}
    if recipe.start:
        content["initial_fingerprint"] = saved.fingerprint(recipe.start)
    close(
        run,
        directory=recipe.directory,
        name=recipe.name,
        model=trained.ema_model,
        logits_fn=logits_fn,
        spec=recipe.spec,
        content={**content, "step": trained.step},
    )


def _model_source(
    run: runs.Run, recipe: Recipe, seed: int
) -> states.ModelSource:
    teacher = recipe.online_teacher
    return states.ModelSource(
        build=lambda: _build(run, recipe.spec, seed),
        load_weights=(
            starts.load(recipe.start, recipe.spec) if recipe.start else None
        ),
        choose_trained=recipe.choose_trained,
        load_teacher=(lambda: saved.load(teacher)[0]) if teacher else None,
    )


def _stream_maker(
    config: configs.Config, recipe: Recipe, labeled: shards.ShardSet
) -> Callable[..., tf.data.Dataset]:
    """Return a function of the step and this host's part of the batches."""
    make_stream = functools.partial(
        train_stream.make_train_stream,
        labeled=labeled,
        pseudo_labeled=recipe.pseudo_labeled,
        config=config,
        resolution=recipe.spec.resolution,
        num_classes=recipe.spec.num_classes,
        unnoised=recipe.shows_test_crops,
    )
    if not recipe.online_teacher:
        return make_stream
    clean_resolution = saved.load_spec(recipe.online_teacher).resolution
    return functools.partial(
        make_stream, clean_unlabeled_resolution=clean_resolution
    )


def _build(
    run: runs.Run, spec: specs.ModelSpec, seed: int
) -> efficientnet.EfficientNet:
    """Build a model to train."""
    model = architectures.build(
        spec,
        synchronized_batch_norm=run.strategy.num_replicas_in_sync > 1,
        batch_norm_group_size=run.config.model.batch_norm_group_size,
        recompute=run.config.model.recompute,
        seed=seed,
    )
    initializer = run.config.model.head_initializer
    if initializer != "published":
        starts.initialize(model, initializer, seed=seed)
    return model


def _validator(
    run: runs.Run,
    spec: specs.ModelSpec,
    compiled: Callable[[keras.Model], LogitsFn],
) -> Callable[[keras.Model], dict[str, Any]]:
    """Return a function that measures a model on the validation images."""
    if "validation" not in shards.read_manifest(run.workdir.labeled)["splits"]:
        return lambda model: {}
    stream = _held_out_stream(run, spec, split="validation")

    def validate(model: keras.Model) -> dict[str, Any]:
        measured = evaluate.evaluate(compiled(model), stream, spec.num_classes)
        return {name: measured[name] for name in _CURVES}

    return validate


def logits_of(
    model: keras.Model, strategy: tf.distribute.Strategy | None = None
) -> LogitsFn:
    """Return a model as a compiled function of images, without noise.

    Args:
        model: Images float32 [batch, height, width, 3] to logits.
        strategy: In whose scope the model was made; None: in none.
    """
    # No branch of a model depends on data; looking for one takes a second.
    return tf.function(
        replicas.spread(lambda images: model(images, training=False), strategy),
        autograph=False,
    )


def _held_out_stream(
    run: runs.Run,
    spec: specs.ModelSpec,
    *,
    split: str,
    resolution: int | None = None,
) -> tf.data.Dataset:
    """Return a held-out split of the labeled images in test batches."""
    return eval_stream.make_eval_stream(
        shards.open_split(run.workdir.labeled, split),
        resolution=resolution or spec.resolution,
        batch_size=run.config.training.evaluation_batch_size,
        crop=runs.test_crop(spec),
    )


def close(
    run: runs.Run,
    *,
    directory: str,
    name: str,
    model: keras.Model,
    logits_fn: LogitsFn,
    spec: specs.ModelSpec,
    content: dict[str, Any],
) -> None:
    """Measure a trained model on the held-out splits and close its folder."""
    variables = model.trainable_variables
    rows = _measure_all(run, name, logits_fn, spec)
    files.remove_temporaries(directory)
    shards.write_manifest(
        directory,
        {
            "model": name,
            "resolution": spec.resolution,
            "num_parameters": int(
                sum(variable.shape.num_elements() for variable in variables)
            ),
            "fingerprint": saved.fingerprint(directory),
            **content,
            "results": rows,
        },
    )


def _measure_all(
    run: runs.Run, name: str, logits_fn: LogitsFn, spec: specs.ModelSpec
) -> list[dict[str, Any]]:
    """Return the rows of all held-out splits and resolutions."""
    splits = shards.read_manifest(run.workdir.labeled)["splits"]
    return [
        results.make_row(
            model=name,
            set=run.config.preset,
            split=split,
            resolution=resolution,
            weights="ema",
            metrics=evaluate.evaluate(
                logits_fn,
                _held_out_stream(run, spec, split=split, resolution=resolution),
                spec.num_classes,
            ),
        )
        for split in ("validation", "test")
        for resolution in _test_resolutions(run, spec)
        if split in splits
    ]


def _test_resolutions(run: runs.Run, spec: specs.ModelSpec) -> list[int]:
    """Return the model's own resolution first, and FixRes' two behind it."""
    others = set()
    if run.config.fixres.resolution:
        others = {run.config.model.resolution, run.config.fixres.resolution}
    return [spec.resolution, *sorted(others - {spec.resolution})]


def make_spec(
    run: runs.Run, model_config: configs.ModelConfig
) -> specs.ModelSpec:
    """Return the specification of a model for the run's classes."""
    class_names = runs.class_names(run)
    return architectures.make_spec(
        model_config,
        num_classes=len(class_names),
        class_names=tuple(class_names),
    )
