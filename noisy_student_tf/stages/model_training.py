"""Trains one model of a run: where its recipe meets data and network."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from noisy_student_tf import configs, recipes, workdirs
from noisy_student_tf.devices import replicas
from noisy_student_tf.evaluation import evaluate
from noisy_student_tf.model import architectures, saved, specs
from noisy_student_tf.pipeline import train_stream
from noisy_student_tf.records import shards
from noisy_student_tf.stages import runs
from noisy_student_tf.training import loop, losses, optimizer, progress
from noisy_student_tf.training import state as states

# What a validation writes into the curves.
_CURVES = ("accuracy", "loss", "calibration_error")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training leaves.

    Attributes:
        model: With the weights of the last step, or of the best.
        ema_model: With their averages.
        logits_fn: The averages as a compiled function; see `logits_of`.
        spec: The architecture.
        step: Which step that is.
        total_steps: Of the whole training.
    """

    model: keras.Model
    ema_model: keras.Model
    logits_fn: evaluate.LogitsFn
    spec: specs.ModelSpec
    step: int
    total_steps: int


def train(run: runs.Run, model: recipes.Model) -> Trained:
    """Train one model, or go on with its training."""
    config = settings_of(run.config, run.workdir, model)
    spec = _spec(run, model)
    durations = _durations(config, run.workdir, model)
    # Traced once for each model, not at every measurement.
    compiled = functools.cache(
        functools.partial(logits_of, strategy=run.strategy)
    )
    task = progress.Task(
        config=config,
        durations=durations,
        directory=runs.directory(run, model),
        strategy=run.strategy,
        models=_model_source(run, model, spec, config.seed),
        make_stream=stream_maker(config, run.workdir, model),
        evaluate=_validator(run, spec, compiled),
        title=model.name,
        class_names=runs.class_names(run),
        class_weights=_class_weights(config, run.workdir),
        profile_steps=run.profile_steps,
    )
    trained = loop.train(task)
    return Trained(
        model=trained.model,
        ema_model=trained.ema_model,
        logits_fn=compiled(trained.ema_model),
        spec=spec,
        step=trained.step,
        total_steps=durations.total_steps,
    )


def _class_weights(
    config: configs.Config, workdir: workdirs.Workdir
) -> tuple[float, ...]:
    if config.loss.class_weights == "none":
        return ()
    counts = shards.read_manifest(workdir.labeled)["counts_per_class"]
    return losses.balanced_weights(counts["train"])


def settings_of(
    config: configs.Config, workdir: workdirs.Workdir, model: recipes.Model
) -> configs.Config:
    """Return the configuration that one model of a run is trained with.

    Teacher and students start and draw differently under one seed.

    Raises:
        ValueError: Fine-tuning has no rate.
    """
    seed = runs.stage_seed(config.seed, model.drawn_as or model.name)
    optimizer = config.optimizer
    if model.is_finetuned:
        optimizer = dataclasses.replace(
            optimizer,
            schedule="constant",
            warmup_epochs=0.0,
            base_learning_rate=_finetuning_rate(config, workdir),
        )
    return dataclasses.replace(config, seed=seed, optimizer=optimizer)


def _finetuning_rate(
    config: configs.Config, workdir: workdirs.Workdir
) -> float:
    """Return FixRes' rate per 256 labeled images.

    Raises:
        ValueError: It shall be the one that the student's schedule ended
            with, and that is zero.
    """
    if config.fixres.base_learning_rate:
        return config.fixres.base_learning_rate
    durations = progress.make_durations(
        config,
        num_labeled=shards.read_split(workdir.labeled, "train").num_records,
        epochs=config.training.student_epochs,
        min_steps=config.training.min_steps,
        has_unlabeled=True,
    )
    rate = optimizer.last_base_learning_rate(
        config,
        total_steps=durations.total_steps,
        steps_per_epoch=durations.steps_per_epoch,
    )
    if config.optimizer.schedule == "cosine" or not rate:
        raise ValueError(
            "--fixres.base_learning_rate=0: the student's schedule "
            f"--optimizer.schedule={config.optimizer.schedule} ended with a "
            "rate of about 0. Name a positive rate."
        )
    return rate


def _durations(
    config: configs.Config, workdir: workdirs.Workdir, model: recipes.Model
) -> progress.Durations:
    return progress.make_durations(
        config,
        num_labeled=shards.read_split(workdir.labeled, "train").num_records,
        epochs=model.epochs,
        min_steps=model.min_steps,
        has_unlabeled=bool(model.labelings),
    )


def _spec(run: runs.Run, model: recipes.Model) -> specs.ModelSpec:
    """Return the architecture, for the run's classes."""
    if model.is_finetuned:
        # An adopted teacher's is not the configuration's.
        found = saved.load_spec(runs.directory(run, model.start))
        resolution = model.architecture.resolution
        return dataclasses.replace(found, resolution=resolution)
    class_names = runs.class_names(run)
    return architectures.make_spec(
        model.architecture,
        num_classes=len(class_names),
        class_names=tuple(class_names),
    )


def stream_maker(
    config: configs.Config, workdir: workdirs.Workdir, model: recipes.Model
) -> Callable[..., tf.data.Dataset]:
    """Return a function of the step and this host's part of the batches.

    Args:
        config: See `settings_of`.
        workdir: Whose shards are read.
        model: That is trained on them.

    Raises:
        FileNotFoundError: The shards are not built yet.
    """
    labeled = shards.open_split(workdir.labeled, "train")
    pseudo_labeled = None
    if model.labelings:
        pseudo_labeled = shards.open_split(
            workdir.folder(model.pseudo_labeled), "pseudo_labeled"
        )
    clean_resolution = 0
    if model.online_teacher:
        folder = workdir.folder(model.online_teacher.folder)
        clean_resolution = saved.load_spec(folder).resolution
    return functools.partial(
        train_stream.make_train_stream,
        labeled=labeled,
        pseudo_labeled=pseudo_labeled,
        config=config,
        resolution=model.architecture.resolution,
        num_classes=len(shards.read_manifest(workdir.labeled)["class_names"]),
        unnoised=model.is_finetuned,
        clean_unlabeled_resolution=clean_resolution,
    )


def _model_source(
    run: runs.Run, model: recipes.Model, spec: specs.ModelSpec, seed: int
) -> states.ModelSource:
    load_weights = load_teacher = choose_trained = None
    if model.start:
        load_weights = saved.start_from(runs.directory(run, model.start), spec)
    if model.online_teacher:
        teacher = runs.directory(run, model.online_teacher)
        load_teacher = lambda: saved.load(teacher)[0]  # noqa: E731
    if model.is_finetuned:
        choose_trained = functools.partial(
            states.trained_by_fixres, settings=run.config.fixres
        )
    elif frozen := run.config.training.frozen_blocks:
        choose_trained = functools.partial(
            states.after_frozen_blocks,
            num_frozen=frozen,
            flag="training.frozen_blocks",
        )
    return states.ModelSource(
        build=lambda: _build(run, spec, seed),
        load_weights=load_weights,
        choose_trained=choose_trained,
        load_teacher=load_teacher,
    )


def _build(run: runs.Run, spec: specs.ModelSpec, seed: int) -> keras.Model:
    """Build a model to train."""
    model = architectures.build(
        spec,
        synchronized_batch_norm=run.strategy.num_replicas_in_sync > 1,
        batch_norm_group_size=run.config.model.batch_norm_group_size,
        batch_norm_frozen=run.config.model.batch_norm_frozen,
        recompute=run.config.model.recompute,
        seed=seed,
    )
    initializer = run.config.model.head_initializer
    if initializer != "published":
        architectures.initialize(model, initializer, seed=seed)
    return model


def _validator(
    run: runs.Run,
    spec: specs.ModelSpec,
    compiled: Callable[[keras.Model], evaluate.LogitsFn],
) -> Callable[[keras.Model], dict[str, Any]]:
    """Return a function that measures a model on the validation images."""
    if "validation" not in shards.read_manifest(run.workdir.labeled)["splits"]:
        return lambda model: {}
    stream = runs.test_stream(run, spec, split="validation")

    def validate(model: keras.Model) -> dict[str, Any]:
        measured = evaluate.evaluate(compiled(model), stream, spec.num_classes)
        return {name: measured[name] for name in _CURVES}

    return validate


def logits_of(
    model: keras.Model, strategy: tf.distribute.Strategy | None = None
) -> evaluate.LogitsFn:
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
