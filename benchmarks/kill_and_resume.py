"""Kill a tiny run at random moments, and compare what it ends with.

    python -m benchmarks.kill_and_resume --trials=20

One run is left undisturbed. Each trial takes the stages that it finished
before one of them, starts the run there, kills it without a warning at a
random moment of that stage, and lets the same command finish. What must be
the same, bit for bit: weights, averages, the record of losses, predictions,
selections, pseudo-labeled shards, exported classifier's fingerprint and
accuracies. Trials go through all stages in turn; moments are drawn in seconds
of the processor, so that it may run beside other work. The last line is a
JSON object.
"""

import json
import pathlib
import random
import shutil

from absl import app, flags

from benchmarks import killed_run, run_digest


def define_flags() -> None:
    """Define the flags."""
    flags.DEFINE_integer("trials", 20, "Kills.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of the moments.")
    flags.DEFINE_string("workdir", "runs/kill_and_resume", "Where runs go.")


def run_undisturbed(root: pathlib.Path) -> dict[str, float]:
    """Run to the end; return the processor's seconds of each stage."""
    began: dict[str, float] = {}
    ended: dict[str, float] = {}

    def look(seconds: float) -> bool:
        for stage in killed_run.STAGES:
            if (root / stage).exists():
                began.setdefault(stage, seconds)
        for stage in killed_run.finished_stages(root):
            ended.setdefault(stage, seconds)
        return False

    process = killed_run.start(root)
    killed_run.follow(process, look)
    process.join()
    killed_run.check_ended_well(process, root)
    return {stage: ended[stage] - began[stage] for stage in began}


def begin_at(stage: str, undisturbed: pathlib.Path, root: pathlib.Path) -> None:
    """Copy the configuration and the stages before one."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    shutil.copy(undisturbed / "config.json", root)
    stages = killed_run.STAGES
    for name in stages[: stages.index(stage)]:
        shutil.copytree(undisturbed / name, root / name)


def kill_within(root: pathlib.Path, stage: str, moment: float) -> str:
    """Start, kill so long after a stage began; return where that was."""
    began: list[float] = []

    def look(seconds: float) -> bool:
        if not began and (root / stage).exists():
            began.append(seconds)
        return bool(began) and seconds - began[0] >= moment

    process = killed_run.start(root)
    killed_run.follow(process, look)
    process.kill()
    process.join()
    done = killed_run.finished_stages(root)
    if len(done) == len(killed_run.STAGES):
        return "the end"
    reached = killed_run.STAGES[len(done)]
    saved = sorted((root / reached).glob("checkpoints/*/manifest.json"))
    steps = f", {saved[-1].parent.name} saved" if saved else ""
    return f"{reached}{steps}"


def finish_and_compare(
    root: pathlib.Path, expected: dict[str, str]
) -> list[str]:
    """Run to the end; return what differs, or why it did not end."""
    try:
        killed_run.finish(root)
    except RuntimeError as error:
        return [str(error)]
    return run_digest.differing(expected, run_digest.outcome(root))


def main(_: list[str]) -> None:
    """Run everything, then print."""
    killed_run.prepare()
    root = pathlib.Path(flags.FLAGS.workdir)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    undisturbed, killed = root / "undisturbed", root / "killed"
    seconds = run_undisturbed(undisturbed)
    expected = run_digest.outcome(undisturbed)
    print("seconds of the stages:", json.dumps(seconds), flush=True)
    draw = random.Random(flags.FLAGS.seed)
    identical, reached = 0, []
    for trial in range(flags.FLAGS.trials):
        # All stages in turn; the moment within is drawn.
        stage = killed_run.STAGES[trial % len(killed_run.STAGES)]
        begin_at(stage, undisturbed, killed)
        moment = draw.uniform(0, seconds[stage])
        reached.append(kill_within(killed, stage, moment))
        differing = finish_and_compare(killed, expected)
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
    define_flags()
    app.run(main)
