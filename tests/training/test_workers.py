"""Two processes on this machine train as one process with two devices."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from noisy_student_tf.training import log
from tests import strategies
from tests.training import tiny, worker


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(directory, addresses, index, *more):
    variable = {
        "cluster": {"worker": addresses},
        "task": {"type": "worker", "index": index},
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.worker", directory, *more],
        env={**os.environ, "TF_CONFIG": json.dumps(variable)},
        stderr=subprocess.DEVNULL,
    )


def run_two(directory, *more):
    """Return the exit codes of two workers."""
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    processes = [start(directory, addresses, i, *more) for i in (0, 1)]
    try:
        return [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("workers")
    return directory, run_two(directory)


def test_two_workers_train_as_two_devices_of_one(finished, tmp_path):
    expected = worker.train(str(tmp_path), strategies.mirrored(2))
    expected = [
        *tiny.weights_of(expected.model),
        *tiny.weights_of(expected.ema_model),
    ]
    for index in (0, 1):
        with np.load(finished[0] / f"worker_{index}.npz") as arrays:
            for i, array in enumerate(expected):
                np.testing.assert_allclose(
                    arrays[f"arr_{i}"], array, rtol=1e-4, atol=1e-5
                )
    lines, alone = (
        [
            (record["kind"], record["step"], record.get("loss"))
            for record in log.read(f"{directory}/metrics.jsonl")
        ]
        for directory in (finished[0] / "run", tmp_path)
    )
    assert [line[:2] for line in lines] == [line[:2] for line in alone]
    for (*_, loss), (*_, other) in zip(lines, alone, strict=True):
        assert loss == other or loss == pytest.approx(other, rel=1e-5)


def test_workers_know_what_each_other_brought(finished):
    for index in (0, 1):
        with np.load(finished[0] / f"worker_{index}.npz") as arrays:
            assert arrays["found"].tolist() == [[0, 7], [1, 7]]


def test_each_worker_labels_whole_batches(finished):
    for index in (0, 1):
        with np.load(finished[0] / f"worker_{index}.npz") as arrays:
            assert arrays["labeled"].tolist() == [1, 2, 3, 4]


def test_the_chief_alone_writes(finished):
    chief, other = (
        np.load(finished[0] / f"worker_{index}.npz")["written"].tolist()
        for index in (0, 1)
    )
    assert any("metrics.jsonl" in path for path in chief)
    assert any("checkpoints" in path for path in chief)
    assert other == []
    events = list(finished[0].glob("run/tensorboard/events*"))
    assert len(events) == 1


def test_a_lost_worker_ends_the_others_with_an_error(finished):
    directory, codes = finished
    assert codes == [3, -9]
    assert "unhealthy" in (directory / "lost").read_text()


def test_after_a_loss_all_go_on_and_end_as_if_undisturbed(finished):
    directory = finished[0]
    (saved,) = directory.glob("again/checkpoints/*/manifest.json")
    assert saved.parent.name == "step-00000002"
    assert run_two(directory, "again") == [0, 0]
    for index in (0, 1):
        with (
            np.load(directory / f"worker_{index}.npz") as undisturbed,
            np.load(directory / f"again_{index}.npz") as arrays,
        ):
            assert len(arrays) > 10
            for name in arrays:
                np.testing.assert_array_equal(arrays[name], undisturbed[name])
