"""Calls of the device, each short enough for the process to react."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

Batch = dict[str, tf.Tensor]
# (iterator, num_steps) -> float32 [num_steps, num_metrics], float64 seconds.
TrainSteps = Callable[[Iterator[Batch], tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

_SHORT_CALL_SECONDS = 1.0
_LONG_CALL_SECONDS = 4.0


class DeviceCalls:
    """Make steps in calls of about a second to four, and time them."""

    def __init__(
        self, train_steps: TrainSteps, iterator: Iterator[Batch]
    ) -> None:
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

    def make_steps(self, most_steps: int) -> np.ndarray:
        """Make at least one step and at most `most_steps`.

        Returns:
            The metrics of each, float32 [num_steps, num_metrics].
        """
        num_steps = min(self.next_num_steps, most_steps)
        started = time.perf_counter()
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
        if seconds < _SHORT_CALL_SECONDS:
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
