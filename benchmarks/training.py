"""Whole training runs against the bare step and against Keras' `fit`.

    python -m benchmarks.training

One process, alternating rounds: a loop of a student's run (pipeline, noise,
L2 loss, averages, log and checkpoints included); the bare step on a batch
already in memory (forward, backward, update, with dropout and stochastic
depth); and the same network, pipeline and averages in `fit`. A loop is divided
by the mean of what came before and after it; ratios are medians over the
rounds, higher is better, `_least` and `_most` their spread.

Cases are B0 as published for SVHN (`32`: 32 pixels, stages 2 and 3 at stride
1), with its usual strides (`32_plain`), and at 224 pixels from JPEGs of 500 x
375 (`224`). Also: the seconds from a restart to the first step, and the slope
of the process' memory over 5,000 steps of a tiny model. The last line is a
JSON object.
"""

import dataclasses
import functools
import json
import os
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import run_scripts  # noqa: F401  The switches of every run.

# isort: split
import keras
import tensorflow as tf
from absl import app, flags

from benchmarks import training_cases, training_endurance
from noisy_student_tf import configs
from noisy_student_tf.model import efficientnet
from noisy_student_tf.pipeline import train_stream
from noisy_student_tf.training import loop, optimizer, progress, state

_PARTS = ("ratios", "memory", "restart")

flags.DEFINE_multi_enum(
    "parts",
    list(_PARTS),
    list(_PARTS),
    "What is measured.",
)
flags.DEFINE_multi_enum(
    "cases",
    ["32", "224"],
    list(training_cases.CASES),
    "Whose ratios.",
)
flags.DEFINE_integer("rounds", 5, "Alternating rounds.", lower_bound=1)
flags.DEFINE_float("seconds", 4.0, "Length of a contender's turn.")
flags.DEFINE_integer(
    "memory_steps", 5000, "Steps over which memory is looked at."
)

_TURN_TIMEOUT_SECONDS = 300.0

# Takes a contender's turn; returns its steps per second.
Measure = Callable[[], float]
Batch = dict[str, tf.Tensor]


def targets_of(batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
    """Return all images of a batch, and their labels as probabilities."""
    images = tf.concat([batch["labeled_images"], batch["unlabeled_images"]], 0)
    hard = tf.one_hot(batch["labels"], training_cases.NUM_CLASSES)
    return images, tf.concat([hard, batch["soft_labels"]], 0)


def bare_step(config: configs.Config, batch: Batch, seconds: float) -> Measure:
    """Return the measure of the bare step, in turns of some seconds."""
    model = training_cases.make_model(config)
    rule = optimizer.make_optimizer(config.optimizer, optimizer.constant(0.001))
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

    def measure() -> float:
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


class Turns(keras.callbacks.Callback):
    """Lets `fit` begin an epoch when it is asked to, and times it."""

    def __init__(self) -> None:
        """Wait for the first turn."""
        super().__init__()
        self._begin = threading.Semaphore(0)
        self._seconds: queue.Queue[float] = queue.Queue()
        self._started = 0.0

    def take(self) -> float:
        """Let an epoch go by; return its seconds."""
        self._begin.release()
        return self._seconds.get(timeout=_TURN_TIMEOUT_SECONDS)

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Wait for the turn."""
        self._begin.acquire()
        self._started = time.perf_counter()

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """End the turn."""
        self._seconds.put(time.perf_counter() - self._started)


def keras_fit(
    config: configs.Config, stream: tf.data.Dataset, steps: int
) -> Measure:
    """Return the measure of Keras' own loop, by epochs of some steps.

    One `fit` in a thread of its own makes all of them: each call would make
    the pipeline anew.
    """
    model = FitModel(training_cases.make_model(config))
    model.compile(
        optimizer=keras.optimizers.RMSprop(
            0.001, momentum=0.9, use_ema=True, ema_momentum=0.9999
        ),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    turns = Turns()
    fit = functools.partial(
        model.fit,
        stream.map(targets_of),
        steps_per_epoch=steps,
        epochs=10**6,
        verbose=0,
        callbacks=[turns],
    )
    threading.Thread(target=fit, daemon=True).start()
    turns.take()  # Traces.

    return lambda: steps / turns.take()


class Rounds:
    """Takes a run's validations as the moments to measure the others."""

    def __init__(self, others: dict[str, Measure], steps_per_loop: int) -> None:
        """Name the other contenders, and the length of a loop."""
        self._others = others
        self._steps_per_loop = steps_per_loop
        self._began: float | None = None
        self._is_first_of_two = True
        self.rates: dict[str, list[float]] = {
            name: [] for name in ("run", *others)
        }

    def evaluate(self, model: keras.Model) -> dict[str, float]:
        """Stop the clock, measure the others, start it again.

        A validation asks for two models; the time between is nobody's.
        """
        del model
        if self._is_first_of_two:
            if self._began is not None:  # The first loop traces.
                elapsed = time.perf_counter() - self._began
                self.rates["run"].append(self._steps_per_loop / elapsed)
            for name, measure in self._others.items():
                self.rates[name].append(measure())
        self._is_first_of_two = not self._is_first_of_two
        self._began = time.perf_counter()
        return {}


def compare(name: str, rounds: int, seconds: float) -> dict[str, float]:
    """Return the run's steps per second over those of the others."""
    case = training_cases.CASES[name]
    config = training_cases.make_config(case)
    with tempfile.TemporaryDirectory() as directory:
        labeled, pseudo_labeled = training_cases.write_shards(
            directory, case.resolution
        )
        make_stream = functools.partial(
            train_stream.make_train_stream,
            labeled=labeled,
            pseudo_labeled=pseudo_labeled,
            config=config,
            resolution=case.resolution,
            num_classes=training_cases.NUM_CLASSES,
        )
        stream = make_stream(start_step=0)
        bare = bare_step(config, next(iter(stream)), seconds)
        per_loop = max(2, round(seconds * bare()))
        fit = keras_fit(config, stream, per_loop)
        # In a run, too, there is one checkpoint in several loops.
        config = _with_loops_of(config, per_loop, checkpoint_loops=3)
        taken = Rounds({"bare_step": bare, "fit": fit}, per_loop)
        made = progress.make_durations(
            config,
            num_labeled=training_cases.NUM_IMAGES,
            epochs=1e6,
            has_unlabeled=True,
        )
        task = progress.Task(
            config=config,
            durations=dataclasses.replace(
                made, total_steps=(rounds + 1) * per_loop
            ),
            directory=os.path.join(directory, "run"),
            strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
            models=state.ModelSource(
                build=lambda: training_cases.make_model(config)
            ),
            make_stream=make_stream,
            evaluate=taken.evaluate,
            title="student",
        )
        loop.train(task)
    images = case.labeled_batch_size * (1 + case.unlabeled_ratio)
    _print_rates(name, images, taken.rates)
    return _ratios(name, taken.rates)


def _with_loops_of(
    config: configs.Config, steps: int, *, checkpoint_loops: int
) -> configs.Config:
    training = dataclasses.replace(
        config.training,
        steps_per_loop=steps,
        evaluate_every_steps=steps,
        checkpoint_every_steps=checkpoint_loops * steps,
    )
    return dataclasses.replace(config, training=training)


def _print_rates(
    case: str, images: float, rates: dict[str, list[float]]
) -> None:
    print(f"{case}, {images:g} images a step; images/s, median (spread):")
    for name, values in rates.items():
        scaled = [images * value for value in values]
        print(
            f"  {name:<10}{statistics.median(scaled):8.1f} "
            f"({min(scaled):.1f} to {max(scaled):.1f})"
        )


def _ratios(case: str, rates: dict[str, list[float]]) -> dict[str, float]:
    """Divide each loop by the others' means before and after it."""
    found = {}
    for name in set(rates) - {"run"}:
        around = [
            (before + after) / 2
            for before, after in zip(rates[name], rates[name][1:], strict=False)
        ]
        each = [a / b for a, b in zip(rates["run"], around, strict=True)]
        key = f"over_{name}_{case}"
        found[key] = statistics.median(each)
        found[f"{key}_least"], found[f"{key}_most"] = min(each), max(each)
    return found


def measure_parts() -> Iterator[dict[str, float]]:
    """Yield what each part measures."""
    options = flags.FLAGS
    if "ratios" in options.parts:
        for case in options.cases:
            yield compare(case, options.rounds, options.seconds)
    if "memory" in options.parts:
        yield training_endurance.memory_slope(options.memory_steps)
    if "restart" in options.parts:
        yield training_endurance.restart_seconds()


def main(_: list[str]) -> None:
    """Measure everything, then print."""
    found = {"load_before": os.getloadavg()[0]}
    for part in measure_parts():
        found |= part
        print(json.dumps(part), flush=True)
    found["load_after"] = os.getloadavg()[0]
    print(json.dumps({key: round(value, 4) for key, value in found.items()}))


if __name__ == "__main__":
    app.run(main)
