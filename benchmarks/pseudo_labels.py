"""Measure selection, relabeling and prediction of pseudo-labels.

Selection runs over synthetic prediction files of 0.1, 1 and all `--images`, in
a process of its own per size, whose greatest memory is that of the whole
program, TensorFlow included, and whose passes run one after the other in it.
Files of up to a million rows have a real column of probabilities; in larger
ones that column, which selection does not read, is empty. Relabeling writes
the selected of many small records. Prediction labels PNGs of 32 pixels by the
net for SVHN, and JPEGs of 500 x 375 by an EfficientNet-B0 at 224, alternating
with the bare forward pass on tensors in memory; what is traced once a run is
left out. The last line is one JSON object.

    python -m benchmarks.pseudo_labels --images=10000000 --classes=1000
"""

import dataclasses
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import tensorflow as tf
from absl import app, flags

import run_scripts  # noqa: F401  Sets what TensorFlow reads at its import.
from benchmarks import photographs
from data_prep.shards import pseudo_labeled_shard
from noisy_student_tf import configs
from noisy_student_tf.model import architectures, efficientnet
from noisy_student_tf.pipeline import eval_stream
from noisy_student_tf.pseudo_labels import label_stream, predict, select
from noisy_student_tf.records import (
    parquet_files,
    predictions,
    schema,
    shards,
)

FLAGS = flags.FLAGS

_ROWS_PER_FILE = 1_000_000
_ROWS_PER_GROUP = 8192
_ROWS_WITH_PROBABILITIES = 1_000_000
_ROUNDS = 5
_PROJECTED_IMAGES = 300_000_000


def define_flags() -> None:
    flags.DEFINE_integer("images", 10_000_000, "Rows of the largest selection.")
    flags.DEFINE_integer("classes", 1000, "Classes of the predictions.")
    flags.DEFINE_string("directory", "", "Scratch space. Empty: temporary.")
    flags.DEFINE_integer("relabeled", 60_000, "Small records relabeled. 0: no.")
    flags.DEFINE_integer(
        "predicted", 4096, "Small pictures predicted; 1/4 as many large ones."
    )
    flags.DEFINE_bool("selected", True, "Whether selection is measured.")
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
        for num_images in sizes if FLAGS.selected else []:
            selections.append(run_selection(directory, num_images))
            print(selections[-1], flush=True)
        relabeling = measure_relabeling(directory) if FLAGS.relabeled else {}
        print(relabeling, flush=True)
        prediction = {}
        for case in cases() if FLAGS.predicted else []:
            prediction[case.name] = measure_prediction(directory, case)
            print(prediction[case.name], flush=True)
    finally:
        shutil.rmtree(directory)
    print(
        json.dumps(
            {
                **summarize(selections),
                "relabeling": relabeling,
                "prediction": prediction,
                "load_average": os.getloadavg(),
            }
        )
    )


def summarize(selections: list[dict]) -> dict:
    """Return the numbers of the largest selection, and what they promise."""
    if not selections:
        return {}
    largest = selections[-1]
    return {
        "rows_per_second": largest["rows_per_cpu_second"],
        "peak_memory_mb": largest["peak_memory_mb"],
        "selection": selections,
        "projection_300m": project(largest),
    }


def run_selection(directory: str, num_images: int) -> dict:
    """Write predictions and select from them in another process."""
    source = os.path.join(directory, f"predictions_{num_images}")
    write_predictions(
        source,
        num_images,
        FLAGS.classes,
        has_probabilities=num_images <= _ROWS_WITH_PROBABILITIES,
    )
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
        selection=configs.SelectionConfig(images_per_class=0),
        num_classes=FLAGS.classes,
        seed=0,
    )
    processor = time.process_time() - processor
    wall = time.monotonic() - wall
    shutil.rmtree(f"{source}_selection")
    return {
        "num_images": num_images,
        "num_selected": summary.total("num_selected"),
        "rows_per_cpu_second": round(num_images / processor),
        "rows_per_wall_second": round(num_images / wall),
        "peak_memory_mb": peak_memory_mb(),
    }


def peak_memory_mb() -> int:
    """Return the greatest resident memory of this process.

    `getrusage` would begin with that of the process which started this one.
    """
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024)


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
        selection=configs.SelectionConfig(balance=False),
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
    """Return items per second: medians of alternating rounds, but the first.

    Each function is called once more to begin with: it traces and warms up.
    """
    seconds: list[list[tuple[float, float]]] = [[] for _ in functions]
    for _ in range(_ROUNDS + 1):
        for each, function in zip(seconds, functions, strict=True):
            wall, processor = time.monotonic(), time.process_time()
            function()
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


@dataclasses.dataclass(frozen=True)
class Case:
    """Pictures that are predicted, and by what."""

    name: str
    model: configs.ModelConfig
    num_classes: int
    num_shards: int
    records_per_shard: int
    batch_size: int
    width: int
    height: int
    encoding: str

    @property
    def num_images(self) -> int:
        """Pictures in all shards."""
        return self.num_shards * self.records_per_shard


def cases() -> list[Case]:
    """Return the two kinds of pictures."""
    num_small = FLAGS.predicted
    return [
        Case(
            name="svhn_32",
            model=configs.ModelConfig(resolution=32, small_image_strides=True),
            num_classes=10,
            num_shards=4,
            records_per_shard=num_small // 4,
            batch_size=512,
            width=32,
            height=32,
            encoding="PNG",
        ),
        Case(
            name="b0_224",
            model=configs.ModelConfig(resolution=224),
            num_classes=1000,
            num_shards=2,
            records_per_shard=num_small // 8,
            batch_size=64,
            width=500,
            height=375,
            encoding="JPEG",
        ),
    ]


def measure_prediction(directory: str, case: Case) -> dict:
    """Label pictures, decode them alone, and run the bare forward pass.

    Everything that a shard or a batch costs is counted: reading, decoding,
    the forward pass, checks, writing, the manifest.
    """
    root = os.path.join(directory, case.name)
    os.makedirs(root)
    shard_set = write_pictures(root, case)
    model = build_model(case)

    @tf.function
    def predict_fn(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(model(images, training=False))

    stream = eval_stream.make_shards_stream(
        shard_set.paths,
        resolution=case.model.resolution,
        batch_size=case.batch_size,
        crop="whole" if case.model.small_image_strides else "center",
    )
    batches = [batch["images"] for batch in stream]
    predict_all = make_predict_all(case, shard_set, stream, predict_fn, root)

    def forward() -> None:
        for images in batches:
            predict_fn(images).numpy()

    def decode() -> None:
        for _ in stream:
            pass

    measured = rates([predict_all, forward, decode], case.num_images)
    return summarize_prediction(case, *measured)


def make_predict_all(
    case: Case,
    shard_set: shards.ShardSet,
    stream: tf.data.Dataset,
    predict_fn: Callable[[tf.Tensor], tf.Tensor],
    root: str,
) -> Callable[[], None]:
    """Return what labels all pictures, each time anew."""
    output = os.path.join(root, "predicted")
    # Traced once, as in a run, which labels for hours with what it traced:
    # here across the rounds.
    compile_once = functools.cache(label_stream.compile_labeling)

    def predict_all() -> None:
        shutil.rmtree(output, ignore_errors=True)
        with mock.patch.object(label_stream, "compile_labeling", compile_once):
            labeling = predict.Request(
                labels_of=predict.of_network(
                    predict_fn,
                    lambda _: stream,
                    num_classes=case.num_classes,
                ),
                num_classes=case.num_classes,
                unlabeled=shard_set,
                unlabeled_fingerprint="synthetic",
                directory=output,
                teacher_fingerprint="synthetic",
            )
            predict.predict(labeling)

    return predict_all


def summarize_prediction(
    case: Case, predicted: dict, bare: dict, decoded: dict
) -> dict:
    """Return what is printed of labeling, the forward pass and decoding."""
    forward_cost, decode_cost = (
        1 / each["per_cpu_second"] for each in (bare, decoded)
    )
    return {
        "num_images": case.num_images,
        "records_per_shard": case.records_per_shard,
        "batch_size": case.batch_size,
        "predict": predicted,
        "forward": bare,
        "decode": decoded,
        "ratio": round(
            predicted["per_wall_second"] / bare["per_wall_second"], 3
        ),
        "ratio_of_cpu_seconds": round(
            predicted["per_cpu_second"] / bare["per_cpu_second"], 3
        ),
        # What decoding on the forward pass's own cores leaves at best.
        "forward_over_forward_and_decode": round(
            forward_cost / (forward_cost + decode_cost), 3
        ),
    }


def build_model(case: Case) -> efficientnet.EfficientNet:
    names = tuple(map(str, range(case.num_classes)))
    spec = architectures.make_spec(
        case.model, num_classes=len(names), class_names=names
    )
    return architectures.build(spec)


def write_pictures(root: str, case: Case) -> shards.ShardSet:
    """Write shards of parts of photographs."""
    encoded = [
        photographs.encode(picture, case.encoding)
        for picture in photographs.crops(
            64, width=case.width, height=case.height
        )
    ]
    paths = []
    for shard in range(case.num_shards):
        paths.append(os.path.join(root, f"pictures_{shard}"))
        with shards.open_writer(paths[-1]) as writer:
            for number in range(case.records_per_shard):
                image_id = schema.make_id("benchmark", f"{shard}/{number}")
                picture = encoded[number % len(encoded)]
                writer.write(
                    schema.encode_image(image=picture, image_id=image_id)
                )
    total = case.num_images
    return shards.ShardSet(tuple(paths), total, "image", 0, total)


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
