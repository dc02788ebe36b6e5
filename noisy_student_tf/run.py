"""What every stage is given, and what the stages share."""

import dataclasses
import hashlib

import tensorflow as tf
from absl import logging

from noisy_student_tf import config as configuration
from noisy_student_tf import files
from noisy_student_tf import workdir as workdirs
from noisy_student_tf.model import spec as specs
from noisy_student_tf.pipeline import decode
from noisy_student_tf.records import shards


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage is given.

    Attributes:
        config: The resolved configuration.
        workdir: The folders.
        strategy: Where models live and compute.
    """

    config: configuration.Config
    workdir: workdirs.Workdir
    strategy: tf.distribute.Strategy


def is_done(directory: str, title: str) -> bool:
    """Tell whether a stage is finished, and say so in the log."""
    if shards.is_finished(directory):
        logging.info("%s: finished already (%s)", title, directory)
        return True
    logging.info("%s -> %s", title, directory)
    files.make_directories(directory)
    return False


def final_model(run: Run) -> str:
    """Return the folder of the model that a run ends with."""
    if run.config.fixres.resolution:
        return run.workdir.fixres
    return run.workdir.model(run.config.self_training.num_iterations)


def test_crop(spec: specs.ModelSpec) -> decode.TestCrop:
    """Return the test crop: small images are shown whole."""
    return "whole" if spec.small_image_strides else "center"


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
