"""How long a run is, and where it stands: models, checkpoints, going back."""

import contextlib
import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from noisy_student_tf import configs, files
from noisy_student_tf.devices import replicas, runtime
from noisy_student_tf.training import checkpoints, log, losses, optimizer, state

# In a checkpoint's extra content.
_ROWS = "rows_since_last_line"
_DETOUR = "detour"

# What decides which checkpoint is the best.
_SCORE = "ema_accuracy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Durations:
    """Lengths of one training run, and the batches that they follow from.

    Attributes:
        total_steps: Length of the run.
        steps_per_epoch: Steps per pass over the labeled images, fractional.
        labeled_batch_size: Labeled images of the global batch.
        unlabeled_batch_size: Unlabeled images of the global batch, or 0.
        steps_per_loop: Steps between log lines.
        evaluate_every_steps: A multiple of `steps_per_loop`.
        checkpoint_every_steps: A multiple of `steps_per_loop`.
    """

    total_steps: int
    steps_per_epoch: float
    labeled_batch_size: int
    unlabeled_batch_size: int
    steps_per_loop: int
    evaluate_every_steps: int
    checkpoint_every_steps: int

    def learning_rate(self, config: configs.Config) -> optimizer.Schedule:
        """Return the rate of each step, as is configured."""
        return optimizer.learning_rate(
            config,
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
        )


def make_durations(
    config: configs.Config,
    *,
    num_labeled: int,
    epochs: float,
    has_unlabeled: bool,
    min_steps: int = 0,
) -> Durations:
    """Turn durations in epochs into steps.

    Args:
        config: Names the batches and the intervals.
        num_labeled: Labeled training images.
        epochs: Length of the run in passes over them.
        has_unlabeled: Whether batches hold pseudo-labeled images too.
        min_steps: Least length of the run.

    Raises:
        ValueError: There is no labeled image.
    """
    if num_labeled < 1:
        raise ValueError(
            f"The training split holds {num_labeled} labeled images; at least "
            "one is needed. Look at --data.labeled and the splits' fractions."
        )
    training = config.training
    steps_per_epoch = num_labeled / training.kept_labeled_batch_size
    total_steps = max(1, min_steps, round(epochs * steps_per_epoch))
    steps_per_loop = min(training.steps_per_loop, total_steps)

    def whole_loops(num_steps: int) -> int:
        return math.ceil(num_steps / steps_per_loop) * steps_per_loop

    return Durations(
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        labeled_batch_size=training.labeled_batch_size,
        unlabeled_batch_size=(
            training.unlabeled_batch_size if has_unlabeled else 0
        ),
        steps_per_loop=steps_per_loop,
        evaluate_every_steps=whole_loops(training.evaluate_every_steps),
        checkpoint_every_steps=whole_loops(training.checkpoint_every_steps),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be trained, on what, and where to.

    Attributes:
        config: Seed, optimizer, losses and checkpoints to keep.
        durations: Of the run, and its batches.
        directory: Of this model; created if missing.
        strategy: Whose replicas share each global batch.
        models: How they are made.
        make_stream: start_step -> infinite dataset of global batches (see
            `step.compute_gradients`) from that step on.
        evaluate: Model -> metrics on the validation images.
        title: The run's name; initial weights and noise depend on it.
        class_names: Shown with the first images.
        class_weights: Of labeled images, one a class; empty: all are 1.
        profile_steps: Between which steps TensorFlow is profiled.
    """

    config: configs.Config
    durations: Durations
    directory: str
    strategy: tf.distribute.Strategy
    models: state.ModelSource
    make_stream: replicas.MakeStream
    evaluate: Callable[[keras.Model], dict[str, float]]
    title: str
    class_names: Sequence[str] = ()
    class_weights: tuple[float, ...] = ()
    profile_steps: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What training leaves.

    Attributes:
        model: With the weights of the last step, or of the best.
        ema_model: With their averages.
        step: Which step that is.
        metrics: Its validation, or else the last: `raw_` and `ema_` before
            each name of what `evaluate` returned. Only the chief has them.
    """

    model: keras.Model
    ema_model: keras.Model
    step: int
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Detour:
    """Which batches a run has left out.

    Attributes:
        rollbacks: How often the run went back.
        skipped_batches: By how many batches the stream is ahead of the steps.
    """

    rollbacks: int = 0
    skipped_batches: int = 0


@dataclasses.dataclass(kw_only=True)
class Progress:
    """How far a task is.

    Attributes:
        task: What is trained.
        train_state: Models and optimizer.
        saved: Its checkpoints.
        record: Its lines and curves.
        rows: Metrics of the steps since the last line, one row each.
        detour: The batches left out.
        has_checkpoint: Whether it began with one.
    """

    task: Task
    train_state: state.TrainState
    saved: checkpoints.Checkpoints
    record: log.TrainingLog
    rows: list[np.ndarray]
    detour: Detour
    has_checkpoint: bool

    @property
    def is_chief(self) -> bool:
        """Whether this worker is the one that writes."""
        return runtime.is_chief(self.task.strategy)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What each column of `rows` is."""
        return losses.metric_names(self.task.durations.unlabeled_batch_size)

    def is_at_the_end(self) -> bool:
        """Tell whether all steps are made and all lines written."""
        made = self.train_state.step
        return not self.rows and made >= self.task.durations.total_steps

    def save(self, *, keeps_rows: bool = False) -> None:
        """Save a checkpoint; the rows too, if their line is not written."""
        extra: dict[str, Any] = {_DETOUR: dataclasses.asdict(self.detour)}
        if keeps_rows:
            extra[_ROWS] = [row.tolist() for row in self.rows]
        metrics = self.record.validation_of(self.train_state.step)
        self.saved.save(extra, score=metrics.get(_SCORE))

    def go_back(self, error: losses.NotFiniteError) -> None:
        """Restore the last good checkpoint, to leave out what followed it.

        Raises:
            NotFiniteError: The run may not go back, or not once more.
        """
        most = self.task.config.training.max_rollbacks
        is_alone = runtime.num_workers(self.task.strategy) == 1
        if self.detour.rollbacks >= most or not (
            error.is_seen_by_all or is_alone
        ):
            raise error
        with contextlib.suppress(losses.NotFiniteError):
            self.saved.wait()
        extra = _restore(self.task, self.train_state, self.saved)
        if extra is None:
            raise error
        back_to = self.train_state.step
        self.rows = _from_extra(extra)["rows"]
        self.detour = Detour(
            self.detour.rollbacks + 1,
            self.detour.skipped_batches + error.step - back_to,
        )
        self.record.close()
        self.record = _open_record(self.task, self.train_state)
        logging.error(
            "%s\nBack to step %d (%d of at most %d times); the batches of "
            "steps %d to %d are left out.",
            error,
            back_to,
            self.detour.rollbacks,
            most,
            back_to + 1,
            error.step,
        )

    def result(self) -> TrainResult:
        """Return the models of the step that the run ends with."""
        chosen = self.train_state.step
        if self.task.config.training.final_weights == "best":
            chosen = self.saved.best_step() or chosen
        if chosen != self.train_state.step:
            logging.info("%s: best at step %d", self.task.title, chosen)
            self.saved.read_models(chosen)
        return TrainResult(
            self.train_state.model,
            self.train_state.ema_model,
            chosen,
            self.record.validation_of(chosen) or self.record.validation_of(),
        )


def begin(task: Task) -> Progress:
    """Build a task's models, and read the newest checkpoint if there is one.

    Raises:
        ValueError: See `state.create` and `Checkpoints.restore`, or the
            workers found different checkpoints.
    """
    train_state = state.create(
        settings=task.config.optimizer,
        seed=seed_of(task.config.seed, task.title),
        strategy=task.strategy,
        source=task.models,
        schedule=task.durations.learning_rate(task.config),
    )
    saved = checkpoints.Checkpoints(
        files.join(task.directory, "checkpoints"),
        train_state,
        keep=task.config.training.keep_checkpoints,
        is_writer=runtime.is_chief(task.strategy),
        hosts=runtime.other_hosts(task.strategy),
    )
    extra = _restore(task, train_state, saved)
    return Progress(
        task=task,
        train_state=train_state,
        saved=saved,
        record=_open_record(task, train_state),
        **_from_extra(extra or {}),
        has_checkpoint=extra is not None,
    )


def _restore(
    task: Task, train_state: state.TrainState, saved: checkpoints.Checkpoints
) -> dict[str, Any] | None:
    """Read the newest checkpoint in every worker; return its extra content."""
    is_chief = runtime.is_chief(task.strategy)
    if not is_chief:
        # The chief removes damaged ones first.
        runtime.wait_for_all(task.strategy)
    extra = saved.restore()
    if is_chief:
        runtime.wait_for_all(task.strategy)
    found = runtime.agree(task.strategy, [train_state.step])
    if len({made for (made,) in found}) > 1:
        raise ValueError(
            f"{task.directory}: the workers found checkpoints of the "
            f"steps {[made for (made,) in found]}. --workdir must be a "
            "directory that all of them share."
        )
    return extra


def _from_extra(extra: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a run that a checkpoint's extra content holds."""
    return {
        "rows": [np.array(row) for row in extra.get(_ROWS, [])],
        "detour": Detour(**extra.get(_DETOUR, {})),
    }


def _open_record(task: Task, train_state: state.TrainState) -> log.TrainingLog:
    """Open the record, without what follows the state's step."""
    return log.TrainingLog(
        task.directory,
        title=task.title,
        start_step=train_state.step,
        total_steps=task.durations.total_steps,
        is_writer=runtime.is_chief(task.strategy),
    )


def seed_of(seed: int, title: str) -> int:
    """Return a seed in [0, 2^32) for one of a run's models."""
    digest = hashlib.blake2b(f"{seed}/{title}".encode(), digest_size=4)
    return int.from_bytes(digest.digest(), "little")
