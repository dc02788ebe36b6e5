"""Calls of the device, and what watches them: stalls, profiles, SIGTERM. Edge.

On CPUs each call is short enough for the process to react. An accelerator that
waits for its host idles: there a call becomes as long as `steps_per_loop` says.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from noisy_student_tf import files, terminal

Batch = dict[str, tf.Tensor]
# (iterator, num_steps) -> float32 [num_steps, num_metrics], float64 seconds.
TrainSteps = Callable[[Iterator[Batch], tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

# What a shell reports of a process that SIGTERM ended: 128 + 15. A run that
# exits with it has saved its state; the same command goes on from there.
EXIT_CODE = 143

_LOOKS_PER_PERIOD = 10
_SHORT_CALL_SECONDS = 1.0
_LONG_CALL_SECONDS = 4.0


@contextlib.contextmanager
def sigterm() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets, in place of ending the process.

    It is the signal by which a machine that is taken away says so. Outside the
    main thread, where Python takes no signals, the event is never set.
    """
    is_preempted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield is_preempted
        return
    previous = signal.signal(
        signal.SIGTERM, lambda number, frame: is_preempted.set()
    )
    try:
        yield is_preempted
    finally:
        signal.signal(signal.SIGTERM, previous)


class Watchdog:
    """A thread that looks at the progress of the device's calls."""

    def __init__(self, title: str, stall_seconds: float) -> None:
        """Begin to look; a stall is said again whenever as long has passed."""
        self._title = title
        self._stall_seconds = stall_seconds
        self._is_closed = threading.Event()
        self._call_started: float | None = None
        with tf.device("/cpu:0"):
            # Moved by the training step; see `step.make_train_steps`.
            self.marks = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def watching_a_call(self) -> Iterator[None]:
        """Look at the device's call that the block makes."""
        self._call_started = time.monotonic()
        try:
            yield
        finally:
            self._call_started = None

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()
        self._thread.join()

    def _look(self) -> None:
        last_marks, last_moved = -1, time.monotonic()
        while not self._is_closed.wait(self._stall_seconds / _LOOKS_PER_PERIOD):
            marks, now = int(self.marks.numpy()), time.monotonic()
            started = self._call_started
            if marks != last_marks or started is None:
                last_marks, last_moved = marks, now
            elif now - max(last_moved, started) > self._stall_seconds:
                self._report(marks)
                last_moved = now

    def _report(self, marks: int) -> None:
        is_waiting = marks % 2 == 1
        what = (
            "the input pipeline has no batch; look at the disk or network of "
            "the shards, and at --training.shuffle_buffer_size"
            if is_waiting
            else "a step does not end; the first one is traced and compiled, "
            "later ones wait for a device or another worker"
        )
        logging.error(
            "%s: no step for %.0f s: %s.",
            self._title,
            self._stall_seconds,
            what,
        )


class Profiler:
    """Starts and stops the profile at the steps asked for."""

    def __init__(self, directory: str, steps: tuple[int, int] | None) -> None:
        """Say between which two steps, if any; `directory` gets the profile."""
        self._directory = directory
        self._steps = steps
        self._is_running = False

    def most_steps(self, step: int, steps_left: int) -> int:
        """Start or stop at a step; return how many steps to make at most.

        Args:
            step: Number of steps made.
            steps_left: Steps that may follow in one call of the device.
        """
        if self._steps is None:
            return steps_left
        first, last = self._steps
        if self._is_running and step >= last:
            self.close()
        elif not self._is_running and first <= step < last:
            files.make_directories(self._directory)
            tf.profiler.experimental.start(self._directory)
            self._is_running = True
        for boundary in (first, last):
            if step < boundary:
                return min(steps_left, boundary - step)
        return steps_left

    def close(self) -> None:
        """Write the profile, if one is running."""
        if self._is_running:
            self._is_running = False
            self._steps = None
            tf.profiler.experimental.stop()
            logging.info("Profile written to %s", self._directory)


class DeviceCalls:
    """Make steps in calls of the device, and time them."""

    def __init__(
        self,
        train_steps: TrainSteps,
        iterator: Iterator[Batch],
        watchdog: Watchdog,
        profiler: Profiler,
        *,
        grows_always: bool = False,
    ) -> None:
        """Begin with calls of one step.

        Args:
            train_steps: Makes them.
            iterator: Of the batches.
            watchdog: Looks at each call.
            profiler: Is asked before each call.
            grows_always: Double the steps of a call until all that may follow
                are made in one; otherwise while it takes less than a second,
                and halve them when it takes more than four.
        """
        self._grows_always = grows_always
        self._watchdog = watchdog
        self._profiler = profiler
        self._train_steps = train_steps
        self._iterator = iterator
        # Of several workers all must make as many: see `loop`.
        self.next_num_steps = 1
        self._has_traced = False
        self._num_steps = 0
        self._seconds = 0.0
        self._waited_seconds = 0.0

    def go_on_with(self, iterator: Iterator[Batch]) -> None:
        """Take the batches from another place of the stream."""
        self._iterator = iterator

    def make_steps(self, step: int, steps_left: int) -> np.ndarray:
        """Make some steps.

        Args:
            step: Number of steps made.
            steps_left: Steps that may follow, at least one.

        Returns:
            The metrics of each, float32 [num_steps, num_metrics].
        """
        most_steps = self._profiler.most_steps(step, steps_left)
        num_steps = min(self.next_num_steps, most_steps)
        started = time.perf_counter()
        # Compiling takes up to a minute; later calls are short.
        is_first = not self._has_traced
        shown = (
            terminal.working("compiling the training step")
            if is_first
            else contextlib.nullcontext()
        )
        with shown, self._watchdog.watching_a_call():
            rows, waited_seconds = self._train_steps(
                self._iterator, tf.constant(num_steps)
            )
            rows = rows.numpy()
        seconds = time.perf_counter() - started
        if not self._has_traced:
            # The first call traces the step: no measure of the others.
            self._has_traced = True
            if num_steps < most_steps:
                return rows
        if self._grows_always or seconds < _SHORT_CALL_SECONDS:
            self.next_num_steps = 2 * num_steps
        elif seconds > _LONG_CALL_SECONDS:
            self.next_num_steps = max(1, num_steps // 2)
        self._num_steps += num_steps
        self._seconds += seconds
        self._waited_seconds += float(waited_seconds)
        return rows

    def take_speed(self) -> tuple[float, float]:
        """Return steps per second, and the share spent waiting for input.

        Over the calls since it was last asked.
        """
        seconds = max(self._seconds, 1e-9)
        speed = self._num_steps / seconds, self._waited_seconds / seconds
        self._num_steps, self._seconds, self._waited_seconds = 0, 0.0, 0.0
        return speed
