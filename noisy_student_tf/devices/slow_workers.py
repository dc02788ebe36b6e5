"""Names the worker that all others wait for, while it is only slow.

Workers meet in every step, so that all are as slow as the slowest and no
worker's own steps say which that is. What differs is how long each waits for
its input, and how long each takes for the same small computation by itself. A
worker that is lost ends the others within TensorFlow's heartbeat.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence

import tensorflow as tf
from absl import logging

from noisy_student_tf.devices import runtime

# Of the middle of all workers.
_SLOW_FACTOR = 2.0
# Input that costs a step less than this share harms nobody.
_LEAST_SHARE = 0.1
_MICROSECONDS = 1e6
_PROBE_SIDE = 256
_PROBE_TIMES = 8


@dataclasses.dataclass(frozen=True)
class Pace:
    """What one worker took, in seconds.

    Attributes:
        step: For a step: as long as all others, whoever is slow.
        waited: Of it, for its input.
        probe: For the same computation as the others, by itself.
    """

    step: float
    waited: float
    probe: float


def find(paces: Sequence[Pace]) -> dict[int, str]:
    """Return the slow workers, by their index, and what is slow in each."""
    found = {}
    usual_wait = statistics.median_low(pace.waited for pace in paces)
    usual_probe = statistics.median_low(pace.probe for pace in paces)
    for index, pace in enumerate(paces):
        least = max(_SLOW_FACTOR * usual_wait, _LEAST_SHARE * pace.step)
        if pace.waited > least:
            found[index] = (
                f"it waits {pace.waited:.3g} s of a step of {pace.step:.3g} s "
                f"for its input, a worker in the middle {usual_wait:.3g} s: "
                "look at its disk, its network and what else its cores do"
            )
        elif pace.probe > _SLOW_FACTOR * usual_probe:
            found[index] = (
                f"a computation that takes a worker in the middle "
                f"{usual_probe * 1e3:.3g} ms takes it {pace.probe * 1e3:.3g} "
                "ms: look at what else it computes, and at its clock and heat"
            )
    return found


class SlowWorkers:
    """Compares the workers of a strategy whenever all come to a line."""

    def __init__(self, strategy: tf.distribute.Strategy, title: str) -> None:
        """Compare nothing yet; `title` is the training's."""
        self._strategy = strategy
        self._title = title
        self._suspected: frozenset[int] = frozenset()

    def look(self, *, steps_per_second: float, wait_share: float) -> None:
        """Say which workers are slow for the second time in a row.

        All workers, several, call it at the same place.

        Raises:
            tf.errors.OpError: A worker was lost.
        """
        # No step is timed where the first call, which traces, made them all.
        step = 1 / steps_per_second if steps_per_second else 0.0
        mine = (step, step * wait_share, _probe_seconds())
        brought = runtime.agree(
            self._strategy, [round(each * _MICROSECONDS) for each in mine]
        )
        paces = [
            Pace(*(number / _MICROSECONDS for number in numbers))
            for numbers in brought
        ]
        found = find(paces)
        for index in sorted(self._suspected.intersection(found)):
            logging.warning(
                "%s: worker %d (%s) keeps the others waiting: %s.",
                self._title,
                index,
                runtime.read_cluster().addresses[index],
                found[index],
            )
        self._suspected = frozenset(found)


def _probe_seconds() -> float:
    """Return the least time of some for a product of small matrices."""
    matrix = tf.eye(_PROBE_SIDE)
    times = []
    for _ in range(_PROBE_TIMES):
        began = time.perf_counter()
        tf.matmul(matrix, matrix).numpy()
        times.append(time.perf_counter() - began)
    return min(times)
