"""Memory of a training step, with and without recomputed activations.

Forward and backward of the whole model with noise, L2 loss and metrics, each
measurement in a process of its own:

--how=compile compiles the step with XLA for static shapes, without running
it, and reads the temporary memory from XLA's buffer assignment, and the time,
of the clock and of all cores. XLA_FLAGS of the environment are kept.
--how=run makes real steps with the ordinary kernels, and reads the growth of
the process's peak while they run.

    python -m benchmarks.model_memory --model=efficientnet-b7 \\
        --resolution=600 --batch_size=1
    python -m benchmarks.model_memory --model=efficientnet-l2 \\
        --resolution=64 --batch_size=2 --how=run
"""

import glob
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time

from absl import app, flags

flags.DEFINE_string("model", "efficientnet-b7", "A variant's name.")
flags.DEFINE_integer("resolution", 600, "Side of the images in pixels.")
flags.DEFINE_integer("batch_size", 1, "Images of a step.")
flags.DEFINE_enum("how", "compile", ["compile", "run"], "See above.")
flags.DEFINE_list("recompute", ["false", "true"], "Either, or both in turn.")
flags.DEFINE_integer("steps", 2, "Of --how=run.")
flags.DEFINE_string("precision", "float32", "float32 or mixed_bfloat16.")
flags.DEFINE_bool("measure_here", False, "Of the child processes only.")


def main(_: list[str]) -> None:
    """Measure in child processes; the last line is one JSON object."""
    if flags.FLAGS.measure_here:
        print(json.dumps(measure()))
        return
    results = {}
    for recompute in flags.FLAGS.recompute:
        finished = subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.model_memory",
                *sys.argv[1:],
                "--measure_here",
                f"--recompute={recompute}",
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        results[recompute] = json.loads(finished.stdout.splitlines()[-1])
        print(f"recompute={recompute}: {results[recompute]}", flush=True)
    if len(results) == 2:
        with_all, without = (
            results[name]["activation_gib"] for name in ("false", "true")
        )
        results["memory_ratio"] = round(without / with_all, 3)
    print(json.dumps(results))


def measure() -> dict[str, object]:
    """Return the numbers of one setting."""
    if flags.FLAGS.how == "run":
        return measure_run()
    with tempfile.TemporaryDirectory() as directory:
        os.environ["XLA_FLAGS"] = " ".join(
            [
                os.environ.get("XLA_FLAGS", ""),
                f"--xla_dump_to={directory} --xla_dump_hlo_as_text",
            ]
        )
        return measure_compilation(directory)


def make_step():
    """Return a function of nothing: one step's gradients and metrics."""
    import keras
    import numpy as np
    import tensorflow as tf

    import run_scripts  # noqa: F401  The switches of every run.
    from noisy_student_tf import configs
    from noisy_student_tf.model import architectures
    from noisy_student_tf.training import optimizer, state, step

    keras.config.set_dtype_policy(flags.FLAGS.precision)
    side, batch_size = flags.FLAGS.resolution, flags.FLAGS.batch_size
    spec = architectures.make_spec(
        configs.ModelConfig(name=flags.FLAGS.model, resolution=side),
        num_classes=1000,
        class_names=(),
    )
    model = architectures.build(
        spec, recompute=flags.FLAGS.recompute == ["true"]
    )
    trained = model.trainable_variables
    # Neither averages nor an optimizer: they are no part of this memory.
    train_state = state.TrainState(
        model=model,
        ema_model=None,
        optimizer=None,
        trained=trained,
        decayed=state.decayed_variables(model, trained),
        schedule=optimizer.constant(0.0),
    )
    settings = step.StepSettings(
        config=configs.Config(
            training=configs.TrainingConfig(labeled_batch_size=batch_size)
        ),
        unlabeled_batch_size=0,
        seed=0,
    )
    generator = np.random.default_rng(0)
    shape = (batch_size, side, side, 3)
    images = generator.integers(0, 256, shape, dtype=np.uint8)
    labels = generator.integers(0, 1000, batch_size, dtype=np.int32)

    def gradients(images, labels):
        seed = step.noise_seed(0, tf.constant(7), tf.constant(0))
        batch = {"labeled_images": images, "labels": labels}
        return step.compute_gradients(train_state, settings, batch, seed)

    return gradients, tf.constant(images), tf.constant(labels)


def measure_compilation(directory: str) -> dict[str, object]:
    import tensorflow as tf

    gradients, images, labels = make_step()
    compiled = tf.function(gradients, jit_compile=True)
    started = clocks()
    compiled.get_concrete_function(images, labels)
    traced = clocks()
    compiled.experimental_get_compiler_ir(images, labels)(stage="optimized_hlo")
    done = clocks()
    paths = glob.glob(f"{directory}/*buffer-assignment.txt")
    with open(max(paths, key=os.path.getsize)) as file:
        text = file.read()
    # "allocation 5: size 1234, preallocated-temp:", as opposed to
    # parameters (the weights), outputs (the gradients) and constants.
    temporaries = re.findall(
        r"allocation \d+: size (\d+), preallocated-temp", text
    )
    return {
        "activation_gib": gib(sum(map(int, temporaries))),
        "trace_seconds": seconds_between(started, traced),
        "compile_seconds": seconds_between(traced, done),
        "process_peak_gib": gib(peak_bytes()),
    }


def measure_run() -> dict[str, object]:
    import tensorflow as tf

    gradients, images, labels = make_step()
    function = tf.function(gradients)
    concrete = function.get_concrete_function(images, labels)
    before = current_bytes()
    taken = []
    for _ in range(flags.FLAGS.steps):
        started = clocks()
        _, metrics = concrete(images, labels)
        loss = float(metrics[0])
        taken.append(seconds_between(started, clocks()))
    return {
        # Gradients are part of it, as many bytes as there are weights.
        "activation_gib": gib(peak_bytes() - before),
        "weights_gib": gib(
            sum(
                variable.shape.num_elements() * 4
                for variable in concrete.variables
            )
        ),
        "step_seconds": taken[-1],  # The first one allocates.
        "loss": round(loss, 4),
    }


def clocks() -> tuple[float, float]:
    """Return the seconds of the clock on the wall, and of all cores."""
    return time.monotonic(), time.process_time()


def seconds_between(
    before: tuple[float, float], after: tuple[float, float]
) -> dict[str, float]:
    wall, processor = (
        round(end - start, 1) for start, end in zip(before, after, strict=True)
    )
    return {"wall": wall, "processor": processor}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def current_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def gib(num_bytes: float) -> float:
    return round(num_bytes / 2**30, 3)


if __name__ == "__main__":
    app.run(main)
