"""Run two checkouts of the project, and compare what their runs end with.

    git worktree add ../before HEAD~1
    python -m benchmarks.same_results --before=../before --presets=tiny,digits

For a change of structure, which may move no number: weights, averages,
curves, predictions, selections, pseudo-labeled shards and `results.json` must
be the same, bit for bit. A run that a checkout has finished already is not
repeated. The last line is a JSON object; the exit code is 1 if anything
differs.
"""

import json
import pathlib
import subprocess
import sys

from absl import app, flags

from benchmarks import run_digest

_WORKDIR = "runs/same_results"


def define_flags() -> None:
    """Define the flags."""
    flags.DEFINE_string("before", None, "A checkout.", required=True)
    flags.DEFINE_string("after", ".", "Another one.")
    flags.DEFINE_list("presets", ["tiny", "digits"], "What is run in both.")
    flags.DEFINE_list("flags", [], "More flags of the runs, without --.")


def run(checkout: pathlib.Path, preset: str, more: list[str]) -> pathlib.Path:
    """Run a preset with the code of a checkout; return its folder."""
    workdir = checkout.resolve() / _WORKDIR / preset
    command = [
        *(sys.executable, "-m", "run_scripts.noisy_student"),
        f"--preset={preset}",
        f"--workdir={workdir}",
        *(f"--{flag}" for flag in more),
    ]
    workdir.parent.mkdir(parents=True, exist_ok=True)
    with workdir.with_suffix(".log").open("a") as log:
        # The current folder comes before an installed package.
        subprocess.run(
            command, cwd=checkout, stdout=log, stderr=log, check=True
        )
    return workdir


def main(_: list[str]) -> None:
    """Run everything, then print."""
    checkouts = [flags.FLAGS.before, flags.FLAGS.after]
    differing: dict[str, list[str]] = {}
    num_compared = 0
    for preset in flags.FLAGS.presets:
        before, after = (
            run_digest.outcome(
                run(pathlib.Path(each), preset, flags.FLAGS.flags)
            )
            for each in checkouts
        )
        num_compared += len(before)
        differing[preset] = run_digest.differing(before, after)
        print(f"{preset}: {differing[preset] or 'identical'}", flush=True)
    print(json.dumps({"compared": num_compared, "differing": differing}))
    sys.exit(any(differing.values()))


if __name__ == "__main__":
    define_flags()
    app.run(main)
