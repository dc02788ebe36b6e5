"""Latency and throughput of an export beside other ways to run the model.

One process, the same weights and the same pixels: the SavedModel's `images`
signature, `keras.Model.predict`, onnxruntime (float32) and TFLite (float32,
float16 weights, and int8), with as many threads each, at batches of 1, 8 and
64, of three models one after the other. Contenders take turns; ratios are
medians over rounds.

From JPEG files, what `--runtime` may be is timed beside decoding alone.

The last line is one JSON object. `batch1_over_best_peer` is the SavedModel's
time over the better of onnxruntime's and TFLite's, both float32, of one image
and the worst model; `served_batch1_over_best_peer` the same of the runtime that
`--runtime=auto` takes. `throughput_over_onnxruntime` is the SavedModel's at the
largest batch, of the worst model. `bytes_over_model` is the SavedModel's time
from a JPEG without that of decoding, over its time from pixels.

TF_ENABLE_ONEDNN_OPTS, 1 unless it is set, decides what TensorFlow is good at.

    python -m benchmarks.serving
    python -m benchmarks.serving --model=digits --num_threads=1
    python -m benchmarks.serving --model=efficientnet-lite0 --batch_sizes=1
"""

import dataclasses
import functools
import json
import math
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
from noisy_student_tf.serving import conversion, exported, runtimes

flags.DEFINE_list(
    "model",
    ["digits", "efficientnet-b0", "efficientnet-lite0"],
    "Preset digits, and variants' names.",
)
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
PREDICT = "keras predict"
ONNX = "onnxruntime"
TFLITE = "tflite"
PEERS = (ONNX, TFLITE)
# From files.
DECODING = "decoding alone"
BYTES = "{}, from JPEG"

# A contender runs one batch and waits for its result.
Contender = Callable[[], object]
# Contender -> seconds a batch, one number a round.
Seconds = dict[str, list[float]]


def main(_: list[str]) -> None:
    """Measure, print tables, and the ratios as JSON."""
    logging.set_verbosity(logging.ERROR)
    threads = flags.FLAGS.num_threads
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    measured = {name: measure_model(name) for name in flags.FLAGS.model}
    print(json.dumps(summary(measured)))


def measure_model(name: str) -> dict[int, Seconds]:
    """Return seconds a batch of all contenders, by the size of the batch."""
    model, spec = make_model(name)
    with tempfile.TemporaryDirectory() as directory:
        opened = write_and_open(model, spec, directory)
    images = np.random.default_rng(0).uniform(
        0, 255, (max(batch_sizes()), spec.resolution, spec.resolution, 3)
    )
    images = images.astype(np.float32)
    converted = {
        format: open_converted(format, model, spec, images[:16])
        for format in conversion.FORMATS
    }
    seconds = {}
    for count in batch_sizes():
        contenders = make_contenders(opened, model, converted, images[:count])
        seconds[count] = measure(contenders)
        print_table(f"{name}, batch {count}", count, seconds[count])
    return seconds


def batch_sizes() -> list[int]:
    return [int(count) for count in flags.FLAGS.batch_sizes]


def make_model(
    name: str,
) -> tuple[efficientnet.EfficientNet, specs.ModelSpec]:
    """Return a model whose activations are those of a trained one in size."""
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
    preprocess = opened.signatures["preprocess"]
    pictures = [
        tf.io.encode_jpeg(image).numpy() for image in images.astype(np.uint8)
    ]
    encoded = tf.constant(pictures)
    answering = [
        runtimes.of_tensorflow(opened.signatures),
        runtimes.of_converted(ONNX, opened.signatures, converted["onnx"]),
        runtimes.of_converted(TFLITE, opened.signatures, converted["tflite"]),
    ]
    return {
        PIXELS: lambda: serve(images=tf.constant(images))["logits"].numpy(),
        PREDICT: lambda: model.predict(
            images, batch_size=len(images), verbose=0
        ),
        ONNX: lambda: converted["onnx"](images),
        TFLITE: lambda: converted["tflite"](images),
        "tflite float16": lambda: converted["tflite_float16"](images),
        "tflite int8": lambda: converted["tflite_int8"](images),
        DECODING: lambda: preprocess(image_bytes=encoded)["images"].numpy(),
        **{
            BYTES.format(each.name): functools.partial(each.answer, pictures)
            for each in answering
        },
    }


def measure(contenders: dict[str, Contender]) -> Seconds:
    """Return seconds a batch, one number a round."""
    for run in contenders.values():
        run()
        run()
    measured: Seconds = {name: [] for name in contenders}
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


def print_table(title: str, count: int, seconds: Seconds) -> None:
    print(f"{title:<32}{'ms':>10}{'images/s':>12}{'saved_model':>14}")
    for name, values in seconds.items():
        middle = statistics.median(values)
        print(
            f"{name:<32}{1e3 * middle:>10.2f}{count / middle:>12.1f}"
            f"{ratio(seconds, name, PIXELS):>13.2f}x"
        )
    print(flush=True)


def ratio(seconds: Seconds, *names: str) -> float:
    """Return one contender's time over another's; rounds are paired."""
    pairs = zip(*(seconds[name] for name in names), strict=True)
    return statistics.median(first / second for first, second in pairs)


def over_best_peer(seconds: Seconds, name: str) -> float:
    """Return a contender's time over that of the better float32 runtime."""
    return max(ratio(seconds, name, peer) for peer in PEERS)


def served(of_model: dict[int, Seconds]) -> str:
    """Return which runtime would be taken: by the product of times."""
    return min(
        (PIXELS, *PEERS),
        key=lambda name: math.prod(
            statistics.median(seconds[name]) for seconds in of_model.values()
        ),
    )


def summary(measured: dict[str, dict[int, Seconds]]) -> dict[str, object]:
    smallest, largest = min(batch_sizes()), max(batch_sizes())
    models = {
        name: {
            "over_best_peer": over_best_peer(of_model[smallest], PIXELS),
            "served": served(of_model),
            "served_over_best_peer": over_best_peer(
                of_model[smallest], served(of_model)
            ),
            "throughput_over_onnxruntime": ratio(
                of_model[largest], ONNX, PIXELS
            ),
            "over_predict": ratio(of_model[smallest], PREDICT, PIXELS),
            "bytes_over_model": bytes_over_model(of_model[smallest]),
            "milliseconds": milliseconds(of_model),
        }
        for name, of_model in measured.items()
    }

    def of_all(choose: Callable, key: str) -> float:
        return round(choose(model[key] for model in models.values()), 3)

    return {
        "batch1_over_best_peer": of_all(max, "over_best_peer"),
        "served_batch1_over_best_peer": of_all(max, "served_over_best_peer"),
        "throughput_over_onnxruntime": of_all(
            min, "throughput_over_onnxruntime"
        ),
        "bytes_over_model": of_all(max, "bytes_over_model"),
        "num_threads": flags.FLAGS.num_threads,
        "onednn": os.environ["TF_ENABLE_ONEDNN_OPTS"],
        "load": round(os.getloadavg()[0], 1),
        "models": models,
    }


def bytes_over_model(seconds: Seconds) -> float:
    """Return the SavedModel's time from files, without decoding, by pixels."""
    columns = (seconds[n] for n in (BYTES.format(PIXELS), DECODING, PIXELS))
    return statistics.median(
        (both - decoding) / model
        for both, decoding, model in zip(*columns, strict=True)
    )


def milliseconds(of_model: dict[int, Seconds]) -> dict[str, dict[str, float]]:
    return {
        str(count): {
            name: round(1e3 * statistics.median(values), 3)
            for name, values in seconds.items()
        }
        for count, seconds in of_model.items()
    }


if __name__ == "__main__":
    app.run(main)
