"""The stages that make a model: first teacher, students, fine-tuning."""

import dataclasses

from noisy_student_tf import files
from noisy_student_tf.configs import derived
from noisy_student_tf.devices import runtime
from noisy_student_tf.model import saved
from noisy_student_tf.records import shards
from noisy_student_tf.stages import model_training, runs
from noisy_student_tf.training import fixres, schedules


def train_teacher(run: runs.Run) -> None:
    """Train the first teacher on labeled images, with noise."""
    directory = run.workdir.teacher
    if runs.is_done(directory, "Teacher"):
        return
    if run.config.self_training.teacher_directory:
        runs.on_chief(run, lambda: _adopt_teacher(run))
        return
    model_training.train(
        run,
        model_training.Recipe(
            name="teacher",
            directory=directory,
            spec=model_training.make_spec(
                run, derived.teacher_model(run.config)
            ),
            epochs=run.config.training.teacher_epochs,
            start=run.config.model.initial_weights,
        ),
    )


def _adopt_teacher(run: runs.Run) -> None:
    """Take a trained model as the teacher, measured on this run's images."""
    source = run.config.self_training.teacher_directory
    # The other workers wait: they would have to make its variables, too.
    alone = dataclasses.replace(
        run, strategy=runtime.own_strategy(run.strategy)
    )
    with alone.strategy.scope():
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
    model_training.close(
        alone,
        directory=run.workdir.teacher,
        name="teacher",
        model=model,
        logits_fn=model_training.logits_of(model, alone.strategy),
        spec=spec,
        content={},
    )


def train_student(run: runs.Run, iteration: int) -> None:
    """Train a student, counted from 1, on labeled and pseudo-labeled images."""
    directory = run.workdir.student(iteration)
    if runs.is_done(directory, f"Student {iteration}"):
        return
    pseudo_labeled = shards.open_split(
        run.workdir.pseudo_labeled(iteration), "pseudo_labeled"
    )
    is_online = run.config.self_training.online_teacher
    model_training.train(
        run,
        model_training.Recipe(
            name=f"student_{iteration}",
            directory=directory,
            spec=model_training.make_spec(run, run.config.model),
            epochs=run.config.training.student_epochs,
            pseudo_labeled=pseudo_labeled,
            start=_student_start(run, iteration),
            online_teacher=run.workdir.model(iteration - 1)
            if is_online
            else "",
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
    config = dataclasses.replace(run.config, optimizer=optimizer)
    model_training.train(
        dataclasses.replace(run, config=config),
        model_training.Recipe(
            name=f"{runs.model_name(iteration)}_fixres",
            directory=directory,
            spec=dataclasses.replace(spec, resolution=settings.resolution),
            epochs=settings.epochs,
            start=run.workdir.model(iteration),
            shows_test_crops=True,
            choose_trained=lambda model: fixres.trainable_variables(
                model, settings
            ),
        ),
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
    durations = schedules.make_durations(
        config,
        num_labeled=labeled.num_records,
        epochs=config.training.student_epochs,
        has_unlabeled=True,
    )
    rate = schedules.last_base_learning_rate(durations, config)
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
