"""Kill one of several workers at random moments; restart them all, compare.

    python -m benchmarks.lost_worker --trials=10
    python -m benchmarks.lost_worker --trials=3 --workers_after=2

Four processes of this machine train the tests' tiny model, with dropout and
synchronized normalization, by the training loop of runs; once undisturbed. In
each trial one of them, drawn, is killed without a warning at a drawn moment;
the others are waited for, and killed too if they do not end by themselves; then
all are started again. What must be the same, bit for bit: weights, averages and
the record of losses.

With another number of workers afterwards the dropout, which is drawn for each
replica, is switched off, and all may differ by rounding. Trials that are done
are kept in `--workdir`: the same command goes on. The last line is a JSON
object.
"""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import time

import numpy as np
from absl import app, flags

from benchmarks import killed_run
from noisy_student_tf.configs import config_tree
from noisy_student_tf.devices import runtime
from noisy_student_tf.training import loop, progress, state
from tests.training import test_workers, tiny, worker

FLAGS = flags.FLAGS

NUM_STEPS = 40
# TensorFlow misses a worker after some ten seconds.
_SECONDS_TO_END = 90.0
_UNTIMED = ("images_per_second", "input_wait_share")


def define_flags() -> None:
    """Define the flags."""
    flags.DEFINE_integer("trials", 10, "Kills.", lower_bound=1)
    flags.DEFINE_integer("workers", 4, "Processes.", lower_bound=2)
    flags.DEFINE_integer(
        "workers_after", 0, "Processes after the kill; 0: as many."
    )
    flags.DEFINE_integer("seed", 0, "Of moments and workers.")
    flags.DEFINE_string("workdir", "runs/lost_worker", "Where runs go.")


def train(
    root: pathlib.Path, addresses: list[str], index: int, dropout_rate: float
) -> None:
    """Train to the end, as one of several workers; leave the weights."""
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": addresses}, "task": task}
    )
    config = config_tree.override(
        tiny.make_config(),
        {
            "runtime.strategy": "multi_worker",
            "optimizer.base_learning_rate": 0.05,
            "training.checkpoint_every_steps": 4,
        },
    )
    strategy = runtime.make_strategy(config.runtime)
    result = loop.train(
        progress.Task(
            config=config,
            durations=tiny.make_durations(config, total_steps=NUM_STEPS),
            directory=f"{root}/run",
            strategy=strategy,
            models=state.ModelSource(
                build=lambda: tiny.build(
                    dropout_rate=dropout_rate, synchronized=True
                )
            ),
            make_stream=worker.make_stream,
            evaluate=tiny.evaluate,
            title="student",
        )
    )
    if runtime.is_chief(strategy):
        models = (result.model, result.ema_model)
        weights = [each for model in models for each in tiny.weights_of(model)]
        np.savez(f"{root}/weights.npz", *weights)


def start_all(root: pathlib.Path, count: int) -> list[killed_run.Process]:
    """Start the workers of a run, the chief first."""
    root.mkdir(parents=True, exist_ok=True)
    addresses = [f"localhost:{port}" for port in test_workers.free_ports(count)]
    return [
        killed_run.start_function(
            train,
            root,
            addresses,
            index,
            0.0 if FLAGS.workers_after else 0.5,
            log=root.with_name(f"{root.name}_{index}.log"),
        )
        for index in range(count)
    ]


def finish(root: pathlib.Path, processes: list[killed_run.Process]) -> None:
    """Wait for the workers.

    Raises:
        RuntimeError: One ended with an error.
    """
    for index, process in enumerate(processes):
        process.join()
        killed_run.check_ended_well(
            process, root.with_name(f"{root.name}_{index}")
        )


def run_undisturbed(root: pathlib.Path) -> float:
    """Run to the end; return the last worker's processor seconds."""
    processes = start_all(root, FLAGS.workers)
    last = [0.0]

    def note(seconds: float) -> bool:
        last[:] = [seconds]
        return False

    killed_run.follow(processes[-1], note)
    finish(root, processes)
    return last[0]


def kill_one(
    root: pathlib.Path, victim: int, moment: float
) -> dict[str, object]:
    """Start all, kill one after so many of its processor seconds.

    Returns:
        Which checkpoint was there, how long the others took to end, and how
        many of them did not end by themselves.
    """
    processes = start_all(root, FLAGS.workers)
    killed_run.follow(processes[victim], lambda seconds: seconds >= moment)
    processes[victim].kill()
    began = time.monotonic()
    for process in processes:
        process.join(max(0.0, began + _SECONDS_TO_END - time.monotonic()))
    seconds = time.monotonic() - began
    stuck = [process for process in processes if process.is_alive()]
    for process in stuck:
        process.kill()
        process.join()
    saved = sorted(root.glob("run/checkpoints/*/manifest.json"))
    return {
        "saved": saved[-1].parent.name if saved else "nothing",
        "others_ended_after_seconds": round(seconds, 1),
        "did_not_end": len(stuck),
    }


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run ends with."""

    weights: list[np.ndarray]
    lines: list[dict[str, object]]

    def is_same(self, other: "Outcome") -> bool:
        """Tell whether every bit is."""
        pairs = zip(self.weights, other.weights, strict=True)
        return self.lines == other.lines and all(
            np.array_equal(one, another) for one, another in pairs
        )

    def greatest_difference(self, other: "Outcome") -> float:
        """Return that of all weights, as a share of the greatest weight."""
        greatest = max(np.abs(each).max() for each in self.weights)
        pairs = zip(self.weights, other.weights, strict=True)
        return float(
            max(np.abs(one - another).max() for one, another in pairs)
            / greatest
        )


def outcome(root: pathlib.Path) -> Outcome:
    """Read what a run ended with."""
    text = (root / "run/metrics.jsonl").read_text()
    lines = [
        {k: v for k, v in json.loads(line).items() if k not in _UNTIMED}
        for line in text.splitlines()
    ]
    with np.load(root / "weights.npz") as arrays:
        return Outcome([arrays[name] for name in arrays], lines)


def try_once(
    root: pathlib.Path, expected: Outcome, seconds: float, seed: str
) -> dict[str, object]:
    """Kill, restart and compare; return what was seen."""
    draw = random.Random(seed)
    victim = draw.randrange(FLAGS.workers)
    moment = draw.uniform(0, seconds)
    shutil.rmtree(root, ignore_errors=True)
    seen = {
        "killed": victim,
        "at_processor_seconds": round(moment, 2),
        **kill_one(root, victim, moment),
    }
    finish(root, start_all(root, FLAGS.workers_after or FLAGS.workers))
    found = outcome(root)
    return {
        **seen,
        "identical": expected.is_same(found),
        "greatest_difference": expected.greatest_difference(found),
    }


def main(_: list[str]) -> None:
    """Run what is not done yet, then print."""
    killed_run.prepare("tests.training.worker")
    root = pathlib.Path(FLAGS.workdir)
    root.mkdir(parents=True, exist_ok=True)
    undisturbed, record = root / "undisturbed", root / "trials.json"
    if not record.exists():
        shutil.rmtree(undisturbed, ignore_errors=True)
        seconds = run_undisturbed(undisturbed)
        record.write_text(json.dumps({"seconds": seconds, "trials": []}))
    kept = json.loads(record.read_text())
    expected = outcome(undisturbed)
    for trial in range(len(kept["trials"]), FLAGS.trials):
        seed = f"{FLAGS.seed}/{trial}"
        seen = try_once(root / "killed", expected, kept["seconds"], seed)
        kept["trials"].append(seen)
        record.write_text(json.dumps(kept))
        print(f"trial {trial + 1}: {json.dumps(seen)}", flush=True)
    identical = sum(seen["identical"] for seen in kept["trials"])
    print(json.dumps({**kept, "identical": identical}))


if __name__ == "__main__":
    define_flags()
    app.run(main)
