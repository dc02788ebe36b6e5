"""Run one preset with several seeds and compare teachers with students.

Prints their held-out accuracies as a table, and a JSON object as the last line.

    python -m benchmarks.quickstart_seeds --seeds=0,1,2 --workdir=runs/seeds

Finished runs are not repeated. Flags after `--` go to every run.
"""

import json
import statistics
import subprocess
import sys

from absl import app, flags

from noisy_student_tf import files

flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds, one run each.")
flags.DEFINE_string("workdir", "runs/seeds", "Where the runs go.")
flags.DEFINE_string("preset", "digits", "Which configuration runs.")


def main(arguments: list[str]) -> None:
    """Run all seeds, then print."""
    root, preset = flags.FLAGS.workdir, flags.FLAGS.preset
    accuracies = {}
    for seed in flags.FLAGS.seeds:
        workdir = files.join(root, f"{preset}_seed_{seed}")
        subprocess.run(
            [
                sys.executable,
                "-m",
                "run_scripts.noisy_student",
                f"--preset={preset}",
                f"--seed={seed}",
                f"--workdir={workdir}",
                *arguments[1:],
            ],
            check=True,
        )
        accuracies[seed] = own_resolution_accuracies(workdir)
    print_table(accuracies)


def own_resolution_accuracies(workdir: str) -> dict[str, dict[str, float]]:
    """Return split -> model -> accuracy, each at its model's resolution."""
    config = files.read_json(files.join(workdir, "config.json"))
    resolutions = {
        True: config["fixres"]["resolution"],
        False: config["model"]["resolution"],
    }
    chosen: dict[str, dict[str, float]] = {"validation": {}, "test": {}}
    for row in files.read_json(files.join(workdir, "results.json")):
        is_fixres = row["model"].endswith("fixres")
        if row["resolution"] == resolutions[is_fixres]:
            chosen[row["split"]][row["model"]] = row["accuracy"]
    return chosen


def print_table(accuracies: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print one row a seed, the means, and the last line's JSON."""
    models = list(next(iter(accuracies.values()))["test"])
    students = [name for name in models if name != "teacher"]
    last = [name for name in students if not name.endswith("fixres")][-1]
    print("| seed | " + " | ".join(models) + " | gain |")
    print("|---" * (len(models) + 2) + "|")
    gains = []
    for seed, splits in accuracies.items():
        row = splits["test"]
        gains.append(100 * (row[last] - row["teacher"]))
        cells = " | ".join(f"{100 * row[name]:.1f} %" for name in models)
        print(f"| {seed} | {cells} | {gains[-1]:+.1f} |")
    means = {
        name: statistics.mean(s["test"][name] for s in accuracies.values())
        for name in models
    }
    cells = " | ".join(f"{100 * means[name]:.1f} %" for name in models)
    print(f"| mean | {cells} | {statistics.mean(gains):+.1f} |")
    print(
        json.dumps(
            {
                "seeds": list(accuracies),
                "accuracies": accuracies,
                "mean_gain_points": statistics.mean(gains),
                "gains_points": gains,
            }
        )
    )


if __name__ == "__main__":
    app.run(main)
