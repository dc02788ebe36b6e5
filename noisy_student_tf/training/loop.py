"""The training loop: steps, validations, checkpoints, and resuming."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from noisy_student_tf import config as config_lib
from noisy_student_tf import files
from noisy_student_tf.training import (
    checkpoints,
    device_calls,
    log,
    preemption,
    replica_stream,
    schedules,
    state,
    step,
)
from noisy_student_tf.training import (
    plan as plan_lib,
)

# In a checkpoint's extra content.
_ROWS = "rows_since_last_line"

Evaluate = Callable[[keras.Model], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What training leaves.

    Attributes:
        model: With the weights of the last step.
        ema_model: With their averages.
        metrics: The last validation: `raw_` and `ema_` before each name of
            what `evaluate` returned.
    """

    model: keras.Model
    ema_model: keras.Model
    metrics: dict[str, float]


def train(
    *,
    config: config_lib.Config,
    plan: plan_lib.Plan,
    directory: str,
    strategy: tf.distribute.Strategy,
    build_model: state.BuildModel,
    make_stream: replica_stream.MakeStream,
    evaluate: Evaluate,
    title: str,
    trainable: state.ChooseTrained | None = None,
    initial_weights: Callable[[keras.Model], None] | None = None,
    learning_rate: schedules.Schedule | None = None,
) -> TrainResult:
    """Train a model, or go on where a killed run left its checkpoints.

    Writes `metrics.jsonl`, `tensorboard/` and `checkpoints/`. Killed and
    started again it ends as if it had never been killed.

    Args:
        config: Seed, optimizer, losses and checkpoints to keep.
        plan: Batches and durations.
        directory: Of this model; created if missing.
        strategy: Whose replicas share each global batch.
        build_model: Returns a built model, called as `model(images,
            training=True, noise_seed=seed)`; called twice.
        make_stream: start_step -> infinite dataset of global batches (see
            `step.compute_gradients`) from that step on.
        evaluate: Model -> metrics on the validation images.
        title: The run's name; initial weights and noise depend on it.
        trainable: Freezes layers and returns the variables to train. None:
            all trainable ones.
        initial_weights: Loads weights into the model. None: as initialized.
        learning_rate: Schedule in place of the configured one.

    Raises:
        ValueError: Batches that the replicas cannot share, a model that
            cannot be trained exactly, or a checkpoint of another model.
        FloatingPointError: A loss ceased to be finite.
        SystemExit: SIGTERM came; the state is saved, and the code is
            `preemption.EXIT_CODE`.
    """
    replica_stream.check_batch_divides(
        labeled_batch_size=plan.labeled_batch_size,
        unlabeled_batch_size=plan.unlabeled_batch_size,
        num_replicas=strategy.num_replicas_in_sync,
        accumulation_steps=config.training.accumulation_steps,
    )
    train_state = state.create(
        settings=config.optimizer,
        seed=state.seed_of(config.seed, title),
        strategy=strategy,
        build_model=build_model,
        schedule=learning_rate or plan_lib.make_schedule(plan, config),
        choose_trained=trainable,
        initial_weights=initial_weights,
    )
    run = _Run(
        config=config,
        plan=plan,
        directory=directory,
        strategy=strategy,
        train_state=train_state,
        make_stream=make_stream,
        evaluate=evaluate,
        title=title,
    )
    return run.to_the_end()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Run:
    """A run's parts; see `train`."""

    config: config_lib.Config
    plan: plan_lib.Plan
    directory: str
    strategy: tf.distribute.Strategy
    train_state: state.TrainState
    make_stream: replica_stream.MakeStream
    evaluate: Evaluate
    title: str

    def to_the_end(self) -> TrainResult:
        """Restore, make the steps that are left, and return the models."""
        saved = checkpoints.Checkpoints(
            files.join(self.directory, "checkpoints"),
            self.train_state,
            keep=self.config.training.keep_checkpoints,
        )
        extra = saved.restore() or {}
        # Metrics of the steps since the last line, one row each.
        rows = [np.array(row) for row in extra.get(_ROWS, [])]
        record = log.TrainingLog(
            self.directory,
            title=self.title,
            start_step=self.train_state.step,
            total_steps=self.plan.total_steps,
        )
        with contextlib.closing(record):
            if rows or self.train_state.step < self.plan.total_steps:
                self._announce()
                self._make_steps(record, saved, rows)
        return TrainResult(
            self.train_state.model,
            self.train_state.ema_model,
            record.last_validation,
        )

    def _make_steps(
        self,
        record: log.TrainingLog,
        saved: checkpoints.Checkpoints,
        rows: list[np.ndarray],
    ) -> None:
        settings = self._step_settings()
        calls = self._device_calls(settings)
        total_steps = self.plan.total_steps
        with preemption.watch() as is_preempted:
            while rows or self.train_state.step < total_steps:
                start = self.train_state.step
                is_loop_end = (
                    start == total_steps
                    or start % self.plan.steps_per_loop == 0
                )
                if rows and is_loop_end:
                    self._write_line(record, calls, settings.metric_names, rows)
                    rows = []
                    self._end_loop(record, saved)
                    continue
                steps_left = self._next_loop_end(start) - start
                new_rows = calls.make_steps(steps_left)
                self._check_finite(settings.metric_names, new_rows, start)
                rows.extend(new_rows)
                record.advance(len(new_rows))
                if is_preempted.is_set():
                    self._save_and_exit(saved, rows)

    def _end_loop(
        self, record: log.TrainingLog, saved: checkpoints.Checkpoints
    ) -> None:
        made = self.train_state.step
        is_last = made == self.plan.total_steps
        if is_last or made % self.plan.evaluate_every_steps == 0:
            self._validate(record)
        # Saved after its lines: a restored step has all of them.
        if is_last or made % self.plan.checkpoint_every_steps == 0:
            saved.save()

    def _save_and_exit(
        self, saved: checkpoints.Checkpoints, rows: list[np.ndarray]
    ) -> None:
        # The line of this loop is not written yet: its rows are kept.
        saved.save({_ROWS: [row.tolist() for row in rows]})
        logging.warning(
            "%s: SIGTERM: saved step %d, exiting with %d. The same command "
            "goes on from there.",
            self.title,
            self.train_state.step,
            preemption.EXIT_CODE,
        )
        raise SystemExit(preemption.EXIT_CODE)

    def _next_loop_end(self, start: int) -> int:
        per_loop = self.plan.steps_per_loop
        return min((start // per_loop + 1) * per_loop, self.plan.total_steps)

    def _step_settings(self) -> step.StepSettings:
        return step.StepSettings(
            labeled_batch_size=self.plan.labeled_batch_size,
            unlabeled_batch_size=self.plan.unlabeled_batch_size,
            loss=self.config.loss,
            optimizer=self.config.optimizer,
            seed=state.seed_of(self.config.seed, self.title) >> 1,
            num_replicas=self.strategy.num_replicas_in_sync,
            accumulation_steps=self.config.training.accumulation_steps,
            times_input=not self.config.runtime.deterministic,
        )

    def _device_calls(
        self, settings: step.StepSettings
    ) -> device_calls.DeviceCalls:
        stream = replica_stream.distribute(
            self.make_stream,
            start_step=self.train_state.step,
            strategy=self.strategy,
            labeled_batch_size=self.plan.labeled_batch_size,
            unlabeled_batch_size=self.plan.unlabeled_batch_size,
        )
        train_steps = step.make_train_steps(
            self.train_state, settings, self.strategy
        )
        return device_calls.DeviceCalls(train_steps, iter(stream))

    def _check_finite(
        self, names: tuple[str, ...], rows: np.ndarray, start: int
    ) -> None:
        if np.isfinite(rows).all():
            return
        i, column = np.argwhere(~np.isfinite(rows))[0]
        raise FloatingPointError(
            f"{self.title}: {names[column]} is {rows[i, column]} at step "
            f"{start + i + 1}. {self.directory} keeps the checkpoints from "
            "before it. Lower --optimizer.base_learning_rate or set "
            "--optimizer.global_clip_norm."
        )

    def _write_line(
        self,
        record: log.TrainingLog,
        calls: device_calls.DeviceCalls,
        names: tuple[str, ...],
        rows: list[np.ndarray],
    ) -> None:
        steps_made = self.train_state.step
        means = np.stack(rows).mean(axis=0, dtype=np.float64).tolist()
        steps_per_second, wait_share = calls.take_speed()
        batch_size = (
            self.plan.labeled_batch_size + self.plan.unlabeled_batch_size
        )
        rate = self.train_state.schedule(tf.constant(steps_made - 1))
        line: dict[str, Any] = {
            "kind": "train",
            "step": steps_made,
            "epoch": steps_made / self.plan.steps_per_epoch,
            **dict(zip(names, means, strict=True)),
            "learning_rate": float(rate),
            "images_per_second": steps_per_second * batch_size,
        }
        if not self.config.runtime.deterministic:
            line["input_wait_share"] = wait_share
        seconds_left = None
        if steps_per_second:
            steps_left = self.plan.total_steps - steps_made
            seconds_left = steps_left / steps_per_second
        record.write(line, seconds_left)

    def _validate(self, record: log.TrainingLog) -> None:
        models = {
            "raw": self.train_state.model,
            "ema": self.train_state.ema_model,
        }
        metrics = {
            f"{weights}_{name}": value
            for weights, model in models.items()
            for name, value in self.evaluate(model).items()
        }
        step_made = self.train_state.step
        record.write({"kind": "validation", "step": step_made, **metrics})

    def _announce(self) -> None:
        plan, num_replicas = self.plan, self.strategy.num_replicas_in_sync
        logging.info(
            "%s: steps %d to %d (%.1f epochs), %d labeled + %d unlabeled "
            "images a step on %d replicas; %d variables train, %d of them "
            "with weight decay",
            self.title,
            self.train_state.step,
            plan.total_steps,
            plan.total_steps / plan.steps_per_epoch,
            plan.labeled_batch_size,
            plan.unlabeled_batch_size,
            num_replicas,
            len(self.train_state.trained),
            len(self.train_state.decayed),
        )
