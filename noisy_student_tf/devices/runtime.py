"""The processes of a run: their devices, strategies, workers and precision.

A run of one process, whatever its strategy, is a cluster of one worker.
"""

import dataclasses
import json
import os
import socket
import time
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from noisy_student_tf import configs

# They log at the level of a run's own progress.
_CHATTY_MODULES = (
    "bigquery.py",
    "builder_impl.py",
    "fingerprinting_utils.py",
    "functional_saver.py",
    "signature_serialization.py",
    "statecache.py",
)
_VARIABLE = "TF_CONFIG"
_TASKS = ("chief", "worker")
_RETRY_SECONDS = 0.2
_ONE_MACHINE = (tf.distribute.OneDeviceStrategy, tf.distribute.MirroredStrategy)
# The address of the TPU of the machine that the process runs on.
_THIS_HOST = "local"
_EXAMPLE = (
    '{"cluster": {"worker": ["HOST_A:PORT", "HOST_B:PORT"]}, "task": {"type": '
    '"worker", "index": 0}}'
)


def set_up_logging() -> None:
    """Show what the stages say, without the libraries' own chatter."""
    logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
    logging.get_absl_handler().addFilter(
        lambda record: record.filename not in _CHATTY_MODULES
    )
    tf.get_logger().setLevel("ERROR")


def configure(configuration: configs.Config) -> None:
    """Set the process's precision, seed and determinism, before all else."""
    runtime = configuration.runtime
    keras.config.set_dtype_policy(runtime.precision)
    keras.utils.set_random_seed(configuration.seed)
    if runtime.deterministic:
        tf.config.experimental.enable_op_determinism()


def make_strategy(runtime: configs.RuntimeConfig) -> tf.distribute.Strategy:
    """Return the strategy of a configuration.

    Args:
        runtime: "auto" mirrors over several GPUs and uses one device
            otherwise; "multi_worker" reads TF_CONFIG.

    Raises:
        ValueError: The devices that it asks for are not there, or TF_CONFIG
            does not name a cluster.
        TimeoutError: A worker of the cluster did not answer in time.
    """
    if runtime.strategy == "multi_worker":
        wait_until_reachable(read_cluster(), runtime.worker_timeout_seconds)
        return tf.distribute.MultiWorkerMirroredStrategy()
    if runtime.strategy == "tpu":
        _check_remote_hosts(runtime)
        return _tpu_strategy(runtime.tpu_address)
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    names = [device.name for device in devices]
    is_mirrored = runtime.strategy == "mirrored" or (
        runtime.strategy == "auto" and len(gpus) > 1
    )
    if not is_mirrored:
        return tf.distribute.OneDeviceStrategy(names[0])
    if runtime.num_devices > len(names):
        raise ValueError(
            f"--runtime.num_devices={runtime.num_devices}: this machine has "
            f"{len(names)} ({', '.join(names)}). Ask for at most that many, "
            "or 0 for all."
        )
    return tf.distribute.MirroredStrategy(names[: runtime.num_devices or None])


def own_strategy(strategy: tf.distribute.Strategy) -> tf.distribute.Strategy:
    """Return a strategy for what one process does while the others wait.

    Variables of a multi-worker strategy are made by all workers together: one
    of them alone would wait for ever. It gets its first device.
    """
    if num_workers(strategy) == 1:
        return strategy
    return make_strategy(configs.RuntimeConfig(strategy="one_device"))


def other_hosts(strategy: tf.distribute.Strategy) -> tuple[str, ...]:
    """Return the hosts of a strategy's replicas, if not all are this process.

    Returns:
        Their CPUs in the order of the replicas; empty where this process
        makes the images itself, or each of several does.
    """
    if not isinstance(strategy, (tf.distribute.TPUStrategy, *_ONE_MACHINE)):
        return ()
    found = {}
    for device in strategy.extended.worker_devices:
        spec = tf.DeviceSpec.from_string(device)
        host = spec.replace(device_type="CPU", device_index=0)
        found[host.to_string()] = spec.job not in (None, "localhost")
    return tuple(found) if any(found.values()) else ()


def _check_remote_hosts(runtime: configs.RuntimeConfig) -> None:
    """Refuse what would be of this machine, where other hosts compute."""
    if runtime.tpu_address != _THIS_HOST and runtime.cache_directory:
        raise ValueError(
            f"--runtime.cache_directory={runtime.cache_directory}: shards "
            "would be copied to a folder of this machine, and the hosts of "
            f"--runtime.tpu_address={runtime.tpu_address} would look for it on "
            "theirs. Leave it out; --runtime.host_sharding=files lets each "
            "host read its own share."
        )


def _tpu_strategy(address: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(
            address
        )
    except (ValueError, ImportError, tf.errors.OpError) as error:
        reason, _, _ = str(error).partition("\n")
        raise ValueError(
            f"--runtime.tpu_address={address}: no TPU answers there. Accepted "
            "are local (on a TPU VM), grpc://HOST:PORT, or a TPU's name, for "
            "which the packages google-api-python-client and oauth2client "
            f"must be installed. TensorFlow says: {reason}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What TF_CONFIG tells one worker.

    Attributes:
        addresses: HOST:PORT of every worker, the chief's first.
        index: This worker's place among them.
    """

    addresses: tuple[str, ...]
    index: int


def read_cluster() -> Cluster:
    """Read the environment variable TF_CONFIG.

    Raises:
        ValueError: It is not set, or does not name a cluster and this task.
    """
    text = os.environ.get(_VARIABLE)
    if not text:
        raise ValueError(
            "--runtime.strategy=multi_worker: the environment variable "
            f"{_VARIABLE} is not set. Give every worker the cluster's "
            f"addresses and its own index in it, such as {_EXAMPLE}, or use "
            "--runtime.strategy=auto."
        )
    try:
        content = json.loads(text)
        members = content["cluster"]
        own = content["task"]["type"], int(content["task"]["index"])
        named = {
            (task, index): address
            for task in _TASKS
            for index, address in enumerate(members.get(task, []))
        }
        for address in named.values():
            _split(address)
        return Cluster(tuple(named.values()), list(named).index(own))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{_VARIABLE}={text}: this does not name the workers and which of "
            f"them this process is ({error!r}). Accepted is {_EXAMPLE}."
        ) from error


def wait_until_reachable(cluster: Cluster, timeout_seconds: float) -> None:
    """Wait until every other worker takes a connection.

    Each listens at its own address meanwhile: TensorFlow, which would wait
    for hours, is started when all are there.

    Raises:
        TimeoutError: Workers did not answer in time; they are named.
        OSError: This worker's own port cannot be listened at.
    """
    own = cluster.addresses[cluster.index]
    missing = [address for address in cluster.addresses if address != own]
    deadline = time.monotonic() + timeout_seconds
    with _listen(own):
        while missing:
            missing = [a for a in missing if not _answers(a)]
            if missing and time.monotonic() > deadline:
                raise TimeoutError(
                    f"{_VARIABLE}: no answer from {', '.join(missing)} within "
                    f"{timeout_seconds:g} s. Start every worker of the "
                    "cluster, check names, ports and firewalls, or raise "
                    "--runtime.worker_timeout_seconds."
                )
            if missing:
                time.sleep(_RETRY_SECONDS)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listen(address: str) -> socket.socket:
    port = _split(address)[1]
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno,
            f"{_VARIABLE}: port {port} of {address} cannot be listened at "
            f"({error.strerror}). Stop what holds it, or give this worker "
            "another port in every worker's variable.",
        ) from error
    return listener


def _answers(address: str) -> bool:
    try:
        with socket.create_connection(_split(address), timeout=2.0):
            return True
    except OSError:
        return False


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Return how many processes a strategy spans."""
    return len(_members(strategy)) if _is_multi_worker(strategy) else 1


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """Return this process's place among a strategy's, 0 for the chief."""
    if not _is_multi_worker(strategy):
        return 0
    resolver = strategy.cluster_resolver
    return _members(strategy).index((resolver.task_type, resolver.task_id))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Tell whether this process is the one that writes."""
    return worker_index(strategy) == 0


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Return when every worker has come here.

    Raises:
        tf.errors.OpError: A worker was lost.
    """
    agree(strategy, [0])


def agree(
    strategy: tf.distribute.Strategy, numbers: list[int]
) -> list[list[int]]:
    """Return what every worker brought, in the workers' order.

    All workers call it at the same place, with as many numbers.

    Raises:
        tf.errors.OpError: A worker was lost.
    """
    count = num_workers(strategy)
    if count == 1:
        return [numbers]
    mine = tf.one_hot(worker_index(strategy), count, dtype=tf.int64)[
        :, tf.newaxis
    ] * tf.constant([numbers], tf.int64)  # [worker, number]
    # Each of a worker's replicas brings the same; the first one's counts.
    local = strategy.num_replicas_in_sync // count

    def share() -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        is_first = context.replica_id_in_sync_group % local == 0
        return mine * tf.cast(is_first, tf.int64)

    total = strategy.reduce(
        tf.distribute.ReduceOp.SUM, strategy.run(share), axis=None
    )
    return [[int(n) for n in row] for row in total.numpy()]


def _is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _members(strategy: tf.distribute.Strategy) -> list[tuple[str, Any]]:
    spec = strategy.cluster_resolver.cluster_spec()
    return [
        (task, index)
        for task in _TASKS
        if task in spec.jobs
        for index in range(spec.num_tasks(task))
    ]
