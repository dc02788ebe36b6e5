"""Refuses workers that differ in what they must share, before they compute."""

import dataclasses
import hashlib
import re
import time
from collections.abc import Sequence

import tensorflow as tf
from absl import logging

from noisy_student_tf import configs, files
from noisy_student_tf.configs import config_tree
from noisy_student_tf.devices import runtime

# Storage refuses requests whose time is off by more than some minutes.
_MOST_CLOCK_SECONDS = 300
_DIGEST_BYTES = 6


@dataclasses.dataclass(frozen=True)
class Worker:
    """What one worker brings.

    Attributes:
        version: Of TensorFlow, 2_021_000 for 2.21.0.
        flags: Digest of the configuration that it was started with.
        seen: Digest of the run's configuration as it sees it; 0: it sees none.
        clock: Seconds since 1970.
    """

    version: int
    flags: int
    seen: int
    clock: int


def check(
    strategy: tf.distribute.Strategy,
    config: configs.Config,
    path: str,
) -> None:
    """Compare all workers; a clock that is off is a warning.

    Args:
        strategy: All of whose workers, several, call this.
        config: What this one was started with.
        path: Of the run's configuration, which the chief has written.

    Raises:
        ValueError: They have different versions of TensorFlow or were started
            with different flags, or some do not see the chief's files.
    """
    mine = Worker(
        version=version_number(tf.__version__),
        flags=_digest("\n".join(_what_matters(config))),
        seen=_digest(files.read_text(path)) if files.exists(path) else 0,
        clock=round(time.time()),
    )
    brought = runtime.agree(strategy, list(dataclasses.astuple(mine)))
    workers = [Worker(*numbers) for numbers in brought]
    if problems := find_problems(workers, path):
        raise ValueError("\n".join(problems))
    for index, worker in enumerate(workers):
        ahead = worker.clock - workers[0].clock
        if abs(ahead) > _MOST_CLOCK_SECONDS:
            logging.warning(
                "Worker %d's clock is %d s %s the chief's: set it, or remote "
                "storage may refuse its requests.",
                index,
                abs(ahead),
                "ahead of" if ahead > 0 else "behind",
            )


def _what_matters(config: configs.Config) -> list[str]:
    """Return lines that differ where two runs do; folders of a machine do not.

    Caches, for one, may lie elsewhere on every worker.
    """
    free = config_tree.fields_affecting("nothing")
    changed = config_tree.differences(configs.Config(), config)
    return [line for line in changed if line.split(":")[0] not in free]


def find_problems(workers: Sequence[Worker], path: str) -> list[str]:
    """Return a line for everything in which workers differ from the chief."""
    chief = workers[0]
    problems = []
    for index, worker in enumerate(workers):
        if worker.version != chief.version:
            problems.append(
                f"Worker {index} has TensorFlow {_version(worker.version)}, "
                f"the chief {_version(chief.version)}: install the same on all."
            )
        if worker.flags != chief.flags:
            problems.append(
                f"Worker {index} was started with other flags than the chief: "
                "give all the same command."
            )
        if worker.seen != chief.seen:
            problems.append(
                f"Worker {index} does not see {path} as the chief wrote it: "
                "--workdir must be a directory that all workers share, under "
                "the same name."
            )
    return problems


def version_number(text: str) -> int:
    """Return 2021000 for 2.21.0; what follows the three numbers is left out."""
    major, minor, patch = map(int, re.findall(r"\d+", text)[:3])
    return (major * 1000 + minor) * 1000 + patch


def _version(number: int) -> str:
    return f"{number // 10**6}.{number // 1000 % 1000}.{number % 1000}"


def _digest(text: str) -> int:
    digest = hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES)
    return int.from_bytes(digest.digest(), "big")
