"""Requests and seconds of a run's files on object storage, through `gs://`.

    python -m benchmarks.remote_files

A server on this machine answers as the storage would, each request after 60 ms
and each stream at 100 MB/s (`object_server`). Measured are a listing of 100,000
shards, manifests, a checkpoint, the sizes of shards, a stream that begins at
step 1,000,000, and the first two again while every fifth request is refused
and every third read of content ends after half. The last line is one JSON
object.
"""

import functools
import json
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
from absl import app, flags

from benchmarks import object_server, object_store

FLAGS = flags.FLAGS
BUCKET = "gs://bucket"
CHECKPOINT_VARIABLES = 16
RESOLUTION = 32


def define_flags() -> None:
    """Define the flags."""
    flags.DEFINE_float("latency_ms", 60.0, "Before every answer.")
    flags.DEFINE_float("megabytes_per_second", 100.0, "Of every stream.")
    flags.DEFINE_integer("listed", 100_000, "Shards that are listed.")
    flags.DEFINE_integer("sized", 4_000, "Shards whose size is asked for.")
    flags.DEFINE_integer("checkpoint_megabytes", 128, "Of a checkpoint.")
    flags.DEFINE_integer("shards", 64, "Shards that a stream reads.")
    flags.DEFINE_integer("images", 400, "Pictures in each of them.")


class Measured:
    """Seconds and requests of what is done, by name."""

    def __init__(self, store: object_store.Store) -> None:
        """Begin with nothing."""
        self._store = store
        self.found: dict[str, dict[str, Any]] = {}

    def time(self, name: str, function: Callable[[], Any]) -> Any:
        """Call a function, and note and print what it took."""
        self._store.take_counts()
        sent = self._store.sent_bytes
        began, used = time.monotonic(), time.process_time()
        result = function()
        self.found[name] = {
            "seconds": round(time.monotonic() - began, 2),
            "processor_seconds": round(time.process_time() - used, 2),
            "requests": self._store.take_counts(),
            "megabytes_sent": round((self._store.sent_bytes - sent) / 1e6, 1),
        }
        print(name, json.dumps(self.found[name]), flush=True)
        return result


def list_and_write(measured: Measured, suffix: str = "") -> None:
    """List shards; write and read a manifest."""
    from noisy_student_tf import files

    pattern = f"{BUCKET}/heap/*.tfrecord"
    paths = measured.time(f"listing{suffix}", lambda: files.glob(pattern))
    if len(paths) != FLAGS.listed:
        raise ValueError(f"{len(paths)} shards of {FLAGS.listed} were listed.")
    path = f"{BUCKET}/run/teacher{suffix}/manifest.json"
    content = {"counts": list(range(1000))}
    measured.time(
        f"manifest_written{suffix}", lambda: files.write_json(path, content)
    )
    found = measured.time(
        f"manifest_read{suffix}", lambda: files.read_json(path)
    )
    if found != content:
        raise ValueError("The manifest is not what was written.")


def ask_for_sizes(measured: Measured) -> None:
    """Ask for the size of many shards."""
    from noisy_student_tf import files

    paths = [f"{BUCKET}/heap/{i:06d}.tfrecord" for i in range(FLAGS.sized)]
    measured.time(
        f"sizes_of_{FLAGS.sized}",
        lambda: files.call_for_each(files.size_bytes, paths),
    )


def save(measured: Measured) -> None:
    """Write a checkpoint's variables, and read them for their checksum.

    Reading them into variables holds Python's lock, which the server needs.
    """
    from noisy_student_tf.records import shards
    from noisy_student_tf.training import checkpoints

    size = FLAGS.checkpoint_megabytes * 2**20 // 4 // CHECKPOINT_VARIABLES
    values = [
        np.random.default_rng(i).random(size, np.float32)
        for i in range(CHECKPOINT_VARIABLES)
    ]
    prefix = f"{BUCKET}/run/checkpoints/step-00000001/state"
    measured.time(
        "checkpoint_written",
        lambda: checkpoints.write_variables(prefix, {"model": values}),
    )
    measured.time(
        "checkpoint_checked",
        lambda: shards.fingerprint(f"{prefix}.data-00000-of-00001"),
    )


def write_shards(store: object_store.Store) -> None:
    """Write shards of small pictures on this machine, and put them there."""
    import tensorflow as tf

    from benchmarks import photographs
    from noisy_student_tf.records import schema, shards

    pictures = [
        photographs.encode(each, "jpeg")
        for each in photographs.crops(16, width=500, height=375)
    ]
    with tempfile.TemporaryDirectory() as directory:
        for i in range(FLAGS.shards):
            name = shards.shard_name("train", i, FLAGS.shards)
            with tf.io.TFRecordWriter(f"{directory}/{name}") as writer:
                for j in range(FLAGS.images):
                    writer.write(
                        schema.encode_image(
                            image=pictures[j % len(pictures)],
                            image_id=schema.make_id("benchmark", f"{i}/{j}"),
                            label=0,
                        )
                    )
            with open(f"{directory}/{name}", "rb") as file:
                store.put(f"bucket/labeled/{name}", file.read())
    num_records = FLAGS.shards * FLAGS.images
    split = shards.split_manifest(
        paths=[
            shards.shard_name("train", i, FLAGS.shards)
            for i in range(FLAGS.shards)
        ],
        num_records=num_records,
        schema="image",
        num_classes=1,
    )
    shards.write_manifest(f"{BUCKET}/labeled", {"splits": {"train": split}})


def start_late(measured: Measured) -> None:
    """Open the shards, and make the first batch of step 1,000,000."""
    from noisy_student_tf import configs
    from noisy_student_tf.pipeline import train_stream
    from noisy_student_tf.records import shards

    shard_set = measured.time(
        "shards_opened",
        lambda: shards.open_split(f"{BUCKET}/labeled", "train"),
    )
    config = configs.Config(
        model=configs.ModelConfig(resolution=RESOLUTION),
        training=configs.TrainingConfig(
            labeled_batch_size=256, shuffle_buffer_size=1024
        ),
        runtime=configs.RuntimeConfig(cache_megabytes=0),
    )
    make_stream = functools.partial(
        train_stream.make_train_stream,
        labeled=shard_set,
        pseudo_labeled=None,
        config=config,
        resolution=RESOLUTION,
        num_classes=1,
    )

    def first_batch(step: int) -> Any:
        return next(iter(make_stream(start_step=step)))

    # The second lies in the middle of an epoch.
    steps_per_epoch = (
        shard_set.num_records // config.training.labeled_batch_size
    )
    late = 1_000_000 // steps_per_epoch * steps_per_epoch + steps_per_epoch // 2
    for step in (0, late):
        measured.time(
            f"first_batch_of_step_{step}", functools.partial(first_batch, step)
        )


def main(_: list[str]) -> None:
    """Measure all, and print one JSON object."""
    behavior = object_store.Behavior(
        latency_seconds=FLAGS.latency_ms / 1e3,
        bytes_per_second=FLAGS.megabytes_per_second * 1e6,
    )
    with object_server.serve(behavior) as store:
        os.environ.update(store.environment)
        for i in range(FLAGS.listed):
            store.put(f"bucket/heap/{i:06d}.tfrecord", 150_000_000)
        measured = Measured(store)
        list_and_write(measured)
        ask_for_sizes(measured)
        save(measured)
        write_shards(store)
        start_late(measured)
        behavior.refuse_every, behavior.cut_every = 5, 3
        list_and_write(measured, "_while_refused")
    print(json.dumps(measured.found))


if __name__ == "__main__":
    define_flags()
    app.run(main)
