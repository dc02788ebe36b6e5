"""What every stage is given, and what the stages share."""

import dataclasses
import hashlib
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.devices import cluster
from noisy_student_tf.model import specs
from noisy_student_tf.pipeline import decode
from noisy_student_tf.records import shards


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage is given.

    Attributes:
        config: The resolved configuration.
        workdir: The folders.
        strategy: Where models live and compute.
        profile_steps: Between which steps of every training TensorFlow is
            profiled; None: never.
    """

    config: configs.Config
    workdir: workdirs.Workdir
    strategy: tf.distribute.Strategy
    profile_steps: tuple[int, int] | None = None


def on_chief(run: Run, stage: Callable[[], object]) -> None:
    """Let the chief do something, and all workers wait until it is done."""
    if cluster.is_chief(run.strategy):
        stage()
    cluster.wait_for_all(run.strategy)


def is_done(directory: str, title: str) -> bool:
    """Tell whether a stage is finished, and say so in the log."""
    if shards.is_finished(directory):
        logging.info("%s: finished already (%s)", title, directory)
        return True
    logging.info("%s -> %s", title, directory)
    files.make_directories(directory)
    return False


def final_model(run: Run) -> str:
    """Return the folder of the model that a run ends with.

    That is the fine-tuned student, unless fine-tuning made it worse on the
    validation images: where training crops do not magnify what they show,
    a higher resolution is a change of scale that the network has not seen.
    """
    student = run.workdir.model(run.config.self_training.num_iterations)
    if not run.config.fixres.resolution:
        return student
    before, after = map(_validation_accuracy, (student, run.workdir.fixres))
    if before is None or after is None or after >= before:
        return run.workdir.fixres
    logging.warning(
        "FixRes fine-tuning lowered the validation accuracy from %.2f %% to "
        "%.2f %%: the student before it is exported.",
        100 * before,
        100 * after,
    )
    return student


def _validation_accuracy(directory: str) -> float | None:
    """Return a model's accuracy at its own resolution, if it was measured."""
    manifest = shards.read_manifest(directory)
    for row in manifest["results"]:
        if (row["split"], row["resolution"]) == (
            "validation",
            manifest["resolution"],
        ):
            return row["accuracy"]
    return None


def test_crop(spec: specs.ModelSpec) -> decode.TestCrop:
    """Return how a model's test images are cut."""
    return decode.test_crop(spec.small_image_strides)


def class_names(run: Run) -> list[str]:
    """Return the names of the labeled images' classes."""
    return shards.read_manifest(run.workdir.labeled)["class_names"]


def model_name(iteration: int) -> str:
    """Return the name of a student, counted from 1, or of the teacher."""
    return f"student_{iteration}" if iteration else "teacher"


def stage_seed(seed: int, name: str) -> int:
    """Return the seed of one stage, in [0, 2^31)."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
