import json
import socket
import threading

import pytest
import tensorflow as tf

from noisy_student_tf.devices import cluster


def listener():
    one = socket.socket()
    one.bind(("localhost", 0))
    one.listen()
    return one, f"localhost:{one.getsockname()[1]}"


def free_address():
    one, address = listener()
    one.close()
    return address


def set_variable(monkeypatch, **content):
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))


def test_the_chief_comes_first(monkeypatch):
    members = {"worker": ["b:1", "c:2"], "chief": ["a:3"]}
    set_variable(
        monkeypatch, cluster=members, task={"type": "worker", "index": 1}
    )
    assert cluster.read_cluster() == cluster.Cluster(("a:3", "b:1", "c:2"), 2)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"cluster": {"worker": ["a:1"]}},
        {
            "cluster": {"worker": ["a:1"]},
            "task": {"type": "worker", "index": 1},
        },
        {"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}},
        [],
    ],
)
def test_a_variable_without_cluster_or_task_is_refused(monkeypatch, content):
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))
    if content == {}:
        monkeypatch.setenv("TF_CONFIG", "{broken")
    with pytest.raises(ValueError, match=r"TF_CONFIG=.* does not name"):
        cluster.read_cluster()


def test_a_worker_that_comes_late_is_waited_for():
    here, there = free_address(), free_address()
    host, port = there.split(":")
    late = socket.socket()

    def come():
        late.bind((host, int(port)))
        late.listen()

    timer = threading.Timer(0.3, come)
    timer.start()
    with late:
        cluster.wait_until_reachable(cluster.Cluster((here, there), 0), 10)
        timer.join()


def test_an_unreachable_worker_is_named_after_the_time_out():
    here, there = free_address(), free_address()
    with pytest.raises(TimeoutError, match=f"no answer from {there} within"):
        cluster.wait_until_reachable(cluster.Cluster((here, there), 0), 0.3)


def test_a_port_that_is_taken_is_named():
    holder, address = listener()
    with holder, pytest.raises(OSError, match="cannot be listened at"):
        cluster.wait_until_reachable(
            cluster.Cluster((address, free_address()), 0), 0.3
        )


def test_one_process_is_its_own_chief():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert cluster.is_chief(strategy)
    assert cluster.num_workers(strategy) == 1
    assert cluster.agree(strategy, [3, 4]) == [[3, 4]]
    cluster.wait_for_all(strategy)
