"""A TensorFlow profile of some steps, which TensorBoard shows. Edge."""

import tensorflow as tf
from absl import logging

from noisy_student_tf import files


class Profiler:
    """Starts and stops the profile at the steps asked for."""

    def __init__(self, directory: str, steps: tuple[int, int] | None) -> None:
        """Say where and when.

        Args:
            directory: Gets `plugins/profile/`.
            steps: Number of steps made when it starts and when it stops.
                None: never.
        """
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
