"""Strategies over logical CPUs, shared by all tests of a process."""

import functools

import tensorflow as tf


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
