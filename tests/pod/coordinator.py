"""The process that drives another host in `test_remote_host`.

    python -m tests.pod.coordinator ADDRESS DIRECTORY

Trains, goes on from the checkpoint, and reads batches of the shards in
DIRECTORY. The last line is one JSON object.
"""

import dataclasses
import json
import sys

import numpy as np
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.devices import replicas
from noisy_student_tf.pipeline import train_stream
from noisy_student_tf.records import shards
from noisy_student_tf.training import loop, progress, state
from tests.training import tiny

HOST = "/job:worker/replica:0/task:0/device:CPU:0"


def train(directory, strategy, *, total_steps, make_stream=tiny.make_stream):
    """Train, or go on, with noise and validations."""
    configuration = tiny.make_config()
    return loop.train(
        progress.Task(
            config=configuration,
            durations=tiny.make_durations(
                configuration, total_steps=total_steps
            ),
            directory=directory,
            strategy=strategy,
            models=state.ModelSource(
                build=lambda: tiny.build(dropout_rate=0.5)
            ),
            make_stream=make_stream,
            evaluate=tiny.evaluate,
            title="student",
        )
    )


def read_stream(directory, *, cache_megabytes):
    """Return batches of shards, read and noised where the stream is made."""
    policy = configs.PolicyConfig(
        crop="pad", pad_pixels=2, translate_pixels=4.0, cutout_pixels=2.0
    )
    config = configs.Config(
        model=configs.ModelConfig(resolution=8, small_image_strides=True),
        augmentation=configs.AugmentationConfig(
            labeled=policy, unlabeled=policy
        ),
        training=configs.TrainingConfig(
            labeled_batch_size=8, shuffle_buffer_size=16
        ),
        runtime=configs.RuntimeConfig(cache_megabytes=cache_megabytes),
    )
    labeled = shards.open_split(directory, "train")
    return train_stream.make_train_stream(
        # With a scheme they count as remote.
        labeled=dataclasses.replace(
            labeled, paths=tuple(f"file://{path}" for path in labeled.paths)
        ),
        pseudo_labeled=None,
        config=config,
        resolution=8,
        num_classes=labeled.num_classes,
        start_step=3,
    )


def main(address, directory):
    tf.config.experimental_connect_to_cluster(
        tf.train.ClusterSpec({"worker": [address]})
    )
    # As where there is a TPU: streams are made on the strategy's host.
    replicas.has_accelerator = lambda: True
    strategy = tf.distribute.OneDeviceStrategy(HOST)
    made_on = []

    def make_stream(start_step):
        made_on.append(tf.zeros([]).device)
        return tiny.make_stream(start_step)

    for total_steps in (2, 4):
        result = train(
            f"{directory}/run",
            strategy,
            total_steps=total_steps,
            make_stream=make_stream,
        )
    models = (result.model, result.ema_model)
    np.savez(
        f"{directory}/weights.npz",
        *(weight for model in models for weight in tiny.weights_of(model)),
    )
    with tf.device(HOST):
        batches = [
            next(iter(read_stream(directory, cache_megabytes=size)))
            for size in (0, 1)
        ]
    np.savez(
        f"{directory}/batches.npz",
        *(batch["labeled_images"] for batch in batches),
    )
    found = {
        "step": result.step,
        "variables_on": sorted(
            {
                weight.value.device
                for model in models
                for weight in model.weights
            }
        ),
        "streams_made_on": made_on,
        "batches_on": sorted(
            {tensor.device for batch in batches for tensor in batch.values()}
        ),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
