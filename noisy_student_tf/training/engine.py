"""One run: steps, validations, checkpoints, resuming and going back."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from noisy_student_tf import configs, files
from noisy_student_tf.devices import (
    cluster,
    device_calls,
    preemption,
    profiler,
    replica_stream,
    watchdog,
)
from noisy_student_tf.training import (
    checkpoints,
    log,
    reporter,
    state,
    step,
    trouble,
)
from noisy_student_tf.training import (
    plan as plan_lib,
)

# In a checkpoint's extra content.
_ROWS = "rows_since_last_line"
_DETOUR = "detour"

# What decides which checkpoint is the best.
_SCORE = "ema_accuracy"


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


@dataclasses.dataclass(kw_only=True)
class Run:
    """A run's parts, and where it stands; see `loop.train`."""

    config: configs.Config
    plan: plan_lib.Plan
    directory: str
    strategy: tf.distribute.Strategy
    train_state: state.TrainState
    make_stream: replica_stream.MakeStream
    evaluate: reporter.Evaluate
    title: str
    class_names: Sequence[str]
    profile_steps: tuple[int, int] | None

    def __post_init__(self) -> None:
        is_chief = cluster.is_chief(self.strategy)
        # Traced once, for the first pictures and for the steps.
        self.make_stream = functools.lru_cache(maxsize=1)(self.make_stream)
        self._saved = checkpoints.Checkpoints(
            files.join(self.directory, "checkpoints"),
            self.train_state,
            keep=self.config.training.keep_checkpoints,
            is_writer=is_chief,
        )
        # Metrics of the steps since the last line, one row each.
        self._rows: list[np.ndarray] = []
        self._detour = trouble.Detour()
        self._has_checkpoint = self._restore()
        self._reporter = reporter.Reporter(
            config=self.config,
            plan=self.plan,
            directory=self.directory,
            train_state=self.train_state,
            evaluate=self.evaluate,
            title=self.title,
            num_replicas=self.strategy.num_replicas_in_sync,
            class_names=self.class_names,
            is_chief=is_chief,
        )

    def to_the_end(self) -> TrainResult:
        """Make the steps that are left, and return the models."""
        with contextlib.closing(self._reporter):
            if not self._is_at_the_end():
                self._reporter.announce()
                self._reporter.draw_examples(self.make_stream)
                self._make_steps()
            cluster.wait_for_all(self.strategy)
            chosen = self.train_state.step
            if self.config.training.final_weights == "best":
                chosen = self._saved.best_step() or chosen
            if chosen != self.train_state.step:
                logging.info("%s: best at step %d", self.title, chosen)
                self._saved.read_models(chosen)
            return TrainResult(
                self.train_state.model,
                self.train_state.ema_model,
                chosen,
                self._reporter.validation_of(chosen)
                or self._reporter.validation_of(),
            )

    def _is_at_the_end(self) -> bool:
        made = self.train_state.step
        return not self._rows and made >= self.plan.total_steps

    def _restore(self) -> bool:
        """Read the newest checkpoint, if there is one, in every worker."""
        if not cluster.is_chief(self.strategy):
            # The chief removes damaged ones first.
            cluster.wait_for_all(self.strategy)
        extra = self._saved.restore()
        if cluster.is_chief(self.strategy):
            cluster.wait_for_all(self.strategy)
        if extra is not None:
            self._rows = [np.array(row) for row in extra.get(_ROWS, [])]
            self._detour = trouble.Detour(**extra.get(_DETOUR, {}))
        found = cluster.agree(self.strategy, [self.train_state.step])
        if len({made for (made,) in found}) > 1:
            raise ValueError(
                f"{self.directory}: the workers found checkpoints of the "
                f"steps {[made for (made,) in found]}. --workdir must be a "
                "directory that all of them share."
            )
        return extra is not None

    def _save(self, **extra: Any) -> None:
        extra[_DETOUR] = dataclasses.asdict(self._detour)
        metrics = self._reporter.validation_of(self.train_state.step)
        self._saved.save(extra, score=metrics.get(_SCORE))

    def _make_steps(self) -> None:
        settings = self._step_settings()
        with contextlib.ExitStack() as stack:
            # However it ends, what was copied is written.
            stack.callback(self._saved.wait)
            is_preempted = stack.enter_context(preemption.watch())
            observer = stack.enter_context(self._observer())
            if self.config.training.max_rollbacks and not self._has_checkpoint:
                self._save()
            calls = device_calls.DeviceCalls(
                step.make_train_steps(
                    self.train_state,
                    settings,
                    self.strategy,
                    observer.watchdog.progress,
                ),
                iter(self._stream()),
            )
            while True:
                try:
                    while not self._is_at_the_end():
                        self._go_on(calls, settings, observer)
                        if self._is_any_preempted(calls, is_preempted.is_set()):
                            self._save_and_exit()
                    self._saved.wait()
                    return
                except trouble.NotFiniteError as error:
                    self._go_back(error)
                    calls.go_on_with(iter(self._stream()))

    def _go_on(
        self,
        calls: device_calls.DeviceCalls,
        settings: step.StepSettings,
        observer: "_Observer",
    ) -> None:
        """Write the line that is due, if one is, then make some steps."""
        start = self.train_state.step
        total_steps = self.plan.total_steps
        if self._rows and (
            start == total_steps or start % self.plan.steps_per_loop == 0
        ):
            self._reporter.write_line(
                calls, settings.metric_names, self._rows, self._detour
            )
            self._rows = []
            self._end_loop()
        if start == total_steps:
            return
        per_loop = self.plan.steps_per_loop
        loop_end = min((start // per_loop + 1) * per_loop, total_steps)
        most = observer.profiler.most_steps(start, loop_end - start)
        with observer.watchdog.watching_a_call():
            rows = calls.make_steps(most)
        self._check_finite(settings.metric_names, rows, start)
        self._rows.extend(rows)
        self._reporter.advance(len(rows))

    def _end_loop(self) -> None:
        made = self.train_state.step
        is_last = made == self.plan.total_steps
        if is_last or made % self.plan.evaluate_every_steps == 0:
            self._reporter.validate()
        # Saved after its lines: a restored step has all of them.
        if is_last or made % self.plan.checkpoint_every_steps == 0:
            self._save()

    def _is_any_preempted(
        self, calls: device_calls.DeviceCalls, is_preempted: bool
    ) -> bool:
        """Let the workers agree whether to stop, and on the next call."""
        brought = cluster.agree(
            self.strategy, [is_preempted, calls.next_num_steps]
        )
        calls.next_num_steps = brought[0][1]
        return any(is_asked for is_asked, _ in brought)

    def _save_and_exit(self) -> None:
        # The line of this loop is not written yet: its rows are kept.
        self._save(**{_ROWS: [row.tolist() for row in self._rows]})
        self._saved.wait()
        cluster.wait_for_all(self.strategy)
        logging.warning(
            "%s: SIGTERM: saved step %d, exiting with %d. The same command "
            "goes on from there.",
            self.title,
            self.train_state.step,
            preemption.EXIT_CODE,
        )
        raise SystemExit(preemption.EXIT_CODE)

    def _go_back(self, error: trouble.NotFiniteError) -> None:
        """Restore the last good checkpoint, to leave out what followed it.

        Raises:
            NotFiniteError: The run may not go back, or not once more.
        """
        most = self.config.training.max_rollbacks
        is_alone = cluster.num_workers(self.strategy) == 1
        if self._detour.rollbacks >= most or not (
            error.is_seen_by_all or is_alone
        ):
            raise error
        with contextlib.suppress(trouble.NotFiniteError):
            self._saved.wait()
        before = self._detour
        if not self._restore():
            raise error
        back_to = self.train_state.step
        self._detour = before.around(error, back_to=back_to)
        self._reporter.open()
        logging.error(
            "%s\nBack to step %d (%d of at most %d times); the batches of "
            "steps %d to %d are left out.",
            error,
            back_to,
            self._detour.rollbacks,
            most,
            back_to + 1,
            error.step,
        )

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
            keep_probability=self.config.training.labeled_keep_probability,
            noises_unlabeled=self.config.training.noise_unlabeled,
        )

    def _stream(self) -> tf.data.Dataset:
        return replica_stream.distribute(
            self.make_stream,
            start_step=self.train_state.step + self._detour.skipped_batches,
            strategy=self.strategy,
            labeled_batch_size=self.plan.labeled_batch_size,
            unlabeled_batch_size=self.plan.unlabeled_batch_size,
            has_clean_twins=self.train_state.teacher is not None,
        )

    @contextlib.contextmanager
    def _observer(self) -> Iterator["_Observer"]:
        profile = self.profile_steps
        observer = _Observer(
            watchdog.Watchdog(self.title, self.config.runtime.stall_seconds),
            profiler.Profiler(
                files.join(self.directory, log.TENSORBOARD),
                profile if cluster.is_chief(self.strategy) else None,
            ),
        )
        try:
            yield observer
        finally:
            observer.profiler.close()
            observer.watchdog.close()

    def _check_finite(
        self, names: tuple[str, ...], rows: np.ndarray, start: int
    ) -> None:
        if np.isfinite(rows).all():
            return
        i, column = np.argwhere(~np.isfinite(rows))[0]
        raise trouble.NotFiniteError(
            f"{self.title}: {names[column]} is {rows[i, column]} at step "
            f"{start + i + 1}. {self.directory} keeps the checkpoints from "
            f"before it. {trouble.ADVICE}",
            step=int(start + i + 1),
            is_seen_by_all=True,
        )


@dataclasses.dataclass(frozen=True)
class _Observer:
    """What looks at a run's steps from outside."""

    watchdog: watchdog.Watchdog
    profiler: profiler.Profiler
