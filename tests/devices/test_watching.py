import itertools
import types

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.devices import watching


class Clock:
    """A clock that a step moves by so many seconds."""

    def __init__(self):
        self.seconds = 0.0

    def perf_counter(self):
        return self.seconds

    monotonic = perf_counter


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(watching, "time", made)
    return made


def sizes_of_calls(clock, *, total_steps, seconds_a_step, **options):
    """Return how many steps each call makes until all are made."""
    sizes = []

    def train_steps(iterator, num_steps):
        sizes.append(int(num_steps))
        clock.seconds += seconds_a_step * sizes[-1]
        return tf.zeros([sizes[-1], 1]), tf.constant(0.0)

    watchdog = types.SimpleNamespace(
        watching_a_call=watching.contextlib.nullcontext
    )
    calls = watching.DeviceCalls(
        train_steps,
        itertools.repeat({}),
        watchdog,
        watching.Profiler("", None),
        **options,
    )
    step = 0
    while step < total_steps:
        step += len(calls.make_steps(step, total_steps - step))
    assert np.sum(sizes) == total_steps
    return sizes


def test_calls_on_a_cpu_end_within_seconds(clock):
    sizes = sizes_of_calls(clock, total_steps=100, seconds_a_step=0.8)
    # Two of 0.8 s take more than a second, and less than four.
    assert sizes == [1, 1] + [2] * 49


def test_calls_on_an_accelerator_become_as_long_as_the_loop(clock):
    sizes = sizes_of_calls(
        clock, total_steps=100, seconds_a_step=0.8, grows_always=True
    )
    assert sizes == [1, 1, 2, 4, 8, 16, 32, 36]
