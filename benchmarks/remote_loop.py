"""Run the tiny preset to its report with all variables in another process.

    python -m benchmarks.remote_loop

The other process is a bare TensorFlow server, in a folder and with a path that
do not have this package. Models are made, trained, evaluated and label there;
this process drives. What it ends with is compared, bit for bit, with a run that
is all in one process: see `kill_and_resume` for what. The last line is a JSON
object.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import tensorflow as tf
from absl import app, flags

from benchmarks import killed_run, run_digest
from noisy_student_tf import self_training, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.devices import replicas, runtime
from noisy_student_tf.stages import runs
from noisy_student_tf.training import state
from tests.pod import coordinator, test_remote_host
from tests.training import test_workers

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Define the flags."""
    flags.DEFINE_string("workdir", "runs/remote_loop", "Where runs go.")


def run_there(root: pathlib.Path) -> list[str]:
    """Run the loop; return the devices of all variables of training."""
    config = config_tree.override(
        presets.preset("tiny"), {"training.steps_per_loop": 1}
    )
    # As where there is a TPU: streams are made on the strategy's host.
    replicas.has_accelerator = lambda: True
    devices: set[str] = set()
    create = state.create

    def noting(**arguments: object) -> state.TrainState:
        made = create(**arguments)
        for variables in made.variables().values():
            devices.update(variable.device for variable in variables)
        return made

    state.create = noting
    runtime.configure(config)
    strategy = tf.distribute.OneDeviceStrategy(coordinator.HOST)
    run = runs.begin(config, workdirs.Workdir(str(root)), strategy=strategy)
    self_training.run_all(run)
    return sorted(devices)


def main(_: list[str]) -> None:
    """Run both, and compare."""
    killed_run.prepare()
    root = pathlib.Path(FLAGS.workdir)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    killed_run.finish(root / "here")
    (port,) = test_workers.free_ports(1)
    server = subprocess.Popen(
        [
            *(sys.executable, "-I", "-c", test_remote_host.SERVER),
            f"localhost:{port}",
        ],
        cwd="/",
        stdout=subprocess.PIPE,
    )
    try:
        server.stdout.readline()
        tf.config.experimental_connect_to_cluster(
            tf.train.ClusterSpec({"worker": [f"localhost:{port}"]})
        )
        devices = run_there(root / "there")
    finally:
        server.kill()
        server.wait()
    expected = run_digest.outcome(root / "here")
    differing = run_digest.differing(
        expected, run_digest.outcome(root / "there")
    )
    print(
        json.dumps(
            {
                "variables_on": devices,
                "compared": len(expected),
                "differing": differing,
                "has_report": (root / "there/report.html").exists(),
            }
        )
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
