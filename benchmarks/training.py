"""Whole training runs against the bare step and against Keras' `fit`.

    python -m benchmarks.training

One process, alternating rounds: a loop of a run (pipeline, noise, averages,
checkpoints and log included), the bare step on a batch already in memory
(forward, backward, RMSProp), and the same model and pipeline in `fit` with
RMSprop and averages. Ratios are medians over the rounds, higher is better.
Also: seconds from a restart to the first step, and the slope of the process'
memory over 5,000 steps of a tiny model. The last line is a JSON object.
"""

import dataclasses
import functools
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from noisy_student_tf import config as configuration
from noisy_student_tf import presets
from noisy_student_tf.model import efficientnet
from noisy_student_tf.model import spec as specs
from noisy_student_tf.pipeline import train_stream
from noisy_student_tf.records import schema, shards
from noisy_student_tf.training import log, loop, optimizer, plan, schedules

flags.DEFINE_list("sizes", ["32", "224"], "Resolutions to measure.")
flags.DEFINE_integer("rounds", 5, "Alternating rounds.", lower_bound=1)
flags.DEFINE_float("round_seconds", 8.0, "Length of one part of a round.")
flags.DEFINE_integer(
    "memory_steps", 5000, "Steps over which memory is looked at."
)
flags.DEFINE_bool("restart", True, "Measure a restart, too.")

_NUM_CLASSES = 10
_NUM_IMAGES = 512
# Labeled images of a batch, at B0; three times as many are unlabeled.
_LABELED = {32: 16, 224: 4}


def make_config(side: int) -> configuration.Config:
    """Return B0 as published for such images, in batches for two cores."""
    name = "svhn" if side <= 64 else "imagenet_b2"
    base = presets.preset(name)
    return dataclasses.replace(
        base,
        model=configuration.ModelConfig(resolution=side),
        training=dataclasses.replace(
            base.training,
            labeled_batch_size=_LABELED[side],
            unlabeled_ratio=3.0,
            checkpoint_every_steps=10**9,
        ),
    )


def write_shards(
    directory: str, side: int
) -> tuple[shards.ShardSet, shards.ShardSet]:
    """Write random pictures, as JPEGs of 500 x 375 pixels or small PNGs."""
    draw = np.random.default_rng(0)
    records: dict[str, list[bytes]] = {"train": [], "pseudo_labeled": []}
    for index in range(_NUM_IMAGES):
        shape = (side, side) if side <= 64 else (375, 500)
        coarse = draw.integers(0, 256, [1, 12, 16, 3]).astype(np.float32)
        picture = tf.cast(tf.image.resize(coarse, shape)[0], tf.uint8)
        encode = tf.io.encode_png if side <= 64 else tf.io.encode_jpeg
        record = schema.encode_image(
            image=encode(picture).numpy(),
            image_id=schema.make_id("benchmark", str(index)),
            label=index % _NUM_CLASSES,
        )
        records["train"].append(record)
        probabilities = np.full(_NUM_CLASSES, 0.01)
        probabilities[index % _NUM_CLASSES] = 0.91
        records["pseudo_labeled"].append(
            schema.add_pseudo_label(
                record,
                class_id=index % _NUM_CLASSES,
                probabilities=probabilities,
                confidence=0.91,
                copies=1,
                iteration=1,
            )
        )
    return (
        _shard_set(directory, "train", records["train"], "image"),
        _shard_set(
            directory,
            "pseudo_labeled",
            records["pseudo_labeled"],
            "pseudo_labeled",
        ),
    )


def _shard_set(
    directory: str, split: str, records: list[bytes], kind: schema.Schema
) -> shards.ShardSet:
    path = os.path.join(directory, shards.shard_name(split, 0, 1))
    with shards.open_writer(path) as writer:
        for record in records:
            writer.write(record)
    return shards.ShardSet(
        paths=(path,),
        num_records=len(records),
        schema=kind,
        num_classes=_NUM_CLASSES,
        num_copies=len(records),
    )


def make_model(config: configuration.Config) -> efficientnet.EfficientNet:
    """Build the model of a configuration."""
    return efficientnet.build(
        specs.from_config(
            config.model,
            num_classes=_NUM_CLASSES,
            class_names=tuple(map(str, range(_NUM_CLASSES))),
        )
    )


def targets_of(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return all images of a batch, and their labels as probabilities."""
    images = tf.concat([batch["labeled_images"], batch["unlabeled_images"]], 0)
    hard = tf.one_hot(batch["labels"], _NUM_CLASSES)
    return images, tf.concat([hard, batch["soft_labels"]], 0)


def bare_step(
    config: configuration.Config, batch: dict[str, tf.Tensor]
) -> Callable[[float], float]:
    """Return a function of seconds that gives steps per second."""
    model = make_model(config)
    rule = optimizer.make_optimizer(config.optimizer, schedules.constant(0.001))
    rule.build(model.trainable_variables)
    images, targets = targets_of(batch)

    @tf.function
    def train_step() -> tf.Tensor:
        seed = tf.stack([tf.cast(rule.iterations.value, tf.int32), 1])
        with tf.GradientTape() as tape:
            logits = model(images, training=True, noise_seed=seed)
            loss = tf.reduce_mean(
                tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            )
        variables = model.trainable_variables
        values = [variable.value for variable in variables]
        rule.apply(tape.gradient(loss, values), variables)
        return loss

    train_step()

    def measure(seconds: float) -> float:
        started, steps = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            train_step().numpy()
            steps += 1
        return steps / (time.perf_counter() - started)

    return measure


class FitModel(keras.Model):
    """The same network, as `fit` calls it."""

    def __init__(self, network: efficientnet.EfficientNet) -> None:
        """Wrap a network, whose noise then comes from the global generator."""
        super().__init__()
        self.network = network

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return logits."""
        seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
        return self.network(images, training=training, noise_seed=seed)


def keras_fit(
    config: configuration.Config, stream: tf.data.Dataset
) -> Callable[[float], float]:
    """Return a function of seconds that gives steps per second."""
    model = FitModel(make_model(config))
    model.compile(
        optimizer=keras.optimizers.RMSprop(
            0.001, momentum=0.9, use_ema=True, ema_momentum=0.9999
        ),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    batches = iter(stream.map(targets_of).prefetch(tf.data.AUTOTUNE))

    def fit(steps: int) -> float:
        started = time.perf_counter()
        model.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0)
        return (time.perf_counter() - started) / steps

    fit(2)
    state = {"seconds": fit(3)}

    def measure(seconds: float) -> float:
        state["seconds"] = fit(max(2, round(seconds / state["seconds"])))
        return 1 / state["seconds"]

    return measure


@dataclasses.dataclass
class Rounds:
    """Takes a run's validations as the moments to measure the others."""

    others: dict[str, Callable[[float], float]]
    seconds: float
    steps_per_loop: int
    rates: dict[str, list[float]]
    began: float = 0.0
    is_averages_turn: bool = False

    def evaluate(self, model: keras.Model) -> dict[str, float]:
        """Stop the clock, measure the others, start it again."""
        del model
        if not self.is_averages_turn:
            ours = self.steps_per_loop / (time.perf_counter() - self.began)
            # The first loop traces.
            if self.began and self.rates["ours"] is not None:
                self.rates["ours"].append(ours)
            for name, measure in self.others.items():
                self.rates[name].append(measure(self.seconds))
        self.is_averages_turn = not self.is_averages_turn
        self.began = time.perf_counter()
        return {}


def compare(side: int, rounds: int, seconds: float) -> dict[str, float]:
    """Return the run's steps per second over those of the others."""
    config = make_config(side)
    with tempfile.TemporaryDirectory() as directory:
        labeled, pseudo_labeled = write_shards(directory, side)
        make_stream = functools.partial(
            train_stream.make_train_stream,
            labeled=labeled,
            pseudo_labeled=pseudo_labeled,
            config=config,
            resolution=side,
            num_classes=_NUM_CLASSES,
        )
        stream = make_stream(start_step=0)
        others = {
            "bare": bare_step(config, next(iter(stream))),
            "fit": keras_fit(config, stream),
        }
        steps = max(2, round(2 * seconds * others["bare"](seconds)))
        config = dataclasses.replace(
            config,
            training=dataclasses.replace(
                config.training,
                steps_per_loop=steps,
                evaluate_every_steps=steps,
                checkpoint_every_steps=2 * steps,
            ),
        )
        made = plan.make_plan(
            config, num_labeled=_NUM_IMAGES, epochs=1e6, has_unlabeled=True
        )
        taken = Rounds(
            others, seconds, steps, {name: [] for name in ("ours", *others)}
        )
        loop.train(
            config=config,
            plan=dataclasses.replace(made, total_steps=(rounds + 1) * steps),
            directory=os.path.join(directory, "run"),
            strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
            build_model=lambda: make_model(config),
            make_stream=make_stream,
            evaluate=taken.evaluate,
            title="student",
        )
    return _ratios(side, taken.rates)


def _ratios(side: int, rates: dict[str, list[float]]) -> dict[str, float]:
    """Divide each loop by the others before and after it."""
    found = {}
    images = 4 * _LABELED[side]
    print(f"{side} px, images/s, median (least to most):")
    for name, values in rates.items():
        scaled = [images * value for value in values]
        print(
            f"  {name:<5}{statistics.median(scaled):8.1f} "
            f"({min(scaled):.1f} to {max(scaled):.1f})"
        )
    for name in set(rates) - {"ours"}:
        around = [
            (before + after) / 2
            for before, after in zip(rates[name], rates[name][1:], strict=False)
        ]
        each = [a / b for a, b in zip(rates["ours"], around, strict=True)]
        word = "over_bare_step" if name == "bare" else "over_fit"
        found[f"{word}_{side}"] = statistics.median(each)
        found[f"{word}_{side}_least"] = min(each)
    return found


def memory_slope(steps: int) -> dict[str, float]:
    """Return how the process' memory grows over a run of a tiny model."""
    base = presets.preset("tiny")
    config = dataclasses.replace(
        base,
        training=dataclasses.replace(
            base.training,
            steps_per_loop=100,
            evaluate_every_steps=250,
            checkpoint_every_steps=500,
        ),
        model=dataclasses.replace(base.model, resolution=8, width=0.1),
        augmentation=configuration.AugmentationConfig(
            labeled=configuration.PolicyConfig(crop="none", policy="none"),
            unlabeled=configuration.PolicyConfig(crop="none", policy="none"),
        ),
    )
    seen: list[tuple[int, float]] = []

    def evaluate(model: keras.Model) -> dict[str, float]:
        del model
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        seen.append((len(seen), pages * os.sysconf("SC_PAGE_SIZE") / 2**20))
        return {}

    with tempfile.TemporaryDirectory() as directory:
        labeled, pseudo_labeled = write_shards(directory, 8)
        made = plan.make_plan(
            config, num_labeled=_NUM_IMAGES, epochs=1e6, has_unlabeled=True
        )
        loop.train(
            config=config,
            plan=dataclasses.replace(
                made, total_steps=steps, evaluate_every_steps=100
            ),
            directory=os.path.join(directory, "run"),
            strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
            build_model=lambda: make_model(config),
            make_stream=functools.partial(
                train_stream.make_train_stream,
                labeled=labeled,
                pseudo_labeled=pseudo_labeled,
                config=config,
                resolution=8,
                num_classes=_NUM_CLASSES,
            ),
            evaluate=evaluate,
            title="tiny",
        )
    # Two looks every 100 steps; what tracing takes is in the first fifth.
    later = seen[len(seen) // 5 :]
    slope = np.polyfit(*zip(*later, strict=True), 1)[0]
    return {
        "memory_mb": later[-1][1],
        "memory_slope_mb_per_1000_steps": float(slope * 20),
        "memory_steps": steps,
    }


def restart_seconds() -> dict[str, float]:
    """Return the seconds from a restart to the end of the first new step."""
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory) / "run"
        command = [
            sys.executable,
            "-m",
            "run_scripts.noisy_student",
            "--preset=tiny",
            "--training.teacher_epochs=2000",
            "--training.checkpoint_every_steps=5",
            "--training.steps_per_loop=1",
            f"--workdir={root}",
        ]
        saved, lines = root / "teacher" / "checkpoints", root / "teacher"
        first = _start(command)
        while not list(saved.glob("*/manifest.json")):
            _check_alive(first)
        first.send_signal(signal.SIGKILL)
        first.wait()
        step = max(int(path.parent.name[5:]) for path in saved.glob("*/man*"))
        started = time.perf_counter()
        second = _start(command)
        try:
            while (
                not any(
                    line["step"] > step
                    for line in log.read(str(lines / "metrics.jsonl"))
                )
                or second.poll() is not None
            ):
                _check_alive(second)
            seconds = time.perf_counter() - started
        finally:
            second.send_signal(signal.SIGKILL)
            second.wait()
        shutil.rmtree(root)
    return {"restart_to_first_step_seconds": seconds}


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet)


def _check_alive(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise RuntimeError(f"The run ended with {process.returncode}.")
    time.sleep(0.02)


def main(_: list[str]) -> None:
    """Measure everything, then print."""
    options = flags.FLAGS
    found: dict[str, Any] = {"load_before": os.getloadavg()[0]}
    for side in map(int, options.sizes):
        found |= compare(side, options.rounds, options.round_seconds)
    if options.memory_steps:
        found |= memory_slope(options.memory_steps)
    if options.restart:
        found |= restart_seconds()
    found["load_after"] = os.getloadavg()[0]
    print(json.dumps({key: round(value, 4) for key, value in found.items()}))


if __name__ == "__main__":
    app.run(main)
