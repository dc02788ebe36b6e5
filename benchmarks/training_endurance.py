"""How long a restart takes, and whether a run's memory grows."""

import dataclasses
import functools
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks import training_cases
from noisy_student_tf import configs
from noisy_student_tf.configs import presets
from noisy_student_tf.pipeline import train_stream
from noisy_student_tf.training import log, loop, progress, state

_MEGABYTE = 2**20
_STEPS_BETWEEN_LOOKS = 100
_RESTART_TIMEOUT_SECONDS = 180.0


def memory_slope(steps: int) -> dict[str, float]:
    """Return how the process' memory grows over a run of a tiny model.

    It is looked at at every validation. Lines, validations, checkpoints and
    the pipeline are those of any run.

    Args:
        steps: Length of the run; the first fifth, in which TensorFlow's
            allocators and threads grow, is left out.
    """
    config = _tiny_config()
    seen: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        labeled, pseudo_labeled = training_cases.write_shards(directory, 8)
        made = progress.make_durations(
            config,
            num_labeled=training_cases.NUM_IMAGES,
            epochs=1e6,
            has_unlabeled=True,
        )
        task = progress.Task(
            config=config,
            durations=dataclasses.replace(made, total_steps=steps),
            directory=os.path.join(directory, "run"),
            strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
            models=state.ModelSource(
                build=lambda: training_cases.make_model(config)
            ),
            make_stream=functools.partial(
                train_stream.make_train_stream,
                labeled=labeled,
                pseudo_labeled=pseudo_labeled,
                config=config,
                resolution=8,
                num_classes=training_cases.NUM_CLASSES,
            ),
            evaluate=functools.partial(_look_at_memory, seen),
            title="tiny",
        )
        loop.train(task)
    looks = np.array(seen[::2])  # Each validation looks at two models.
    later = looks[len(looks) // 5 :]
    at_step = _STEPS_BETWEEN_LOOKS * np.arange(len(later))
    slope = np.polyfit(at_step, later, 1)[0]
    return {
        "memory_mb": float(later[-1]),
        "memory_mb_after_a_fifth": float(later[0]),
        "memory_slope_mb_per_1000_steps": float(1000 * slope),
        "memory_steps": steps,
    }


def _tiny_config() -> configs.Config:
    base = presets.preset("tiny")
    unnoised = configs.PolicyConfig(crop="none", policy="none")
    return dataclasses.replace(
        base,
        training=dataclasses.replace(
            base.training,
            steps_per_loop=_STEPS_BETWEEN_LOOKS,
            evaluate_every_steps=_STEPS_BETWEEN_LOOKS,
            checkpoint_every_steps=5 * _STEPS_BETWEEN_LOOKS,
        ),
        model=dataclasses.replace(base.model, resolution=8, width=0.1),
        augmentation=configs.AugmentationConfig(
            labeled=unnoised, unlabeled=unnoised
        ),
    )


def _look_at_memory(seen: list[float], model: keras.Model) -> dict[str, float]:
    del model
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    seen.append(pages * os.sysconf("SC_PAGE_SIZE") / _MEGABYTE)
    return {}


def restart_seconds() -> dict[str, float]:
    """Kill a run, and time its command from the start to a new step's line.

    Raises:
        RuntimeError: The run ended, or made no step in time.
    """
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
        teacher = root / "teacher"
        _run_until(command, lambda: _last_saved(teacher) > 0)
        step = _last_saved(teacher)
        # Its lines may be ahead of what it saved.
        (teacher / "metrics.jsonl").unlink()
        seconds = _run_until(command, lambda: _last_line(teacher) > step)
    return {"restart_to_first_step_seconds": seconds}


def _run_until(command: list[str], is_reached: Callable[[], bool]) -> float:
    """Start a command, kill it when it has come somewhere; return when."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not is_reached():
            elapsed = time.perf_counter() - started
            if process.poll() is not None or elapsed > _RESTART_TIMEOUT_SECONDS:
                raise RuntimeError(
                    f"{command} made no step in {elapsed:.0f} s; its exit "
                    f"code is {process.returncode}. Run it to see why."
                )
            time.sleep(0.02)
        return time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _last_saved(model: pathlib.Path) -> int:
    saved = model.glob("checkpoints/*/manifest.json")
    return max((int(path.parent.name[5:]) for path in saved), default=0)


def _last_line(model: pathlib.Path) -> int:
    lines = log.read(str(model / "metrics.jsonl"))
    return max((line["step"] for line in lines), default=0)
