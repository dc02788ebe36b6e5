import collections
import json
import socket
import threading

import keras
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.devices import replicas, runtime
from noisy_student_tf.training import state, step
from tests import strategies
from tests.training import tiny

WORKER = "/job:worker/replica:0/task:{}/device:{}"


def test_auto_is_one_device_without_gpus():
    strategy = runtime.make_strategy(configs.RuntimeConfig())
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
    assert strategy.num_replicas_in_sync == 1


@pytest.mark.parametrize("num_devices, replicas", [(0, 4), (1, 1), (2, 2)])
def test_mirrored_takes_the_devices_asked_for(num_devices, replicas):
    strategy = runtime.make_strategy(
        configs.RuntimeConfig(strategy="mirrored", num_devices=num_devices)
    )
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == replicas


def test_more_devices_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="num_devices=5: this machine has 4"):
        runtime.make_strategy(
            configs.RuntimeConfig(strategy="mirrored", num_devices=5)
        )


def test_multi_worker_without_a_cluster_is_an_error(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG is not set"):
        runtime.make_strategy(configs.RuntimeConfig(strategy="multi_worker"))


def test_no_tpu_is_an_error():
    with pytest.raises(ValueError, match="tpu_address=local: no TPU answers"):
        runtime.make_strategy(configs.RuntimeConfig(strategy="tpu"))


def test_a_tpus_name_without_its_client_is_told(monkeypatch):
    def connect(address):
        raise ImportError("googleapiclient must be installed")

    monkeypatch.setattr(
        tf.distribute.cluster_resolver.TPUClusterResolver, "connect", connect
    )
    with pytest.raises(ValueError, match=r"mine: no TPU.*oauth2client"):
        runtime.make_strategy(
            configs.RuntimeConfig(strategy="tpu", tpu_address="mine")
        )


def test_a_cache_on_this_machine_is_refused_where_others_compute():
    settings = {"strategy": "tpu", "cache_directory": "/cache"}
    with pytest.raises(ValueError, match=r"cache_directory=/cache.*grpc://a"):
        runtime.make_strategy(
            configs.RuntimeConfig(**settings, tpu_address="grpc://a:1")
        )
    # This machine's own TPU may have it, if there were one.
    with pytest.raises(ValueError, match="tpu_address=local"):
        runtime.make_strategy(configs.RuntimeConfig(**settings))


class FakeResolver(tf.distribute.cluster_resolver.ClusterResolver):
    """Knows of two cores of a TPU that are not there."""

    task_type = task_id = rpc_layer = tpu_hardware_feature = None
    environment = ""

    def cluster_spec(self):
        return tf.train.ClusterSpec({})

    def master(self, *arguments):
        return ""

    def num_accelerators(self, *arguments):
        return {"TPU": 2}

    def get_tpu_system_metadata(self):
        device = collections.namedtuple("Device", ["name", "device_type"])
        root = "/job:localhost/replica:0/task:0/device"
        devices = [device(f"{root}:CPU:0", "CPU")] + [
            device(f"{root}:TPU:{core}", "TPU") for core in (0, 1)
        ]
        return tf.tpu.experimental.TPUSystemMetadata(
            num_cores=2,
            num_hosts=1,
            num_of_cores_per_host=2,
            topology=None,
            devices=devices,
        )


def test_tpu_step_is_constructed(monkeypatch):
    addresses = []

    def connect(address):
        addresses.append(address)
        return FakeResolver()

    monkeypatch.setattr(
        tf.distribute.cluster_resolver.TPUClusterResolver, "connect", connect
    )
    strategy = runtime.make_strategy(
        configs.RuntimeConfig(
            strategy="tpu", tpu_address="grpc://10.0.0.2:8470"
        )
    )
    assert addresses == ["grpc://10.0.0.2:8470"]
    assert isinstance(strategy, tf.distribute.TPUStrategy)
    assert strategy.num_replicas_in_sync == 2

    configuration = tiny.make_config(**{"optimizer.global_clip_norm": 1.0})
    made = tiny.make_durations(configuration)
    train_state = state.create(
        settings=configuration.optimizer,
        seed=3,
        strategy=strategy,
        source=state.ModelSource(
            build=lambda: tiny.build(synchronized=True, dropout_rate=0.5)
        ),
        schedule=made.learning_rate(configuration),
    )
    settings = step.StepSettings(
        config=configuration,
        unlabeled_batch_size=8,
        seed=5,
    )
    train_steps = step.make_train_steps(train_state, settings, strategy)
    stream = replicas.distribute(
        tiny.make_stream,
        start_step=0,
        strategy=strategy,
        labeled_batch_size=4,
        unlabeled_batch_size=8,
    )
    graph = train_steps.get_concrete_function(
        iter(stream), tf.TensorSpec([], tf.int32)
    ).graph
    functions = graph.as_graph_def().library.function
    operations = {
        node.op for function in functions for node in function.node_def
    }
    assert {"TPUReplicateMetadata", "CrossReplicaSum"} <= operations


def test_precision_is_the_policy_of_new_layers():
    configuration = config_tree.override(
        configs.Config(), {"runtime.precision": "mixed_bfloat16"}
    )
    try:
        runtime.configure(configuration)
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    finally:
        runtime.configure(configs.Config())
    assert keras.layers.Dense(1).compute_dtype == "float32"


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
    assert runtime.read_cluster() == runtime.Cluster(("a:3", "b:1", "c:2"), 2)


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
        runtime.read_cluster()


def test_a_worker_that_comes_late_is_waited_for():
    here, there = free_address(), free_address()
    host, port = there.split(":")
    late = socket.socket()
    came = []

    def come():
        came.append(there)
        late.bind((host, int(port)))
        late.listen()

    timer = threading.Timer(0.3, come)
    timer.start()
    with late:
        runtime.wait_until_reachable(runtime.Cluster((here, there), 0), 10)
        assert came
        timer.join()


def test_an_unreachable_worker_is_named_after_the_time_out():
    here, there = free_address(), free_address()
    with pytest.raises(TimeoutError, match=f"no answer from {there} within"):
        runtime.wait_until_reachable(runtime.Cluster((here, there), 0), 0.3)


def test_a_port_that_is_taken_is_named():
    holder, address = listener()
    with holder, pytest.raises(OSError, match="cannot be listened at"):
        runtime.wait_until_reachable(
            runtime.Cluster((address, free_address()), 0), 0.3
        )


def test_one_process_is_its_own_chief():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert runtime.is_chief(strategy)
    assert runtime.num_workers(strategy) == 1
    assert runtime.agree(strategy, [3, 4]) == [[3, 4]]
    runtime.wait_for_all(strategy)


def test_this_machine_alone_has_no_other_hosts():
    for strategy in (
        strategies.mirrored(1),
        strategies.mirrored(2),
        strategies.tpu(2),
        tf.distribute.get_strategy(),
    ):
        assert runtime.other_hosts(strategy) == ()


def test_hosts_of_a_pod_are_named_in_their_replicas_order():
    class Pod(tf.distribute.TPUStrategy):
        def __init__(self):
            pass

        @property
        def extended(self):
            class Extended:
                worker_devices = tuple(
                    WORKER.format(task, f"TPU:{core}")
                    for task in (0, 1)
                    for core in (0, 1)
                )

            return Extended()

    expected = tuple(WORKER.format(task, "CPU:0") for task in (0, 1))
    assert runtime.other_hosts(Pod()) == expected
