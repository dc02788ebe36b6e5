"""Latency and throughput of an export beside other ways to run the model.

One process, the same weights and the same pixels: the SavedModel's `images`
signature, `keras.Model.predict`, onnxruntime (float32) and TFLite (float16
weights, and int8), with as many threads each, at batches of 1, 8 and 64.
Contenders take turns; ratios are medians over rounds. `serving_default`, which
decodes PNG files as well, is timed beside them and in no ratio. The last line
is JSON.

TF_ENABLE_ONEDNN_OPTS, 1 unless it is set, decides what TensorFlow is good at.

    python -m benchmarks.serving --model=digits
    python -m benchmarks.serving --model=digits --num_threads=1
    python -m benchmarks.serving --model=efficientnet-b0 --resolution=224
"""

import dataclasses
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable

# isort: split
import run_scripts  # noqa: F401, I001  The switches of every run.
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from noisy_student_tf.stages import export as export_stages
from noisy_student_tf.serving import saved_model
from noisy_student_tf.configs import presets
from noisy_student_tf.evaluation import evaluate
from noisy_student_tf.model import architectures, efficientnet, folding
from noisy_student_tf.model import specs
from noisy_student_tf.serving import conversion, exported

flags.DEFINE_string("model", "digits", "Preset digits, or a variant's name.")
flags.DEFINE_integer("resolution", 0, "Side of the images; 0: the model's.")
flags.DEFINE_list("batch_sizes", ["1", "8", "64"], "Smallest first.")
flags.DEFINE_integer("rounds", 5, "Of all contenders in turn.", lower_bound=1)
flags.DEFINE_float("seconds", 0.5, "Each contender's turn.", lower_bound=0)

flags.DEFINE_integer(
    "num_threads",
    len(os.sched_getaffinity(0)),
    "Of each contender. Neighbors disturb one thread least: several wait for "
    "the slowest.",
)

PIXELS = "saved_model"
BYTES = "saved_model, decoding"
PREDICT = "keras predict"
ONNX = "onnxruntime"

# A contender runs one batch and waits for its result.
Contender = Callable[[], object]


def main(_: list[str]) -> None:
    """Measure, print a table, and the ratios as JSON."""
    logging.set_verbosity(logging.ERROR)
    tf.config.threading.set_intra_op_parallelism_threads(
        flags.FLAGS.num_threads
    )
    tf.config.threading.set_inter_op_parallelism_threads(
        flags.FLAGS.num_threads
    )
    model, spec = make_model()
    with tempfile.TemporaryDirectory() as directory:
        opened = write_and_open(model, spec, directory)
    images = np.random.default_rng(0).uniform(
        0, 255, (max(batch_sizes()), spec.resolution, spec.resolution, 3)
    )
    images = images.astype(np.float32)
    converted = {
        name: open_converted(name, model, spec, images[:16])
        for name in conversion.FORMATS
    }
    seconds = {}
    for count in batch_sizes():
        contenders = make_contenders(opened, model, converted, images[:count])
        seconds[count] = measure(contenders)
        print_table(count, seconds[count])
    print(json.dumps(summary(spec, seconds)))


def batch_sizes() -> list[int]:
    return [int(count) for count in flags.FLAGS.batch_sizes]


def make_model() -> tuple[efficientnet.EfficientNet, specs.ModelSpec]:
    """Return a model whose activations are those of a trained one in size."""
    name = flags.FLAGS.model
    settings = presets.preset("digits").model
    num_classes = 10
    if name != "digits":
        settings = presets.preset("imagenet_b0").model
        resolution = architectures.find_variant(name).resolution
        settings = dataclasses.replace(
            settings, name=name, resolution=resolution
        )
        num_classes = 1000
    settings = dataclasses.replace(
        settings,
        resolution=flags.FLAGS.resolution or settings.resolution,
        batch_norm_momentum=0.0,
    )
    spec = architectures.make_spec(
        settings, num_classes=num_classes, class_names=()
    )
    model = architectures.build(spec)
    side = spec.resolution
    pixels = np.random.default_rng(1).integers(0, 256, (16, side, side, 3))
    # Moving statistics become this batch's: at the initial ones activations
    # shrink to numbers that some processors are slow at.
    seed = tf.constant([1, 2])
    model(pixels.astype(np.uint8), training=True, noise_seed=seed)
    return model, spec


def write_and_open(
    model: efficientnet.EfficientNet, spec: specs.ModelSpec, directory: str
) -> exported.Exported:
    path = os.path.join(directory, "saved_model")
    saved_model.export(
        model=folding.fold(model),
        spec=dataclasses.asdict(spec),
        directory=path,
        training_fingerprint="",
        preprocess=export_stages.make_preprocess(spec),
        crop="whole" if spec.small_image_strides else "center",
    )
    return exported.open_export(path)


def open_converted(
    name: str,
    model: efficientnet.EfficientNet,
    spec: specs.ModelSpec,
    images: np.ndarray,
) -> evaluate.LogitsFn:
    content = conversion.convert(
        folding.fold(model, multiplies=False),
        format=name,
        resolution=spec.resolution,
        representative_images=images,
    )
    if name == "onnx":
        return conversion.open_onnx(
            content, num_threads=flags.FLAGS.num_threads
        )
    return conversion.open_tflite(content, num_threads=flags.FLAGS.num_threads)


def make_contenders(
    opened: exported.Exported,
    model: efficientnet.EfficientNet,
    converted: dict[str, evaluate.LogitsFn],
    images: np.ndarray,
) -> dict[str, Contender]:
    """Return one function a contender; all see the same pixels."""
    serve = opened.signatures["images"]
    decode = opened.signatures["serving_default"]
    pictures = tf.stack(
        [tf.io.encode_png(image) for image in images.astype(np.uint8)]
    )
    return {
        PIXELS: lambda: serve(images=tf.constant(images))["logits"].numpy(),
        PREDICT: lambda: model.predict(
            images, batch_size=len(images), verbose=0
        ),
        ONNX: lambda: converted["onnx"](images),
        "tflite float16": lambda: converted["tflite_float16"](images),
        "tflite int8": lambda: converted["tflite_int8"](images),
        BYTES: lambda: decode(image_bytes=pictures)["valid"].numpy(),
    }


def measure(contenders: dict[str, Contender]) -> dict[str, list[float]]:
    """Return seconds a batch, one number a round."""
    for run in contenders.values():
        run()
        run()
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(flags.FLAGS.rounds):
        names = list(contenders)
        # Nobody is always behind the same neighbor.
        for name in names[index % len(names) :] + names[: index % len(names)]:
            measured[name].append(time_turn(contenders[name]))
    return measured


def time_turn(run: Contender) -> float:
    """Return the median seconds of one batch over a turn."""
    times: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() - started < flags.FLAGS.seconds or not times:
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def print_table(count: int, seconds: dict[str, list[float]]) -> None:
    title = f"batch {count}"
    print(f"{title:<24}{'ms':>10}{'images/s':>12}{'saved_model':>14}")
    for name, values in seconds.items():
        middle = statistics.median(values)
        print(
            f"{name:<24}{1e3 * middle:>10.2f}{count / middle:>12.1f}"
            f"{ratio(seconds, name):>13.2f}x"
        )
    print()


def ratio(seconds: dict[str, list[float]], other: str) -> float:
    """Return how many times as fast the export is; rounds are paired."""
    pairs = zip(seconds[other], seconds[PIXELS], strict=True)
    return statistics.median(theirs / ours for theirs, ours in pairs)


def summary(
    spec: specs.ModelSpec, seconds: dict[int, dict[str, list[float]]]
) -> dict[str, object]:
    smallest, largest = min(seconds), max(seconds)
    return {
        "model": flags.FLAGS.model,
        "resolution": spec.resolution,
        "num_threads": flags.FLAGS.num_threads,
        "onednn": os.environ["TF_ENABLE_ONEDNN_OPTS"],
        "load": round(os.getloadavg()[0], 1),
        "milliseconds": {
            count: {
                name: round(1e3 * statistics.median(values), 3)
                for name, values in of_count.items()
            }
            for count, of_count in seconds.items()
        },
        "batch1_over_predict": round(ratio(seconds[smallest], PREDICT), 2),
        "throughput_over_onnxruntime": round(ratio(seconds[largest], ONNX), 2),
        "throughput_over_tflite_float16": round(
            ratio(seconds[largest], "tflite float16"), 2
        ),
        "throughput_over_tflite_int8": round(
            ratio(seconds[largest], "tflite int8"), 2
        ),
    }


if __name__ == "__main__":
    app.run(main)
