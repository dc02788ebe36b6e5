"""What a run says of itself: its lines, validations and first pictures."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from noisy_student_tf import configs
from noisy_student_tf.devices import device_calls, replica_stream
from noisy_student_tf.training import examples, log, state, trouble
from noisy_student_tf.training import (
    plan as plan_lib,
)

Evaluate = Callable[[keras.Model], dict[str, float]]


@dataclasses.dataclass(kw_only=True)
class Reporter:
    """Writes the record of one run; in all but the chief it is silent.

    Attributes:
        config: Seed, devices and what is timed.
        plan: Batches and durations.
        directory: Of the model.
        train_state: What is reported on.
        evaluate: Model -> metrics on the validation images.
        title: The run's name.
        num_replicas: Replicas that share the global batch.
        class_names: Of every class; empty where they are not known.
        is_chief: Whether anything is written.
    """

    config: configs.Config
    plan: plan_lib.Plan
    directory: str
    train_state: state.TrainState
    evaluate: Evaluate
    title: str
    num_replicas: int
    class_names: Sequence[str]
    is_chief: bool

    def __post_init__(self) -> None:
        """Open the record at the state's step."""
        self._record: log.TrainingLog | None = None
        self.open()

    def open(self) -> None:
        """Open the record anew, without what follows the state's step."""
        self.close()
        if self.is_chief:
            self._record = log.TrainingLog(
                self.directory,
                title=self.title,
                start_step=self.train_state.step,
                total_steps=self.plan.total_steps,
            )

    def close(self) -> None:
        """Close the record."""
        if self._record:
            self._record.close()

    def advance(self, num_steps: int) -> None:
        """Move the progress bar."""
        if self._record:
            self._record.advance(num_steps)

    def validation_of(self, step: int | None = None) -> dict[str, float]:
        """Return the metrics of the last validation, or of a step's."""
        return self._record.validation_of(step) if self._record else {}

    def announce(self) -> None:
        """Say what will be done."""
        logging.info(
            "%s: steps %d to %d (%.1f epochs), %d labeled + %d unlabeled "
            "images a step on %d replicas; %d variables train, the L2 loss "
            "holds %d of them",
            self.title,
            self.train_state.step,
            self.plan.total_steps,
            self.plan.total_steps / self.plan.steps_per_epoch,
            self.plan.labeled_batch_size,
            self.plan.unlabeled_batch_size,
            self.num_replicas,
            len(self.train_state.trained),
            len(self.train_state.decayed),
        )

    def draw_examples(self, make_stream: replica_stream.MakeStream) -> None:
        """Show the first batch in TensorBoard, where a run begins."""
        if not self.is_chief or self.train_state.step:
            return
        batch = next(iter(make_stream(start_step=0).take(1)))
        arrays = {name: tensor.numpy() for name, tensor in batch.items()}
        log.draw_images(self.directory, examples.draw(arrays, self.class_names))

    def write_line(
        self,
        calls: device_calls.DeviceCalls,
        names: tuple[str, ...],
        rows: list[np.ndarray],
        detour: trouble.Detour,
    ) -> None:
        """Write the means over a loop's steps, and how fast they were."""
        steps_made = self.train_state.step
        means = np.stack(rows).mean(axis=0, dtype=np.float64).tolist()
        steps_per_second, wait_share = calls.take_speed()
        if not self._record:
            return
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
        if detour.rollbacks:
            line.update(dataclasses.asdict(detour))
        seconds_left = None
        if steps_per_second:
            steps_left = self.plan.total_steps - steps_made
            seconds_left = steps_left / steps_per_second
        self._record.write(line, seconds_left)

    def validate(self) -> None:
        """Measure both models on the validation images."""
        if not self._record:
            return
        models = {
            "raw": self.train_state.model,
            "ema": self.train_state.ema_model,
        }
        metrics = {
            f"{weights}_{name}": value
            for weights, model in models.items()
            for name, value in self.evaluate(model).items()
        }
        if not metrics:  # There are no validation images.
            return
        step_made = self.train_state.step
        self._record.write({"kind": "validation", "step": step_made, **metrics})
