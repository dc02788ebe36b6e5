"""One of the two processes of `test_workers`.

    python -m tests.training.worker DIRECTORY
    python -m tests.training.worker DIRECTORY again

Trains to the end, then once more until the second worker kills itself. Started
again it goes on from there.
"""

import functools
import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.configs import config_tree
from noisy_student_tf.devices import replicas, runtime, watching
from noisy_student_tf.training import loop, progress, state
from tests.training import tiny


def make_stream(*, start_step, input_pipelines=1, input_pipeline_index=0):
    """Return every n-th row of the tiny batches."""

    def part(batch):
        return {
            name: tensor[input_pipeline_index::input_pipelines]
            for name, tensor in batch.items()
        }

    # Nothing says that it is infinite, as of a real stream.
    return tiny.make_stream(start_step).map(part).filter(lambda batch: True)


def train(directory, strategy, **options):
    """Train four steps without noise, on whatever devices."""
    settings = {"optimizer.global_clip_norm": 0.5}
    configuration = tiny.make_config(**settings)
    task = progress.Task(
        config=configuration,
        durations=tiny.make_durations(configuration, total_steps=4),
        directory=directory,
        strategy=strategy,
        models=state.ModelSource(build=lambda: tiny.build(synchronized=True)),
        make_stream=make_stream,
        evaluate=tiny.evaluate,
        title="student",
        **options,
    )
    return loop.train(task)


def record_writes():
    """Return a list that gets every path that this process writes."""
    written = []
    for name in ("temporary_name", "make_directories", "remove"):
        function = getattr(files, name)

        def recording(path, function=function):
            written.append(path)
            return function(path)

        setattr(files, name, recording)
    return written


def die_after_a_checkpoint(calls, make_steps, step, steps_left):
    """Stand in for `DeviceCalls.make_steps`, in the second worker."""
    if step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return make_steps(calls, step, steps_left)


def make_strategy():
    """Return the strategy of the two workers."""
    config = config_tree.override(
        tiny.make_config(), {"runtime.strategy": "multi_worker"}
    ).runtime
    return runtime.make_strategy(config)


def go_on(directory):
    """Go on with the training that the second worker's end has ended."""
    strategy = make_strategy()
    result = train(f"{directory}/again", strategy)
    np.savez(
        f"{directory}/again_{runtime.worker_index(strategy)}.npz",
        *tiny.weights_of(result.model),
        *tiny.weights_of(result.ema_model),
    )


def main(directory):
    """Train twice; leave what was seen in files beside the directory."""
    strategy = make_strategy()
    index = runtime.worker_index(strategy)
    found = runtime.agree(strategy, [index, 7])
    # Each worker labels batches of its own, whole.
    label = tf.function(replicas.spread(lambda images: images + 1, strategy))
    labeled = label(tf.range(4))
    written = record_writes()
    result = train(f"{directory}/run", strategy)
    np.savez(
        f"{directory}/worker_{index}.npz",
        *tiny.weights_of(result.model),
        *tiny.weights_of(result.ema_model),
        found=found,
        labeled=labeled,
        written=written,
    )
    if index:
        watching.DeviceCalls.make_steps = functools.partialmethod(
            die_after_a_checkpoint, watching.DeviceCalls.make_steps
        )
    try:
        train(f"{directory}/again", strategy)
    except tf.errors.OpError as error:
        files.write_text(f"{directory}/lost", str(error))
        os._exit(3)


if __name__ == "__main__":
    (go_on if sys.argv[2:] else main)(sys.argv[1])
