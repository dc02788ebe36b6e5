"""Time our training step and exported model beside Keras' and timm's.

EfficientNet-B0 in three cases: 224 pixels, 32 pixels, and 32 pixels with the
strides published for SVHN. All train with dropout and stochastic depth on the
same images, which are in memory. Ours is the whole step of a run, with L2
loss, metrics and averages of the weights; Keras' (keras.applications) and
timm's are bare: forward, backward, RMSProp. Ours in inference is the exported
SavedModel. timm runs as it comes, channels first, and channels last, which is
faster on many CPUs: ratios to the latter end in _channels_last. Contenders take
turns; a ratio is the median over the rounds, and higher is better for ours. The
last line is one JSON object.

    python -m benchmarks.model_step --torch_python=TORCH_VENV/bin/python

benchmarks/environments/torch.txt lists what that environment holds.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import run_scripts  # noqa: F401, I001  The switches of every run.
import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from keras.src.applications import efficientnet as keras_efficientnet

from noisy_student_tf import configs
from noisy_student_tf.serving import saved_model, served
from noisy_student_tf.model import architectures, specs, folding
from noisy_student_tf.pipeline import decode, decoders
from noisy_student_tf.training import state, step, optimizer

flags.DEFINE_string("torch_python", "", "Python with torch and timm, or none.")
flags.DEFINE_integer("rounds", 5, "Turns of each contender.")
flags.DEFINE_float("seconds", 4.0, "Length of one turn, at least one step.")
flags.DEFINE_list("cases", [], "Some of the cases' names. Empty: all.")
flags.DEFINE_list("kinds", ["train", "inference"], "Of the two.")
flags.DEFINE_enum(
    "clock",
    "wall",
    ["wall", "processor"],
    "processor: seconds of all cores, which a busy neighbor stretches less.",
)

NUM_CLASSES = 10


class Case(NamedTuple):
    resolution: int
    batch_size: int
    small_image_strides: bool


CASES = {
    "b0_224": Case(224, 16, False),
    "b0_32": Case(32, 128, False),
    "b0_32_svhn": Case(32, 64, True),
}
# What the ratios are called: the peer, the kind and the case they are of.
RATIOS = {
    "train_over_keras": ("keras", "train", "b0_224"),
    "train_small_over_keras": ("keras", "train", "b0_32_svhn"),
    "train_small_plain_over_keras": ("keras", "train", "b0_32"),
    "train_over_timm": ("timm", "train", "b0_224"),
    "train_small_over_timm": ("timm", "train", "b0_32"),
    "train_small_svhn_over_timm": ("timm", "train", "b0_32_svhn"),
    "inference_over_keras": ("keras", "inference", "b0_224"),
    "inference_small_over_keras": ("keras", "inference", "b0_32_svhn"),
    "inference_over_timm": ("timm", "inference", "b0_224"),
    "inference_small_over_timm": ("timm", "inference", "b0_32"),
    "inference_small_svhn_over_timm": ("timm", "inference", "b0_32_svhn"),
}
# Name -> whether channels are the last axis, not the second one.
TIMM_ORDERS = {"timm": False, "timm_channels_last": True}
# steps -> seconds.
Contender = Callable[[int], float]


def clock_function() -> Callable[[], float]:
    is_wall = flags.FLAGS.clock == "wall"
    return time.perf_counter if is_wall else time.process_time


def timed(call: Callable[[int], object]) -> Contender:
    """Return a function that times a number of steps."""

    def run(steps: int) -> float:
        clock = clock_function()
        started = clock()
        call(steps)
        return clock() - started

    return run


def make_inputs(case: Case) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    side = case.resolution
    shape = (case.batch_size, side, side, 3)
    images = generator.integers(0, 256, shape, dtype=np.uint8)
    labels = generator.integers(0, NUM_CLASSES, case.batch_size)
    return images, labels


def make_spec(case: Case) -> specs.ModelSpec:
    return architectures.make_spec(
        configs.ModelConfig(
            resolution=case.resolution,
            small_image_strides=case.small_image_strides,
        ),
        num_classes=NUM_CLASSES,
        class_names=(),
    )


def our_training(
    case: Case, images: np.ndarray, labels: np.ndarray
) -> Contender:
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    settings = step.StepSettings(
        config=configs.Config(
            training=configs.TrainingConfig(labeled_batch_size=case.batch_size)
        ),
        unlabeled_batch_size=0,
        seed=0,
    )
    train_state = state.create(
        settings=settings.config.optimizer,
        seed=0,
        strategy=strategy,
        source=state.ModelSource(
            build=lambda: architectures.build(make_spec(case))
        ),
        schedule=optimizer.constant(1e-4),
    )
    train_steps = step.make_train_steps(train_state, settings, strategy)
    batch = {"labeled_images": images, "labels": labels.astype(np.int32)}
    stream = iter(tf.data.Dataset.from_tensors(batch).repeat())
    return timed(lambda steps: train_steps(stream, tf.constant(steps)))


def keras_model(case: Case) -> keras.Model:
    """Build keras.applications' B0, whose strides are an argument."""
    blocks = [dict(arguments) for arguments in _keras_blocks()]
    if case.small_image_strides:
        for index in (1, 2):
            blocks[index]["strides"] = 1
    # The public makers take no strides.
    return keras_efficientnet.EfficientNet(
        1.0,
        1.0,
        224,
        dropout_rate=0.2,
        drop_connect_rate=0.2,
        blocks_args=blocks,
        weights=None,
        input_shape=(case.resolution, case.resolution, 3),
        classes=NUM_CLASSES,
        classifier_activation=None,
        weights_name="",
    )


def _keras_blocks() -> list[dict[str, object]]:
    names = (
        "kernel_size",
        "repeats",
        "filters_in",
        "filters_out",
        "expand_ratio",
        "strides",
    )
    rows = (
        (3, 1, 32, 16, 1, 1),
        (3, 2, 16, 24, 6, 2),
        (5, 2, 24, 40, 6, 2),
        (3, 3, 40, 80, 6, 2),
        (5, 3, 80, 112, 6, 1),
        (5, 4, 112, 192, 6, 2),
        (3, 1, 192, 320, 6, 1),
    )
    constant = {"id_skip": True, "se_ratio": 0.25}
    return [{**dict(zip(names, row, strict=True)), **constant} for row in rows]


def keras_training(
    case: Case, images: np.ndarray, labels: np.ndarray
) -> Contender:
    model = keras_model(case)
    optimizer = keras.optimizers.RMSprop(
        1e-4, rho=0.9, momentum=0.9, epsilon=1e-3
    )
    optimizer.build(model.trainable_variables)
    pixels, classes = tf.constant(images, tf.float32), tf.constant(labels)

    @tf.function
    def train_step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(pixels, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
            )
        variables = [variable.value for variable in model.trainable_variables]
        optimizer.apply(
            tape.gradient(loss, variables), model.trainable_variables
        )
        return loss

    return timed(lambda steps: [train_step() for _ in range(steps)][-1].numpy())


def our_inference(case: Case, images: np.ndarray) -> Contender:
    spec = make_spec(case)
    with tempfile.TemporaryDirectory() as directory:
        saved_model.export(
            model=folding.fold(architectures.build(spec)),
            spec=dataclasses.asdict(spec),
            directory=os.path.join(directory, "saved_model"),
            training_fingerprint="",
            preprocess=served.Preprocess(
                decode=decoders.decode,
                prepare=lambda image: decode.crop_and_resize(
                    image, spec.resolution, crop="whole"
                ),
            ),
            crop="whole",
        )
        loaded = tf.saved_model.load(os.path.join(directory, "saved_model"))
    pixels = tf.constant(images, tf.float32)
    serve = loaded.signatures["images"]
    # The signature dies with what was loaded.
    return timed(
        lambda steps, loaded=loaded: [
            serve(images=pixels)["logits"].numpy() for _ in range(steps)
        ]
    )


def keras_inference(case: Case, images: np.ndarray) -> Contender:
    model = keras_model(case)
    pixels = tf.constant(images, tf.float32)
    infer = tf.function(lambda: model(pixels, training=False))
    return timed(lambda steps: [infer().numpy() for _ in range(steps)])


class Timm:
    """A process with timm, and contenders in it."""

    def __init__(self, python: str, directory: str) -> None:
        self._directory = directory
        self._process = subprocess.Popen(
            [python, os.path.join(os.path.dirname(__file__), "timm_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def contenders(
        self, kind: str, case: Case, images: np.ndarray, labels: np.ndarray
    ) -> dict[str, Contender]:
        """Return timm in both orders of the tensors."""
        return {
            name: self._contender(kind, case, images, labels, channels_last)
            for name, channels_last in TIMM_ORDERS.items()
        }

    def _contender(
        self,
        kind: str,
        case: Case,
        images: np.ndarray,
        labels: np.ndarray,
        channels_last: bool,
    ) -> Contender:
        name = f"{case.resolution}_{case.small_image_strides}"
        request = {
            "kind": kind,
            "small_image_strides": case.small_image_strides,
            "num_classes": NUM_CLASSES,
            "channels_last": channels_last,
            "clock": flags.FLAGS.clock,
        }
        for field, content in (("images", images), ("labels", labels)):
            request[field] = f"{self._directory}/{name}_{field}.npy"
            np.save(request[field], content)

        def run(steps: int) -> float:
            line = json.dumps({**request, "steps": steps})
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            if not answer:
                raise RuntimeError(
                    f"--torch_python={flags.FLAGS.torch_python}: timm's "
                    f"process ended with {self._process.wait()}; its error "
                    "stands above. benchmarks/environments/torch.txt lists "
                    "what it needs."
                )
            return float(answer)

        return run

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def compare(
    contenders: dict[str, Contender], batch_size: int
) -> dict[str, list[float]]:
    """Return images per second of each contender in each round."""
    steps, rates = {}, {name: [] for name in contenders}
    for name, run in contenders.items():
        run(1)  # Traces.
        run(1)
        steps[name] = max(1, round(flags.FLAGS.seconds / run(1)))
    for _ in range(flags.FLAGS.rounds):
        for name, run in contenders.items():
            seconds = run(steps[name])
            rates[name].append(steps[name] * batch_size / seconds)
    return rates


def main(_: list[str]) -> None:
    """Measure every case, print the rates, and the ratios last."""
    print(f"load before: {os.getloadavg()}, cores: {os.cpu_count()}")
    measured = {}
    with tempfile.TemporaryDirectory() as directory:
        timm = None
        if flags.FLAGS.torch_python:
            timm = Timm(flags.FLAGS.torch_python, directory)
        for case_name in flags.FLAGS.cases or CASES:
            case = CASES[case_name]
            images, labels = make_inputs(case)
            for kind in flags.FLAGS.kinds:
                if kind == "train":
                    contenders = {
                        "ours": our_training(case, images, labels),
                        "keras": keras_training(case, images, labels),
                    }
                else:
                    contenders = {
                        "ours": our_inference(case, images),
                        "keras": keras_inference(case, images),
                    }
                if timm:
                    contenders |= timm.contenders(kind, case, images, labels)
                rates = compare(contenders, case.batch_size)
                measured[kind, case_name] = rates
                print_rates(kind, case_name, rates)
        if timm:
            timm.close()
    print(json.dumps(ratios(measured)))


def print_rates(
    kind: str, case_name: str, rates: dict[str, list[float]]
) -> None:
    for name, values in rates.items():
        print(
            f"{kind:9} {case_name:10} {name:18} "
            f"{statistics.median(values):8.1f} images/s "
            f"({min(values):.1f} to {max(values):.1f})",
            flush=True,
        )


def ratios(
    measured: dict[tuple[str, str], dict[str, list[float]]],
) -> dict[str, float]:
    """Return ours over the peer's, the median of the rounds' ratios."""
    found = {}
    for name, (peer, kind, case_name) in RATIOS.items():
        rates = measured.get((kind, case_name), {})
        # timm's orders: as it comes, and the other one.
        for each in [n for n in rates if n.startswith(peer)]:
            by_round = [
                ours / theirs
                for ours, theirs in zip(rates["ours"], rates[each], strict=True)
            ]
            key = name + each.removeprefix(peer)
            found[key] = round(statistics.median(by_round), 3)
    return found


if __name__ == "__main__":
    app.run(main)
