"""Measure selection, relabeling and prediction of pseudo-labels.

Selection runs over synthetic prediction files of 0.1, 1 and all `--images`
(the column of probabilities, which selection does not read, is empty in them),
in a process of its own per size, whose greatest memory is that of the whole
program, TensorFlow included. Relabeling
writes the selected of many small records; prediction labels small pictures
with an EfficientNet-B0, alternating with the bare forward pass on tensors in
memory. The last line is one JSON object.

    python -m benchmarks.pseudo_labels --images=10000000 --classes=1000
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from absl import app, flags

import run_scripts  # noqa: F401  Sets what TensorFlow reads at its import.
from data_prep import pseudo_labeled_shard
from noisy_student_tf import config
from noisy_student_tf.model import efficientnet
from noisy_student_tf.model import spec as specs
from noisy_student_tf.pipeline import eval_stream
from noisy_student_tf.pseudo_labels import predict, select
from noisy_student_tf.records import (
    parquet_files,
    predictions,
    schema,
    shards,
)

FLAGS = flags.FLAGS

_ROWS_PER_FILE = 1_000_000
_ROWS_PER_GROUP = 8192
_ROUNDS = 5
_PROJECTED_IMAGES = 300_000_000


def define_flags() -> None:
    flags.DEFINE_integer("images", 10_000_000, "Rows of the largest selection.")
    flags.DEFINE_integer("classes", 1000, "Classes of the predictions.")
    flags.DEFINE_string("directory", "", "Scratch space. Empty: temporary.")
    flags.DEFINE_integer("relabeled", 60_000, "Small records relabeled. 0: no.")
    flags.DEFINE_integer("predicted", 512, "Pictures predicted. 0: none.")
    flags.DEFINE_string("select_only", "", "Predictions to select from; inner.")


def main(_: Sequence[str]) -> None:
    if FLAGS.select_only:
        print(json.dumps(measure_selection(FLAGS.select_only)))
        return
    # An absolute path: the inner processes have it, too.
    directory = os.path.abspath(FLAGS.directory or tempfile.mkdtemp())
    sizes = sorted({min(100_000, FLAGS.images), min(10**6, FLAGS.images)})
    sizes = [*sizes, FLAGS.images][: len(sizes) + (FLAGS.images > sizes[-1])]
    selections = []
    try:
        for num_images in sizes:
            selections.append(run_selection(directory, num_images))
            print(selections[-1], flush=True)
        relabeling = measure_relabeling(directory) if FLAGS.relabeled else {}
        print(relabeling, flush=True)
        prediction = measure_prediction(directory) if FLAGS.predicted else {}
        print(prediction, flush=True)
    finally:
        shutil.rmtree(directory)
    largest = selections[-1]
    print(
        json.dumps(
            {
                "rows_per_second": largest["rows_per_cpu_second"],
                "peak_memory_mb": largest["peak_memory_mb"],
                "selection": selections,
                "relabeling": relabeling,
                "prediction": prediction,
                "projection_300m": project(largest),
                "load_average": os.getloadavg(),
            }
        )
    )


def run_selection(directory: str, num_images: int) -> dict:
    """Write predictions and select from them in another process."""
    source = os.path.join(directory, f"predictions_{num_images}")
    write_predictions(source, num_images, FLAGS.classes)
    command = [
        sys.executable,
        "-m",
        "benchmarks.pseudo_labels",
        f"--select_only={source}",
        f"--classes={FLAGS.classes}",
    ]
    lines = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()
    shutil.rmtree(source)
    return json.loads(lines[-1])


def write_predictions(
    directory: str,
    num_images: int,
    num_classes: int,
    *,
    has_probabilities: bool = False,
) -> None:
    """Write files of random classes and confidences."""
    os.makedirs(directory)
    generator = np.random.default_rng(0)
    count = max(1, num_images // _ROWS_PER_FILE)
    names, sizes = [], []
    for index in range(count):
        name = predictions.predictions_name(index, count)
        num_rows = num_images // count + (index < num_images % count)
        path = os.path.join(directory, name)
        write_file(path, num_rows, num_classes, generator, has_probabilities)
        names.append(name)
        sizes.append(num_rows)
    shards.write_manifest(
        directory,
        {
            predictions.TEACHER: "synthetic",
            predictions.UNLABELED: "synthetic",
            "num_classes": num_classes,
            "num_images": num_images,
            "shards": names,
            "num_images_per_shard": sizes,
        },
    )


def write_file(
    path: str,
    num_rows: int,
    num_classes: int,
    generator: np.random.Generator,
    has_probabilities: bool,
) -> None:
    columns = predictions.predictions_schema(
        num_classes, metadata={predictions.TEACHER: "synthetic"}
    )
    with parquet_files.open_writer(
        path, columns, compression=predict.COMPRESSION
    ) as writer:
        for start in range(0, num_rows, _ROWS_PER_GROUP):
            size = min(_ROWS_PER_GROUP, num_rows - start)
            # Long-tailed: the first classes are a hundred times the last.
            draws = generator.random(size) ** 2
            class_ids = (draws * num_classes).astype(np.int32)
            confidences = generator.beta(2, 2, size).astype(np.float32)
            soft = pa.nulls(size, columns.types[-1])
            if has_probabilities:
                soft = parquet_files.fixed_lists_array(
                    two_classes(class_ids, confidences, num_classes)
                )
            ids = generator.integers(0, 256, (size, 16), np.uint8)
            writer.write_table(
                pa.table(
                    [
                        parquet_files.fixed_bytes_array(ids),
                        pa.array(class_ids),
                        pa.array(confidences),
                        soft,
                    ],
                    schema=columns,
                )
            )


def two_classes(
    class_ids: np.ndarray, confidences: np.ndarray, num_classes: int
) -> np.ndarray:
    """Return probabilities of a class and its successor, 0 elsewhere."""
    soft = np.zeros((len(class_ids), num_classes), np.float16)
    each = np.arange(len(class_ids))
    soft[each, (class_ids + 1) % num_classes] = 1 - confidences
    soft[each, class_ids] = confidences
    return soft


def measure_selection(source: str) -> dict:
    """Select in this process; half of the classes are above the quota."""
    num_images = shards.read_manifest(source)["num_images"]
    wall, processor = time.monotonic(), time.process_time()
    summary = select.select(
        predictions_directory=source,
        directory=f"{source}_selection",
        selection=config.SelectionConfig(images_per_class=0),
        num_classes=FLAGS.classes,
        seed=0,
    )
    processor = time.process_time() - processor
    wall = time.monotonic() - wall
    shutil.rmtree(f"{source}_selection")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "num_images": num_images,
        "num_selected": summary.total("num_selected"),
        "rows_per_cpu_second": round(num_images / processor),
        "rows_per_wall_second": round(num_images / wall),
        "peak_memory_mb": round(peak),
    }


def measure_relabeling(directory: str) -> dict:
    """Write the selected of small records, several times."""
    num_records, root = FLAGS.relabeled, os.path.join(directory, "relabel")
    os.makedirs(root)
    generator = np.random.default_rng(0)
    images = os.path.join(root, "images")
    source = os.path.join(root, "predictions")
    write_predictions(source, num_records, 10, has_probabilities=True)
    name = shards.read_manifest(source)["shards"][0]
    predicted = os.path.join(source, name)
    with shards.open_writer(images) as writer:
        for rows in predictions.read_rows(predicted, num_classes=10):
            for image_id in rows.ids:
                writer.write(
                    schema.encode_image(
                        image=generator.bytes(600), image_id=image_id.tobytes()
                    )
                )
    chosen = os.path.join(root, "selection")
    select.select(
        predictions_directory=source,
        directory=chosen,
        selection=config.SelectionConfig(balance=False),
        num_classes=10,
        seed=0,
    )
    task = pseudo_labeled_shard.Task(
        unlabeled_path=images,
        predictions_path=predicted,
        selection_path=os.path.join(chosen, predictions.selection_name(0, 1)),
        records_path=os.path.join(root, "out"),
        index_path=os.path.join(root, "out.index"),
        iteration=1,
        teacher_fingerprint="synthetic",
    )

    def relabel() -> None:
        for path in (task.records_path, task.index_path):
            if os.path.exists(path):
                os.remove(path)
        pseudo_labeled_shard.write_shard(task)

    return {
        "num_records": num_records,
        "record_bytes": round(os.path.getsize(images) / num_records),
        **rates([relabel], num_records)[0],
    }


def rates(functions: Sequence[Callable[[], Any]], num_items: int) -> list:
    """Return median items per second of alternating rounds, the first left."""
    seconds: list[list[tuple[float, float]]] = [[] for _ in functions]
    for _ in range(_ROUNDS + 1):
        for each, function in zip(seconds, functions, strict=True):
            wall, processor = time.monotonic(), time.process_time()
            # A function may say when the part to be measured began.
            wall, processor = function() or (wall, processor)
            each.append(
                (time.monotonic() - wall, time.process_time() - processor)
            )
    results = []
    for each in seconds:
        walls, processors = zip(*each[1:], strict=True)
        results.append(
            {
                "per_cpu_second": round(
                    num_items / statistics.median(processors)
                ),
                "per_wall_second": round(num_items / statistics.median(walls)),
                "per_wall_second_range": [
                    round(num_items / max(walls)),
                    round(num_items / min(walls)),
                ],
            }
        )
    return results


def measure_prediction(directory: str) -> dict:
    """Label pictures with a B0, and run its forward pass alone."""
    num_images, side, batch_size = FLAGS.predicted, 64, 64
    model = build_model(side)
    # A small shard first: what is traced and warmed up by it is not counted.
    paths = [os.path.join(directory, f"pictures_{i}") for i in range(2)]
    write_pictures(paths[0], batch_size, side)
    write_pictures(paths[1], num_images, side)
    total = num_images + batch_size
    shard_set = shards.ShardSet(tuple(paths), total, "image", 0, total)
    output = os.path.join(directory, "predicted")

    # Traced once: a run labels for hours with what it traced.
    @tf.function
    def predict_fn(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(model(images, training=False))

    def predict_all() -> tuple[float, float]:
        started = []

        def make_shard_stream(path: str) -> tf.data.Dataset:
            started.append((time.monotonic(), time.process_time()))
            return picture_stream(path, side, batch_size)

        shutil.rmtree(output, ignore_errors=True)
        predict.predict(
            predict_fn=predict_fn,
            num_classes=FLAGS.classes,
            unlabeled=shard_set,
            unlabeled_fingerprint="synthetic",
            make_shard_stream=make_shard_stream,
            directory=output,
            teacher_fingerprint="synthetic",
        )
        return started[1]

    stream = picture_stream(paths[1], side, batch_size)
    batches = [batch["images"] for batch in stream]

    def forward() -> None:
        for images in batches:
            predict_fn(images).numpy()

    predicted, bare = rates([predict_all, forward], num_images)
    return {
        "num_images": num_images,
        "resolution": side,
        "predict": predicted,
        "forward": bare,
        "ratio": round(
            predicted["per_wall_second"] / bare["per_wall_second"], 3
        ),
        "ratio_of_cpu_seconds": round(
            predicted["per_cpu_second"] / bare["per_cpu_second"], 3
        ),
    }


def build_model(side: int) -> efficientnet.EfficientNet:
    names = tuple(map(str, range(FLAGS.classes)))
    spec = specs.from_config(
        config.ModelConfig(resolution=side),
        num_classes=len(names),
        class_names=names,
    )
    return efficientnet.build(spec)


def picture_stream(path: str, side: int, batch_size: int) -> tf.data.Dataset:
    return eval_stream.make_shard_stream(
        path, resolution=side, batch_size=batch_size
    )


def write_pictures(path: str, num_images: int, side: int) -> None:
    generator = np.random.default_rng(0)
    with shards.open_writer(path) as writer:
        for number in range(num_images):
            noise = generator.integers(0, 256, (8, 8, 3), np.uint8)
            picture = tf.image.resize(noise, [side, side])
            encoded = tf.io.encode_jpeg(tf.cast(picture, tf.uint8)).numpy()
            image_id = schema.make_id("benchmark", str(number))
            writer.write(schema.encode_image(image=encoded, image_id=image_id))


def project(largest: dict) -> dict:
    """Return what 300 million images would take, and on which assumptions."""
    rate = largest["rows_per_cpu_second"]
    return {
        "selection_core_minutes": round(_PROJECTED_IMAGES / rate / 60, 1),
        "peak_memory_mb": largest["peak_memory_mb"],
        "predictions_gb_uncompressed": round(
            _PROJECTED_IMAGES * (2 * FLAGS.classes + 24) / 1e9
        ),
        "read_gb": round(_PROJECTED_IMAGES * 64 / 1e9, 1),
        "assumes": "time linear and memory flat in images, as at the sizes "
        "above; three passes of 8, 24 and 24 bytes a row, and the selected "
        "rows written, from a disk as fast as this one's",
    }


if __name__ == "__main__":
    define_flags()
    app.run(main)
