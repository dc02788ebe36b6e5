"""The training loop: steps, lines, validations, checkpoints, and going back."""

import contextlib
import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from noisy_student_tf import files, terminal
from noisy_student_tf.devices import replicas, runtime, watching
from noisy_student_tf.training import log, losses, progress, step

# Of how fast this worker is, with the others.
_Compare = Callable[..., None]


def train(task: progress.Task) -> progress.TrainResult:
    """Train a model, or go on where a killed run left its checkpoints.

    Writes `metrics.jsonl`, `tensorboard/` and `checkpoints/`. Killed and
    started again it ends as if it had never been killed. Of several workers
    each reads its share of the batches, and the chief alone writes.

    Raises:
        ValueError: Batches that the replicas cannot share, a model that
            cannot be trained exactly, or a checkpoint of another model.
        FloatingPointError: A loss ceased to be finite, once more than the
            run may go back.
        OSError: A checkpoint could not be written; those before it are kept.
        SystemExit: SIGTERM came; the state is saved, and the code is
            `watching.EXIT_CODE`.
    """
    check_batch_divides(
        labeled_batch_size=task.durations.labeled_batch_size,
        unlabeled_batch_size=task.durations.unlabeled_batch_size,
        num_replicas=task.strategy.num_replicas_in_sync,
        accumulation_steps=task.config.training.accumulation_steps,
    )
    # Traced once, for the first pictures and for the steps.
    make_stream = replicas.made_once(task.make_stream)
    task = dataclasses.replace(task, make_stream=make_stream)
    with terminal.working(f"preparing {task.title}"):
        run = progress.begin(task)
    try:
        if not run.is_at_the_end():
            _announce(run)
            _make_steps(run)
        runtime.wait_for_all(task.strategy)
        return run.result()
    finally:
        run.record.close()


def check_batch_divides(
    *,
    labeled_batch_size: int,
    unlabeled_batch_size: int,
    num_replicas: int,
    accumulation_steps: int = 1,
) -> None:
    """Check that every replica, and every part, gets as many images.

    Raises:
        ValueError: It would not; shapes must be equal and static.
    """
    sizes = {
        "training.labeled_batch_size": labeled_batch_size,
        "training.unlabeled_ratio": unlabeled_batch_size,
    }
    num_shares = num_replicas * accumulation_steps
    parts = ""
    if accumulation_steps > 1:
        parts = f", each in {accumulation_steps} parts,"
    for flag, size in sizes.items():
        if size % num_shares:
            raise ValueError(
                f"--{flag}: it gives a global batch of {size} images, which "
                f"{num_replicas} replicas{parts} cannot share equally. Choose "
                f"a multiple of {num_shares}, or --runtime.num_devices and "
                f"--training.accumulation_steps whose product divides {size}."
            )


def _announce(run: progress.Progress) -> None:
    """Say what will be done, and show a first batch: the first host's part."""
    task, durations = run.task, run.task.durations
    logging.info(
        "%s: steps %d to %d (%.1f epochs), %d labeled + %d unlabeled images a "
        "step on %d replicas; %d variables train, the L2 loss holds %d of them",
        task.title,
        run.train_state.step,
        durations.total_steps,
        durations.total_steps / durations.steps_per_epoch,
        durations.labeled_batch_size,
        durations.unlabeled_batch_size,
        task.strategy.num_replicas_in_sync,
        len(run.train_state.trained),
        len(run.train_state.decayed),
    )
    if run.is_chief and not run.train_state.step:
        # A whole batch can be more than a host's memory.
        with terminal.working("making the first batch"):
            stream = replicas.stream_of_host(
                task.make_stream,
                start_step=0,
                host=0,
                num_hosts=replicas.num_hosts(task.strategy),
            )
            batch = next(iter(stream.take(1)))
            arrays = {name: tensor.numpy() for name, tensor in batch.items()}
            log.draw_batch(task.directory, arrays, task.class_names)


def _make_steps(run: progress.Progress) -> None:
    """Make the steps that are left."""
    task = run.task
    settings = step.StepSettings(
        config=task.config,
        unlabeled_batch_size=task.durations.unlabeled_batch_size,
        seed=progress.seed_of(task.config.seed, task.title) >> 1,
        class_weights=task.class_weights,
    )
    with contextlib.ExitStack() as stack:
        # However it ends, what was copied is written.
        stack.callback(run.saved.wait)
        is_preempted = stack.enter_context(watching.sigterm())
        watchdog = watching.Watchdog(
            task.title, task.config.runtime.stall_seconds
        )
        stack.callback(watchdog.close)
        profiler = watching.Profiler(
            files.join(task.directory, log.TENSORBOARD),
            task.profile_steps if run.is_chief else None,
        )
        stack.callback(profiler.close)
        if task.config.training.max_rollbacks and not run.has_checkpoint:
            run.save()
        calls = watching.DeviceCalls(
            step.make_train_steps(
                run.train_state, settings, task.strategy, watchdog.marks
            ),
            iter(_stream(run)),
            watchdog,
            profiler,
            grows_always=replicas.has_accelerator(),
        )
        compare = _comparison(task)
        while True:
            try:
                while not run.is_at_the_end():
                    _end_loop(run, calls, compare)
                    _make_some(run, calls)
                    _stop_if_asked(run, calls, is_preempted.is_set())
                run.saved.wait()
                return
            except losses.NotFiniteError as error:
                run.go_back(error)
                calls.go_on_with(iter(_stream(run)))


def _stream(run: progress.Progress) -> tf.data.Dataset:
    return replicas.distribute(
        run.task.make_stream,
        start_step=run.train_state.step + run.detour.skipped_batches,
        strategy=run.task.strategy,
        labeled_batch_size=run.task.durations.labeled_batch_size,
        unlabeled_batch_size=run.task.durations.unlabeled_batch_size,
        has_clean_twins=run.train_state.teacher is not None,
    )


def _comparison(task: progress.Task) -> _Compare | None:
    """Return what names slow workers, if there are several."""
    if runtime.num_workers(task.strategy) == 1:
        return None
    # Spared who trains alone.
    from noisy_student_tf.devices import slow_workers

    return slow_workers.SlowWorkers(task.strategy, task.title).look


def _end_loop(
    run: progress.Progress,
    calls: watching.DeviceCalls,
    compare: _Compare | None,
) -> None:
    """Write a line, validate and save, each if it is due."""
    durations, made = run.task.durations, run.train_state.step
    is_last = made == durations.total_steps

    def is_due(every_steps: int) -> bool:
        return is_last or made % every_steps == 0

    if not run.rows or not is_due(durations.steps_per_loop):
        return
    _write_line(run, calls, compare)
    run.rows = []
    if run.is_chief and is_due(durations.evaluate_every_steps):
        _validate(run)
    # Saved after its lines: a restored step has all of them.
    if is_due(durations.checkpoint_every_steps):
        run.save()


def _write_line(
    run: progress.Progress,
    calls: watching.DeviceCalls,
    compare: _Compare | None,
) -> None:
    """Write the means over a loop's steps, and how fast they were."""
    durations, made = run.task.durations, run.train_state.step
    means = np.stack(run.rows).mean(axis=0, dtype=np.float64).tolist()
    steps_per_second, wait_share = calls.take_speed()
    if compare:
        compare(steps_per_second=steps_per_second, wait_share=wait_share)
    batch_size = durations.labeled_batch_size + durations.unlabeled_batch_size
    last_rate = run.train_state.schedule(tf.constant(made - 1))
    line = {
        "kind": "train",
        "step": made,
        "epoch": made / durations.steps_per_epoch,
        **dict(zip(run.metric_names, means, strict=True)),
        "learning_rate": float(last_rate),
        "images_per_second": steps_per_second * batch_size,
    }
    if not run.task.config.runtime.deterministic:
        line["input_wait_share"] = wait_share
    if run.detour.rollbacks:
        line.update(dataclasses.asdict(run.detour))
    steps_left = durations.total_steps - made
    run.record.write(
        line, steps_left / steps_per_second if steps_per_second else None
    )


def _validate(run: progress.Progress) -> None:
    """Write both models' metrics on the validation images, if there are any."""
    models = {"raw": run.train_state.model, "ema": run.train_state.ema_model}
    with terminal.working(f"{run.task.title}: validating"):
        metrics = {
            f"{weights}_{name}": value
            for weights, model in models.items()
            for name, value in run.task.evaluate(model).items()
        }
    if metrics:
        made = run.train_state.step
        run.record.write({"kind": "validation", "step": made, **metrics})


def _make_some(run: progress.Progress, calls: watching.DeviceCalls) -> None:
    """Make steps in one call of the device, if any are left.

    Raises:
        NotFiniteError: A metric is not.
    """
    start, durations = run.train_state.step, run.task.durations
    steps_left = min(
        durations.total_steps - start,
        durations.steps_per_loop - start % durations.steps_per_loop,
    )
    if not steps_left:
        return
    rows = calls.make_steps(start, steps_left)
    if not np.isfinite(rows).all():
        i, column = np.argwhere(~np.isfinite(rows))[0]
        raise losses.NotFiniteError(
            f"{run.task.title}: {run.metric_names[column]} is "
            f"{rows[i, column]} at step {start + i + 1}. {run.task.directory} "
            f"keeps the checkpoints from before it. {losses.ADVICE}",
            step=int(start + i + 1),
            is_seen_by_all=True,
        )
    run.rows.extend(rows)
    run.record.advance(len(rows))


def _stop_if_asked(
    run: progress.Progress, calls: watching.DeviceCalls, is_asked: bool
) -> None:
    """Let the workers agree whether to stop, and on the next call."""
    brought = runtime.agree(run.task.strategy, [is_asked, calls.next_num_steps])
    calls.next_num_steps = brought[0][1]
    if not any(asked for asked, _ in brought):
        return
    # The line of this loop is not written yet.
    run.save(keeps_rows=True)
    run.saved.wait()
    runtime.wait_for_all(run.task.strategy)
    logging.warning(
        "%s: SIGTERM: saved step %d, exiting with %d. The same command goes "
        "on from there.",
        run.task.title,
        run.train_state.step,
        watching.EXIT_CODE,
    )
    raise SystemExit(watching.EXIT_CODE)
