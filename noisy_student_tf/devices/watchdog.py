"""Says in the log when a run makes no steps, and what it waits for."""

import contextlib
import threading
import time
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

_LOOKS_PER_PERIOD = 10


class Watchdog:
    """A thread that looks at the progress of the device's calls."""

    def __init__(self, title: str, stall_seconds: float) -> None:
        """Name the run.

        Args:
            title: The run's name in the log.
            stall_seconds: How long nothing may move before it is said; it is
                said again whenever as long has passed.
        """
        self._title = title
        self._stall_seconds = stall_seconds
        self._is_closed = threading.Event()
        self._call_started: float | None = None
        with tf.device("/cpu:0"):
            # Moved by the training step; see `step.make_train_steps`.
            self.progress = tf.Variable(0, dtype=tf.int64, trainable=False)
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
        last_progress, last_moved = -1, time.monotonic()
        while not self._is_closed.wait(self._stall_seconds / _LOOKS_PER_PERIOD):
            progress, now = int(self.progress.numpy()), time.monotonic()
            started = self._call_started
            if progress != last_progress or started is None:
                last_progress, last_moved = progress, now
            elif now - max(last_moved, started) > self._stall_seconds:
                self._report(progress)
                last_moved = now

    def _report(self, progress: int) -> None:
        is_waiting = progress % 2 == 1
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
