"""What one host of many needs for the paper's 130 million rows.

    python -m benchmarks.host_scale --parts=index,shuffle,rates

index: time and memory of an index of local shards and of computing the order of
an epoch, with synthetic offsets, each size in a process of its own.
shuffle: from how many of its shards the rows of a host's batch come, where
every host reads remote shards of its own (`--runtime.host_sharding=files`), and
whether two epochs differ, at a scale of 1 to 20 in records a shard.
rates: noised images a second of one core at the resolutions of B0 to L2, from
JPEGs of 500 x 375, and the cores that the hosts of accelerators need for
training at a share of their peak. The last line is one JSON object.
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import input_pipeline
from noisy_student_tf import configs
from noisy_student_tf.pipeline import raw_stream, record_store, train_stream
from noisy_student_tf.planning import accelerators, compute
from noisy_student_tf.records import schema, shards

FLAGS = flags.FLAGS

ROWS = (10_000_000, 100_000_000)
# Paper: 130 million rows show 81 million images.
COPIES = (1, 1, 1, 2, 3)
CHUNK = 1024
NUM_CHUNKS = 200

# The shards of one of 128 hosts are 781 of 100,000, and hold 1,300 rows each.
NUM_HOSTS, NUM_SHARDS, RECORDS_A_SHARD, SCALE = 128, 781, 65, 20
HOSTS_BATCH = 14 * 2048 // NUM_HOSTS

# name, resolution that it trains at.
MODELS = (
    ("efficientnet-b0", 224),
    ("efficientnet-b4", 380),
    ("efficientnet-b7", 600),
    ("efficientnet-l2", 475),
    ("efficientnet-l2", 800),
)
HOSTS = ("v3-8", "v4-8", "h100-8")


def define_flags() -> None:
    """Define the flags."""
    flags.DEFINE_list("parts", ["index", "shuffle", "rates"], "What to do.")
    flags.DEFINE_integer("rows", 0, "Of the process for one size: internal.")
    flags.DEFINE_float("utilization", 0.3, "Share of an accelerator's peak.")


def peak_megabytes() -> float:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_index(num_rows: int) -> dict[str, float]:
    """Make a store of so many rows; compute places of an epoch's order."""
    before = peak_megabytes()
    num_records = round(num_rows / np.mean(COPIES))
    began = time.process_time()
    copies = np.resize(np.array(COPIES, np.int64), num_records)
    store = record_store.Store(
        paths=tf.constant([f"shard-{i}" for i in range(100_000)]),
        firsts=tf.range(100_000, dtype=tf.int64) * (num_records // 100_000),
        content=tf.range(num_records, dtype=tf.int64) * 100_000,
        copies=copies,
    )
    made = time.process_time() - began
    size = store.num_rows

    @tf.function(autograph=False)
    def read(begin: tf.Tensor) -> tf.Tensor:
        numbers = begin + tf.range(CHUNK, dtype=tf.int64)
        rows = raw_stream.shuffled(
            numbers % size, epochs=numbers // size, size=size, seed=1
        )
        return tf.gather(store.content, store.records_of(rows))

    began = time.process_time()
    read(tf.constant(0, tf.int64))
    first = time.process_time() - began
    # A restart at any step costs the same.
    began = time.process_time()
    for i in range(NUM_CHUNKS):
        read(tf.constant(size // 2 + i * CHUNK, tf.int64))
    used = time.process_time() - began
    return {
        "rows": size,
        "records": num_records,
        "seconds_to_make": round(made, 2),
        "seconds_to_first_rows": round(first, 2),
        "microseconds_a_row": round(1e6 * used / (NUM_CHUNKS * CHUNK), 3),
        "megabytes": round(peak_megabytes() - before),
    }


def index() -> list[dict[str, float]]:
    """Measure each size in a process of its own."""
    found = []
    for rows in ROWS:
        finished = subprocess.run(
            [sys.executable, "-m", "benchmarks.host_scale", f"--rows={rows}"],
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(json.loads(finished.stdout.splitlines()[-1]))
        print(found[-1], flush=True)
    return found


def write_numbered(directory: str) -> shards.ShardSet:
    """Write one host's shards: every record says which it is, and its shard."""
    paths = []
    number = 0
    for shard in range(NUM_SHARDS):
        path = f"{directory}/{shard:05d}.tfrecord"
        with tf.io.TFRecordWriter(path) as writer:
            for _ in range(RECORDS_A_SHARD):
                example = schema.encode_image(
                    image=str(shard).encode(),
                    image_id=str(number).encode(),
                    label=0,
                )
                writer.write(example)
                number += 1
        # With a scheme they count as remote.
        paths.append(f"file://{path}")
    return shards.ShardSet(
        paths=tuple(paths),
        num_records=number,
        schema="image",
        num_classes=1,
        num_copies=number,
    )


def shuffle() -> dict[str, float]:
    """Return how many shards the rows of a host's batches come from."""
    with tempfile.TemporaryDirectory() as directory:
        shard_set = write_numbered(directory)
        buffer = configs.TrainingConfig().shuffle_buffer_size // SCALE
        rows = raw_stream.make_rows(
            shard_set,
            seed=1,
            part=raw_stream.BatchPart(batch_size=HOSTS_BATCH),
            start_step=0,
            chunk_size=HOSTS_BATCH,
            runtime=configs.RuntimeConfig(cache_megabytes=0),
            shuffle_buffer_size=buffer,
        )
        num_batches = shard_set.num_records // HOSTS_BATCH
        seen = [
            schema.parse_image(records)
            for _, records, _ in rows.take(2 * num_batches)
        ]
    sources = np.array([each["image"].numpy().astype(int) for each in seen])
    ids = np.array([each["image_id"].numpy().astype(int) for each in seen])
    distinct = [len(np.unique(batch)) for batch in sources[:num_batches]]
    ideal = NUM_SHARDS * (1 - (1 - 1 / NUM_SHARDS) ** HOSTS_BATCH)
    first, second = (
        np.argsort(part.ravel())
        for part in (ids[:num_batches], ids[num_batches:])
    )
    length = min(len(first), len(second))
    return {
        "rows_of_a_host": HOSTS_BATCH,
        "shards_of_a_host": NUM_SHARDS,
        "shards_in_a_batch": round(float(np.mean(distinct)), 1),
        "shards_if_drawn_from_all": round(ideal, 1),
        "correlation_of_two_epochs": round(
            float(np.corrcoef(first[:length], second[:length])[0, 1]), 3
        ),
    }


def rate_of_core(resolution: int, pattern: str) -> float:
    """Return noised images for a second of one core."""
    setting = input_pipeline.Setting(
        "imagenet_224", resolution, 16, "jpeg", configs.PolicyConfig()
    )
    stream = train_stream.make_train_stream(
        labeled=input_pipeline.write_shards(setting, pattern),
        pseudo_labeled=None,
        config=input_pipeline.make_config(setting, setting.policy),
        resolution=resolution,
        num_classes=1,
        start_step=0,
    )
    return input_pipeline.measure(stream, setting.batch_size)[1]


def needed_rates(name: str, resolution: int) -> dict[str, float]:
    """Return the images a second that one host's devices train."""
    model = configs.ModelConfig(name=name, resolution=resolution)
    config = dataclasses.replace(
        configs.Config(),
        model=model,
        data=configs.DataConfig(num_classes=1000),
    )
    work = compute.TRAINING_PASSES * compute.forward_multiply_adds(
        model, config
    )
    rates = {}
    for host in HOSTS:
        accelerator = accelerators.parse(host)
        seconds = accelerator.seconds(work, utilization=FLAGS.utilization)
        # v4-8 is one host; a name can stand for less or more.
        rates[host] = 1 / seconds / accelerator.num_hosts
    return rates


def rates() -> list[dict[str, float | str]]:
    """Measure every resolution, and divide what is needed by it."""
    found: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as directory:
        jpegs = input_pipeline.Setting(
            "imagenet_224", 224, 16, "jpeg", configs.PolicyConfig()
        )
        pattern = input_pipeline.write_pictures(jpegs, directory)
        for name, resolution in MODELS:
            core = rate_of_core(resolution, pattern)
            row: dict[str, float | str] = {
                "model": f"{name} at {resolution}",
                "images_a_core_second": round(core, 1),
            }
            for host, needed in needed_rates(name, resolution).items():
                row[f"{host}_needs"] = round(needed)
                row[f"{host}_cores"] = round(needed / core, 1)
            print(row, flush=True)
            found.append(row)
    return found


def main(_: list[str]) -> None:
    """Measure what is asked for, and print one JSON object."""
    if FLAGS.rows:
        print(json.dumps(measure_index(FLAGS.rows)))
        return
    parts = {"index": index, "shuffle": shuffle, "rates": rates}
    print(json.dumps({name: parts[name]() for name in FLAGS.parts}))


if __name__ == "__main__":
    define_flags()
    app.run(main)
