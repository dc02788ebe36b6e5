import json
import types

import pytest
from absl import logging

from noisy_student_tf.devices import runtime, slow_workers

Pace = slow_workers.Pace
USUAL = Pace(step=1.0, waited=0.02, probe=0.001)


def test_equal_workers_are_not_named():
    assert slow_workers.find([USUAL] * 4) == {}


def test_a_worker_whose_input_is_slow_is_named():
    found = slow_workers.find([USUAL, USUAL, Pace(1.0, 0.6, 0.001), USUAL])
    assert list(found) == [2]
    assert "waits 0.6 s of a step of 1 s for its input" in found[2]


def test_a_worker_that_computes_slowly_is_named():
    found = slow_workers.find([Pace(1.0, 0.02, 0.005), USUAL, USUAL, USUAL])
    assert list(found) == [0]
    assert "takes a worker in the middle 1 ms takes it 5 ms" in found[0]


def test_of_two_workers_the_slower_is_named():
    assert list(slow_workers.find([USUAL, Pace(1.0, 0.6, 0.001)])) == [1]


def test_short_waits_harm_nobody():
    assert slow_workers.find([USUAL, USUAL, Pace(1.0, 0.09, 0.001)]) == {}


@pytest.fixture
def compared(monkeypatch):
    """Return a comparison of three workers, the first of which is this one."""
    workers = ["a:1", "b:1", "c:1"]
    variable = {
        "cluster": {"worker": workers},
        "task": {"type": "worker", "index": 0},
    }
    monkeypatch.setenv("TF_CONFIG", json.dumps(variable))
    others = types.SimpleNamespace(waited=0)

    def agree(strategy, numbers):
        step, waited, probe = numbers
        return [numbers, [step, waited, probe], [step, others.waited, probe]]

    monkeypatch.setattr(runtime, "agree", agree)
    made = slow_workers.SlowWorkers(None, "student")
    made.others = others
    return made


def test_a_worker_is_named_the_second_time(compared, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        for waited, num_lines in ((0, 0), (400_000, 0), (400_000, 1), (0, 1)):
            compared.others.waited = waited
            compared.look(steps_per_second=2.0, wait_share=0.0)
            assert len(caplog.records) == num_lines
    said = caplog.records[0].getMessage()
    assert said.startswith("student: worker 2 (c:1) keeps the others waiting: ")
