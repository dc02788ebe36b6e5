"""The stages that make a model: train, fine-tune, measure, close its folder.

Here and in `stages` configuration meets objects, and nowhere else.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from noisy_student_tf import config as configuration
from noisy_student_tf import derived, files, fixres, replicas, starts
from noisy_student_tf import run as runs
from noisy_student_tf.evaluation import evaluate, results
from noisy_student_tf.model import efficientnet, heads, saved
from noisy_student_tf.model import spec as specs
from noisy_student_tf.pipeline import eval_stream, train_stream
from noisy_student_tf.records import shards
from noisy_student_tf.training import loop
from noisy_student_tf.training import plan as plans

LogitsFn = Callable[[tf.Tensor], tf.Tensor]

# What a validation writes into the curves.
_CURVES = ("accuracy", "loss", "calibration_error")


def train_teacher(run: runs.Run) -> None:
    """Train the first teacher on labeled images, with noise."""
    directory = run.workdir.teacher
    if runs.is_done(directory, "Teacher"):
        return
    if run.config.self_training.teacher_directory:
        runs.on_chief(run, lambda: _adopt_teacher(run))
        return
    model_config = derived.teacher_model(run.config)
    _train(
        run,
        directory=directory,
        name="teacher",
        spec=_spec(run, model_config),
        epochs=run.config.training.teacher_epochs,
        pseudo_labeled=None,
        initial_directory=run.config.model.initial_weights,
    )


def _adopt_teacher(run: runs.Run) -> None:
    """Take a trained model as the teacher, measured on this run's images."""
    source = run.config.self_training.teacher_directory
    with run.strategy.scope():
        model, spec = saved.load(source)
    class_names = runs.class_names(run)
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


def train_student(run: runs.Run, iteration: int) -> None:
    """Train a student, counted from 1, on labeled and pseudo-labeled images."""
    directory = run.workdir.student(iteration)
    if runs.is_done(directory, f"Student {iteration}"):
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
        initial_directory=_student_start(run, iteration),
        online_teacher=(
            run.workdir.model(iteration - 1)
            if run.config.self_training.online_teacher
            else ""
        ),
    )


def finetune_fixres(run: runs.Run) -> None:
    """Fine-tune the last student at the higher resolution, without noise."""
    directory = run.workdir.fixres
    if runs.is_done(directory, "FixRes fine-tuning"):
        return
    iteration = run.config.self_training.num_iterations
    spec = saved.load_spec(run.workdir.model(iteration))
    settings = run.config.fixres
    optimizer = dataclasses.replace(
        run.config.optimizer,
        schedule="constant",
        warmup_epochs=0.0,
        base_learning_rate=_finetuning_rate(run),
    )
    name = f"{runs.model_name(iteration)}_fixres"
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
        initial_directory=run.workdir.model(iteration),
    )


def _finetuning_rate(run: runs.Run) -> float:
    """Return FixRes' rate per 256 labeled images.

    Raises:
        ValueError: It shall be the one that the student's schedule ended
            with, and that is zero.
    """
    config = run.config
    if config.fixres.base_learning_rate:
        return config.fixres.base_learning_rate
    labeled = shards.open_split(run.workdir.labeled, "train")
    plan = plans.make_plan(
        config,
        num_labeled=labeled.num_records,
        epochs=config.training.student_epochs,
        has_unlabeled=True,
    )
    rate = plans.last_base_learning_rate(plan, config)
    if config.optimizer.schedule == "cosine" or not rate:
        raise ValueError(
            "--fixres.base_learning_rate=0: the student's schedule "
            f"--optimizer.schedule={config.optimizer.schedule} ended with a "
            "rate of about 0. Name a positive rate."
        )
    return rate


def _student_start(run: runs.Run, iteration: int) -> str:
    """Return the model that a student begins with; empty: none."""
    choice = run.config.self_training.initialize_students_from
    if choice == "teacher":
        return run.workdir.model(iteration - 1)
    return run.config.model.initial_weights if choice != "scratch" else ""


def _train(
    run: runs.Run,
    *,
    directory: str,
    name: str,
    spec: specs.ModelSpec,
    epochs: float,
    pseudo_labeled: shards.ShardSet | None,
    unnoised: bool = False,
    trainable: Callable[[keras.Model], list[Any]] | None = None,
    initial_directory: str = "",
    online_teacher: str = "",
) -> None:
    """Train one model, measure it and close its directory."""
    labeled = shards.open_split(run.workdir.labeled, "train")
    # Teacher and students start and draw differently under one seed.
    config = dataclasses.replace(
        run.config, seed=runs.stage_seed(run.config.seed, name)
    )
    plan = plans.make_plan(
        config,
        num_labeled=labeled.num_records,
        epochs=epochs,
        has_unlabeled=pseudo_labeled is not None,
    )
    make_stream = _stream_maker(
        config,
        spec,
        labeled=labeled,
        pseudo_labeled=pseudo_labeled,
        unnoised=unnoised,
        online_teacher=online_teacher,
    )
    content: dict[str, Any] = {"total_steps": plan.total_steps}
    initial_weights = None
    if initial_directory:
        initial_weights = starts.load(initial_directory, spec)
        content["initial_fingerprint"] = saved.fingerprint(initial_directory)
    trained = loop.train(
        config=config,
        plan=plan,
        directory=directory,
        strategy=run.strategy,
        build_model=lambda: _build(run, spec, config.seed),
        make_stream=make_stream,
        evaluate=_validator(run, spec),
        title=name,
        trainable=trainable,
        initial_weights=initial_weights,
        load_teacher=(
            (lambda: saved.load(online_teacher)[0]) if online_teacher else None
        ),
        class_names=runs.class_names(run),
        profile_steps=run.profile_steps,
    )

    def finish() -> None:
        content["step"] = trained.step
        models = {"model": trained.model, "ema_model": trained.ema_model}
        saved.save(directory, **models, spec=spec)
        _finish_model(run, directory, name, trained.ema_model, spec, content)

    runs.on_chief(run, finish)


def _stream_maker(
    config: configuration.Config,
    spec: specs.ModelSpec,
    *,
    labeled: shards.ShardSet,
    pseudo_labeled: shards.ShardSet | None,
    unnoised: bool,
    online_teacher: str,
) -> Callable[..., tf.data.Dataset]:
    """Return a function of the step and this host's part of the batches."""
    make_stream = functools.partial(
        train_stream.make_train_stream,
        labeled=labeled,
        pseudo_labeled=pseudo_labeled,
        config=config,
        resolution=spec.resolution,
        num_classes=spec.num_classes,
        unnoised=unnoised,
    )
    if not online_teacher:
        return make_stream
    clean_resolution = saved.load_spec(online_teacher).resolution
    return functools.partial(
        make_stream, clean_unlabeled_resolution=clean_resolution
    )


def _build(
    run: runs.Run, spec: specs.ModelSpec, seed: int
) -> efficientnet.EfficientNet:
    """Build a model to train."""
    model = efficientnet.build(
        spec,
        synchronized_batch_norm=run.strategy.num_replicas_in_sync > 1,
        batch_norm_group_size=run.config.model.batch_norm_group_size,
        recompute=run.config.model.recompute,
        seed=seed,
    )
    initializer = run.config.model.head_initializer
    if initializer != "published":
        heads.initialize(model, initializer, seed=seed)
    return model


def _validator(
    run: runs.Run, spec: specs.ModelSpec
) -> Callable[[keras.Model], dict[str, Any]]:
    """Return a function that measures a model on the validation images."""
    if "validation" not in shards.read_manifest(run.workdir.labeled)["splits"]:
        return lambda model: {}

    # Traced once, not at every validation.
    compiled = functools.cache(
        functools.partial(logits_of, strategy=run.strategy)
    )

    def validate(model: keras.Model) -> dict[str, Any]:
        measured = measure(run, compiled(model), spec, split="validation")
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
    return tf.function(
        replicas.spread(lambda images: model(images, training=False), strategy)
    )


def measure(
    run: runs.Run,
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
        crop=runs.test_crop(spec),
    )
    return evaluate.evaluate(logits_fn, stream, spec.num_classes)


def _finish_model(
    run: runs.Run,
    directory: str,
    name: str,
    model: keras.Model,
    spec: specs.ModelSpec,
    content: dict[str, Any],
) -> None:
    """Measure a trained model on the held-out splits and close its folder."""
    splits = shards.read_manifest(run.workdir.labeled)["splits"]
    logits_fn = logits_of(model, run.strategy)
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
    files.remove_temporaries(directory)
    shards.write_manifest(
        directory,
        {
            "model": name,
            "resolution": spec.resolution,
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


def _test_resolutions(run: runs.Run, spec: specs.ModelSpec) -> list[int]:
    """Return the model's own resolution first, and FixRes' two behind it."""
    others = set()
    if run.config.fixres.resolution:
        others = {run.config.model.resolution, run.config.fixres.resolution}
    return [spec.resolution, *sorted(others - {spec.resolution})]


def _spec(
    run: runs.Run, model_config: configuration.ModelConfig
) -> specs.ModelSpec:
    class_names = runs.class_names(run)
    return specs.from_config(
        model_config,
        num_classes=len(class_names),
        class_names=tuple(class_names),
    )
