"""Runs a study: arm after arm, seed after seed, one process at a time.

Every run has a folder of its own, `WORKDIR/ARM/seed_N`, as complete as if it
had been started by hand; what another run of the study has made already is
copied there first. A killed study goes on with the same command.
"""

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import logging

from noisy_student_tf import configs, files, recipes, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.evaluation import results
from noisy_student_tf.planning import compute
from noisy_student_tf.records import shards
from study import (
    experiments,
    run_records,
    sharing,
    studies,
)
from study.peers import fixmatch, frozen_features, pixels

# Besides training: evaluation, export and starting, as a share of it.
_OVERHEAD = 1.5

# A run's images, and the folder of a peer.
_WritePeer = Callable[[configs.Config, workdirs.Workdir, str], None]
_PEERS: Mapping[experiments.Kind, _WritePeer] = {
    "self_training_classifier": pixels.write,
    "frozen_features": frozen_features.write,
}

# Runs a command, which must succeed.
Execute = Callable[[list[str]], Any]


def run_command(command: list[str]) -> None:
    """Run a command, which must succeed, on this program's terminal."""
    # Not descriptor 2: what passes it is filtered, as TensorFlow's remarks.
    subprocess.run(command, check=True, stderr=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of the study.

    Attributes:
        experiment: What it is of.
        arm: Its configuration.
        seed: Of all its random draws.
        root: The study's folder.
        robustness: Whether arms that say so are measured under corruptions
            and attacks. Without, that can still be done later.
        semilearn_python: Interpreter of the environment of `fixmatch`.
    """

    experiment: experiments.Experiment
    arm: experiments.Arm
    seed: int
    root: str
    robustness: bool = True
    semilearn_python: str = ""

    @property
    def config(self) -> configs.Config:
        """The whole configuration."""
        config = self.experiment.resolve(
            self.arm, seed=self.seed, workdir=self.root
        )
        if self.robustness:
            return config
        return config_tree.override(config, {"evaluation.robustness": False})

    @property
    def workdir(self) -> workdirs.Workdir:
        """The folders."""
        return workdirs.Workdir(
            files.join(self.root, self.arm.name, f"seed_{self.seed}")
        )

    @property
    def is_finished(self) -> bool:
        """Tell whether the folder is complete."""
        return shards.is_finished(self.workdir.export) and (
            not self.config.evaluation.robustness
            or shards.is_finished(self.workdir.robustness)
        )


def jobs_of(
    study: studies.Study,
    *,
    seeds: Sequence[int],
    root: str,
    arms: Sequence[str] = (),
    robustness: bool = True,
    semilearn_python: str = "",
) -> Iterator[Job]:
    """Yield the runs of a study in order: a seed after the other.

    All of a seed's arms run before the next seed, so that a study that was
    stopped has whole comparisons. Of its arms those that are named run; by
    default all.

    Raises:
        ValueError: An arm that is named is none of the study's.
    """
    unknown = sorted(set(arms) - set(study.arms))
    if unknown:
        raise ValueError(
            f"--arms={','.join(unknown)}: {study.name} has "
            f"{', '.join(study.arms)}."
        )
    chosen = [name for name in study.arms if not arms or name in arms]
    for seed in seeds:
        for name in chosen:
            yield Job(
                study.experiment,
                study.experiment.arm(name),
                seed,
                root,
                robustness,
                semilearn_python,
            )


def run(
    jobs: Iterable[Job], records: str, execute: Execute = run_command
) -> None:
    """Run what is not finished of a study, and write its records.

    Args:
        jobs: The study's runs.
        records: Where the record of every finished run is written.
        execute: Runs a command, which must succeed.

    Raises:
        ValueError: The interpreter is missing, and a run needs it.
        subprocess.CalledProcessError: A run failed. The study goes on there.
    """
    todo = []
    for job in jobs:
        if is_recorded(job, records):
            logging.info("%s, seed %d: recorded.", job.arm.name, job.seed)
        else:
            todo.append(job)
    for job in todo:
        if job.arm.kind == "fixmatch":
            fixmatch.check_interpreter(job.semilearn_python)
    for job in todo[:1]:
        job.experiment.prepare(job.root)
    for job in todo:
        make(job, execute)
        run_records.write(records, _record(job))
        logging.info(
            "Wrote %s.", run_records.path_of(records, job.arm.name, job.seed)
        )


def is_recorded(job: Job, records: str) -> bool:
    """Tell whether a job's record holds all that the job makes.

    The record of a run that was stopped holds its finished models.
    """
    path = run_records.path_of(records, job.arm.name, job.seed)
    if not files.exists(path):
        return False
    rows = files.read_json(path)["results"]
    recipe = recipes.of(job.config)
    if not any(row["model"] == recipe.models[-1].name for row in rows):
        return False
    return not recipe.measures_robustness or any(
        map(results.is_robustness, rows)
    )


def record_begun(jobs: Iterable[Job], records: str) -> None:
    """Write the records of runs that were stopped: of their finished models.

    They count as unfinished, and are replaced when the runs are finished.

    Args:
        jobs: Without robustness, which can be measured later.
        records: Where the records are written.
    """
    for job in jobs:
        is_begun = job.arm.kind == "loop" and shards.is_finished(
            job.workdir.teacher
        )
        if is_begun and not is_recorded(job, records):
            run_records.write(records, _record(job))


def _record(job: Job) -> run_records.Record:
    if job.arm.kind != "loop":
        record = run_records.of_peer(job.workdir, job.config, job.arm.name)
    else:
        record = run_records.of_run(
            job.workdir, arm=job.arm.name, study_directory=job.root
        )
    if not job.experiment.hides_test:
        return record
    rows = [row for row in record["results"] if row["split"] != "test"]
    return record | {"results": rows}


def make(job: Job, execute: Execute) -> None:
    """Run one job, and before it those whose folders it needs.

    A run that is finished but not recorded is started again: it only prints.
    """
    for name in job.arm.needs:
        needed = _needed(job, name)
        if not needed.is_finished:
            make(needed, execute)
    if job.arm.kind != "loop":
        _make_peer(job)
        return
    if job.arm.images != "all":
        first = _needed(job, job.arm.needs[0])
        directory = experiments.PART_OF_IMAGES.format(
            workdir=job.root, images=job.arm.images, seed=job.seed
        )
        write = job.experiment.parts[job.arm.images]
        write(first.workdir, first.config, directory)
    for other in _folders(job):
        shared = sharing.share(other, job.workdir, job.config)
        if shared:
            logging.info("%s: took %s.", other.root, ", ".join(shared))
    execute(command(job))


def _needed(job: Job, name: str) -> Job:
    return dataclasses.replace(
        job, arm=job.experiment.arm(name), robustness=False
    )


def _make_peer(job: Job) -> None:
    data, directory = _needed(job, job.arm.needs[0]).workdir, job.workdir.root
    if job.arm.kind == "fixmatch":
        fixmatch.write(
            job.config,
            data,
            directory,
            python=job.semilearn_python,
            settings=job.arm.settings,
        )
    else:
        _PEERS[job.arm.kind](job.config, data, directory)


def _folders(job: Job) -> Iterator[workdirs.Workdir]:
    """Yield the folders of all runs that a job's study has begun."""
    for arm in job.experiment.arms:
        directory = files.join(job.root, arm.name)
        if files.is_directory(directory):
            for name in files.list_directory(directory):
                yield workdirs.Workdir(files.join(directory, name))


def command(job: Job) -> list[str]:
    """Return the command line that makes a job's folder."""
    name = job.experiment.preset
    preset = dict(config_tree.flatten(presets.preset(name)))
    return [
        sys.executable,
        "-m",
        "run_scripts.noisy_student",
        f"--workdir={job.workdir.root}",
        f"--preset={name}",
        *(
            f"--{field}={_text(value)}"
            for field, value in config_tree.flatten(job.config)
            if value != preset[field]
        ),
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def multiply_adds(job: Job) -> float:
    """Return the multiply-adds of training and labeling of a whole run.

    scikit-learn's classifiers count as nothing.
    """
    config = job.config
    if job.arm.kind == "fixmatch":
        views = fixmatch.num_views(config, job.arm.settings)
        each = compute.forward_multiply_adds(config.model, config)
        return views * compute.TRAINING_PASSES * each
    if job.arm.kind != "loop":
        return 0.0
    num_images = job.experiment.num_images
    # 0 per class stands for all images.
    num_labeled = (
        config.data.labeled_per_class * config.data.num_classes or num_images
    )
    num_unlabeled = num_images - num_labeled
    data = compute.Data(
        num_labeled=num_labeled,
        num_unlabeled=num_unlabeled,
        num_rows=num_unlabeled,
        num_selected=num_unlabeled,
    )
    return sum(each.multiply_adds for each in compute.stages(config, data))


def describe(
    jobs: Iterable[Job], records: str, *, multiply_adds_per_second: float
) -> str:
    """Return the runs of a study, what is finished, and what each costs.

    The estimate is of a run that shares nothing with another.
    """
    lines = []
    seconds = 0.0
    for job in jobs:
        cost = _OVERHEAD * multiply_adds(job) / multiply_adds_per_second
        is_done = is_recorded(job, records)
        state = "recorded" if is_done else f"about {cost / 60:.0f} minutes"
        lines.append(f"{job.arm.name}, seed {job.seed}: {state}")
        if not is_done:
            seconds += cost
            if job.arm.kind == "loop":
                lines.append("  " + " ".join(command(job)[1:]))
    lines.append(f"to do: about {seconds / 60:.0f} minutes")
    return "\n".join(lines)
