"""Kill a tiny run at random moments, and compare what it ends with.

    python -m benchmarks.kill_and_resume --trials=20

One run is left undisturbed. Each trial takes the stages that it finished
before a random one, starts the run there, kills it without a warning at a
random moment of that stage, and lets the same command finish. What must be
the same, bit for bit: weights, averages, losses of every step, predictions,
selections, exported classifier's fingerprint and accuracies. The last line is
a JSON object. Times are not measured: it may run beside other work.
"""

import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import h5py
import pyarrow.parquet as pq
from absl import app, flags

flags.DEFINE_integer("trials", 20, "Kills.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Of the moments.")
flags.DEFINE_string("workdir", "runs/kill_and_resume", "Where the runs go.")

STAGES = (
    "labeled",
    "unlabeled",
    "teacher",
    "predictions_1",
    "selection_1",
    "pseudo_labeled_1",
    "student_1",
    "fixres",
    "export",
)
_UNTIMED = ("images_per_second", "input_wait_share")


def start(root: pathlib.Path) -> subprocess.Popen[bytes]:
    """Start the whole loop in a process of its own."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "run_scripts.noisy_student",
            "--preset=tiny",
            f"--workdir={root}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )


def finish(root: pathlib.Path) -> None:
    """Run to the end."""
    code = start(root).wait()
    if code:
        raise RuntimeError(
            f"The run in {root} ended with {code}. Repeat its command, "
            f"--preset=tiny --workdir={root}, to see why."
        )


def outcome(root: pathlib.Path) -> dict[str, str]:
    """Return a digest of each thing that a run ends with."""
    found: dict[str, Any] = {}
    for path in sorted(root.glob("*/*.weights.h5")):
        with h5py.File(path) as file:
            arrays: dict[str, bytes] = {}
            file.visititems(
                lambda name, item, arrays=arrays: (
                    arrays.update({name: item[()].tobytes()})
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
        found[_name(path, root)] = sorted(arrays.items())
    for path in sorted(root.glob("*/metrics.jsonl")):
        lines = map(json.loads, path.read_text().splitlines())
        found[_name(path, root)] = [
            sorted((k, v) for k, v in line.items() if k not in _UNTIMED)
            for line in lines
        ]
    for path in sorted(root.glob("*_1/*.parquet")):
        found[_name(path, root)] = pq.read_table(path).to_pydict()
    for path in sorted(root.glob("pseudo_labeled_1/*.tfrecord")):
        found[_name(path, root)] = path.read_bytes()
    for name in ("results.json", "export/manifest.json"):
        found[name] = (root / name).read_text()
    return {
        name: hashlib.sha256(repr(content).encode()).hexdigest()
        for name, content in found.items()
    }


def _name(path: pathlib.Path, root: pathlib.Path) -> str:
    return str(path.relative_to(root))


def stage_seconds(root: pathlib.Path, started: float) -> dict[str, float]:
    """Return how long each stage of the undisturbed run took."""
    seconds = {}
    for stage in STAGES:
        ended = (root / stage / "manifest.json").stat().st_mtime
        seconds[stage] = max(ended - started, 0.05)
        started = ended
    return seconds


def begin_at(stage: str, undisturbed: pathlib.Path, root: pathlib.Path) -> None:
    """Copy the configuration and the stages before one."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    shutil.copy(undisturbed / "config.json", root)
    for name in STAGES[: STAGES.index(stage)]:
        shutil.copytree(undisturbed / name, root / name)


def kill_within(root: pathlib.Path, stage: str, seconds: float) -> str:
    """Start, kill so long after a stage began; return where that was."""
    process = start(root)
    while process.poll() is None and not (root / stage).exists():
        time.sleep(0.002)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.wait()
    done = [name for name in STAGES if (root / name / "manifest.json").exists()]
    reached = STAGES[len(done)] if len(done) < len(STAGES) else "the end"
    saved = sorted((root / reached).glob("checkpoints/*/manifest.json"))
    steps = f", {saved[-1].parent.name} saved" if saved else ""
    return f"{reached}{steps}"


def main(_: list[str]) -> None:
    """Run everything, then print."""
    root = pathlib.Path(flags.FLAGS.workdir)
    undisturbed = root / "undisturbed"
    shutil.rmtree(undisturbed, ignore_errors=True)
    started = time.time()
    finish(undisturbed)
    expected = outcome(undisturbed)
    seconds = stage_seconds(undisturbed, started)
    draw = random.Random(flags.FLAGS.seed)
    identical, reached = 0, []
    for trial in range(flags.FLAGS.trials):
        # All stages in turn; the moment within is drawn.
        stage = STAGES[trial % len(STAGES)]
        killed = root / "killed"
        begin_at(stage, undisturbed, killed)
        moment = draw.uniform(0, seconds[stage])
        reached.append(kill_within(killed, stage, moment))
        finish(killed)
        found = outcome(killed)
        differing = [
            name
            for name in sorted(expected | found)
            if expected.get(name) != found.get(name)
        ]
        identical += not differing
        print(
            f"trial {trial + 1}: killed {moment:.2f} s into {stage}, in "
            f"{reached[-1]}: {differing or 'identical'}",
            flush=True,
        )
    print(
        json.dumps(
            {
                "trials": flags.FLAGS.trials,
                "identical": identical,
                "compared": len(expected),
                "killed_in": reached,
            }
        )
    )


if __name__ == "__main__":
    app.run(main)
