"""Strategies over logical CPUs, shared by all tests of a process."""

import collections
import functools

import numpy as np
import tensorflow as tf
from tensorflow.python.tpu import tpu_system_metadata

_DEVICE = "/job:localhost/replica:0/task:0/device"
_Device = collections.namedtuple("_Device", "name")


# Collectives of several strategies over the same devices share their keys:
# the second one is aborted with "Shape mismatch in the collective instance".
@functools.cache
def mirrored(num_replicas):
    """Return the one strategy of so many replicas."""
    if num_replicas == 1:
        return tf.distribute.OneDeviceStrategy("/cpu:0")
    # And collectives over two devices and over four exclude each other.
    sums = tf.distribute.ReductionToOneDevice() if num_replicas > 2 else None
    return tf.distribute.MirroredStrategy(
        [f"/cpu:{i}" for i in range(num_replicas)], cross_device_ops=sums
    )


class _Resolver:
    """Says what a TPU of one host with some cores says of itself."""

    def __init__(self, num_cores):
        self._num_cores = num_cores

    def get_tpu_system_metadata(self):
        return tpu_system_metadata.TPUSystemMetadata(
            num_cores=self._num_cores,
            num_hosts=1,
            num_of_cores_per_host=self._num_cores,
            topology=None,
            devices=[
                _Device(f"{_DEVICE}:TPU:{i}") for i in range(self._num_cores)
            ],
        )


def tpu(num_replicas):
    """Return TPUStrategy itself, with CPUs in the place of a TPU's cores.

    What it runs can be traced, and variables be made, read and assigned; its
    programs run on TPUs alone.
    """
    strategy = tf.distribute.TPUStrategy(_Resolver(num_replicas))
    cores = [f"{_DEVICE}:CPU:{i}" for i in range(num_replicas)]
    extended = strategy.extended
    extended._tpu_devices = np.array([[core] for core in cores], object)
    extended._device_input_worker_devices = {cores[0]: cores}
    # Of devices of one kind there is no composite one.
    strategy._enable_packed_variable_in_eager_mode = False
    return strategy
