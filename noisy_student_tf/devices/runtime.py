"""Devices, precision and determinism of a process."""

import keras
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.devices import cluster


def configure(configuration: configs.Config) -> None:
    """Set what holds for the whole process, before anything is built.

    Args:
        configuration: Its seed, `runtime.precision` and
            `runtime.deterministic` are read.
    """
    runtime = configuration.runtime
    keras.config.set_dtype_policy(runtime.precision)
    keras.utils.set_random_seed(configuration.seed)
    if runtime.deterministic:
        tf.config.experimental.enable_op_determinism()


def make_logical_cpus(count: int) -> None:
    """Split the CPU into logical devices; only before TensorFlow starts.

    They let several replicas be tested without accelerators.

    Raises:
        RuntimeError: TensorFlow has already set its devices up.
    """
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * count,
    )


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
        cluster.wait_until_reachable(
            cluster.read_cluster(), runtime.worker_timeout_seconds
        )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if runtime.strategy == "tpu":
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
    if cluster.num_workers(strategy) == 1:
        return strategy
    return make_strategy(configs.RuntimeConfig(strategy="one_device"))


def _tpu_strategy(address: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(
            address
        )
    except (ValueError, tf.errors.OpError) as error:
        reason, _, _ = str(error).partition("\n")
        raise ValueError(
            f"--runtime.tpu_address={address}: no TPU answers there. Accepted "
            "are local (on a TPU VM), a TPU's name, or grpc://HOST:PORT. "
            f"TensorFlow says: {reason}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)
