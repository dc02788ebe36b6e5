"""Processor time of dealing an image to the replicas of a strategy.

A stream whose batches are there already is distributed as training does it,
over logical CPUs: what is measured is cutting batches into those of the
replicas and handing them out. Beside it stands an input pipeline's own time,
1.9 ms for an image of 224 pixels (docs/performance_pipeline.md).

    python -m benchmarks.dealing

The last line is one JSON object: milliseconds an image by pixels and replicas.
"""

import functools
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf
from absl import app, flags

from noisy_student_tf.devices import replicas

flags.DEFINE_float("seconds", 4.0, "Length of one measurement.")

BATCH_SIZE = 64
NUM_CLASSES = 1000
SIDES = (224, 600)
NUM_REPLICAS = (1, 2, 8)


def make_stream(start_step: int, *, side: int) -> tf.data.Dataset:
    """Return endless batches of noise, made once."""
    images = tf.random.stateless_uniform(
        [BATCH_SIZE, side, side, 3], [start_step, 1], 0, 256, tf.int32
    )
    batch = {
        "labeled_images": tf.cast(images, tf.uint8),
        "labels": tf.zeros([BATCH_SIZE], tf.int32),
    }
    return tf.data.Dataset.from_tensors(batch).cache().repeat()


def milliseconds(side: int, num_replicas: int) -> float:
    """Return the processor time of an image."""
    devices = [f"/cpu:{i}" for i in range(num_replicas)]
    strategy: tf.distribute.Strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    if num_replicas > 1:
        strategy = tf.distribute.MirroredStrategy(
            devices, cross_device_ops=tf.distribute.ReductionToOneDevice()
        )
    stream = replicas.distribute(
        functools.partial(make_stream, side=side),
        start_step=0,
        strategy=strategy,
        labeled_batch_size=BATCH_SIZE,
        unlabeled_batch_size=0,
    )
    iterator = iter(stream)
    for _ in range(3):
        next(iterator)
    began, used = time.monotonic(), time.process_time()
    num_batches = 0
    while time.monotonic() - began < flags.FLAGS.seconds:
        next(iterator)
        num_batches += 1
    used = time.process_time() - used
    return 1e3 * used / (num_batches * BATCH_SIZE)


def main(_: list[str]) -> None:
    """Measure all, print a line each and one JSON object."""
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * max(NUM_REPLICAS),
    )
    found: dict[str, dict[str, float]] = {}
    for side in SIDES:
        for count in NUM_REPLICAS:
            value = round(milliseconds(side, count), 4)
            print(f"{side} px, {count} replicas: {value} ms an image")
            found.setdefault(str(side), {})[str(count)] = value
    print(json.dumps(found))


if __name__ == "__main__":
    app.run(main)
