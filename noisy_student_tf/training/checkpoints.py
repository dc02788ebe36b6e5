"""Checkpoints of a run: complete, verified, and the newest few kept. Edge.

A checkpoint is a directory `step-00001000` of TensorFlow checkpoint files and
a manifest with their checksums, written last: without it the directory counts
as unfinished, since object stores cannot rename one in a single step.
"""

import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from noisy_student_tf import files
from noisy_student_tf.records import shards
from noisy_student_tf.training import state

_DIRECTORY = re.compile(r"step-(\d{8,})")
_MANIFEST = "manifest.json"
_PREFIX = "state"


class Checkpoints:
    """The checkpoints of one training run."""

    def __init__(
        self, directory: str, train_state: state.TrainState, *, keep: int
    ) -> None:
        """Name what is saved, and remove what a killed run left unfinished.

        Args:
            directory: Holds the checkpoints; created if missing.
            train_state: What is saved and restored.
            keep: How many checkpoints are kept, the newest.
        """
        self._directory = directory
        self._keep = keep
        self._state = train_state
        # Variables by their order, not the Keras objects: TensorFlow does not
        # see layers in lists, and would silently leave theirs out.
        self._checkpoint = tf.train.Checkpoint(
            model=_variables(train_state.model.weights),
            ema_model=_variables(train_state.ema_model.weights),
            optimizer=_variables(train_state.optimizer.variables),
        )
        files.make_directories(directory)
        for step in self._steps():
            if not files.exists(self._path(step, _MANIFEST)):
                files.remove(self._path(step))

    def save(self, extra: dict[str, Any] | None = None) -> None:
        """Save the state of the present step, then remove the oldest.

        Args:
            extra: Kept beside it, as JSON; `restore` returns it.

        Raises:
            FloatingPointError: A weight is not finite. Nothing is saved.
        """
        self._check_finite()
        step = self._state.step
        files.remove(self._path(step))
        files.make_directories(self._path(step))
        self._checkpoint.write(self._path(step, _PREFIX))
        names = files.list_directory(self._path(step))
        content = {
            "step": step,
            "checksums": {
                name: shards.fingerprint(self._path(step, name))
                for name in names
            },
            "extra": extra or {},
        }
        files.write_json(self._path(step, _MANIFEST), content)
        for old in self._steps()[: -self._keep]:
            self._remove(old)

    def restore(self) -> dict[str, Any] | None:
        """Restore the newest checkpoint whose files are as they were saved.

        Damaged ones are reported and removed, so that the run's record has
        one history.

        Returns:
            What `save` was given, or None where there is no checkpoint.

        Raises:
            ValueError: The checkpoint is of another model, or all that there
                are are damaged.
        """
        damaged = []
        for step in reversed(self._steps()):
            content = self._verified(step)
            if content is None:
                damaged.append(step)
                continue
            self._read(step)
            for damaged_step in damaged:
                self._remove(damaged_step)
            return content["extra"]
        if damaged:
            raise ValueError(
                f"{self._directory}: every checkpoint is damaged (steps "
                f"{damaged}). Restore one from a copy, or remove the "
                "directory to train from the beginning."
            )
        return None

    def _verified(self, step: int) -> dict[str, Any] | None:
        """Return a checkpoint's manifest, or None if a file is damaged."""
        path = self._path(step)
        try:
            content = files.read_json(self._path(step, _MANIFEST))
            for name, checksum in content["checksums"].items():
                if shards.fingerprint(self._path(step, name)) != checksum:
                    raise ValueError(f"{name} is not as it was saved")
        except (ValueError, KeyError, files.NotFoundError) as error:
            logging.error("%s: damaged checkpoint passed over: %s", path, error)
            return None
        return content

    def _read(self, step: int) -> None:
        prefix = self._path(step, _PREFIX)
        try:
            status = self._checkpoint.read(prefix)
            status.assert_existing_objects_matched()
            status.assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise ValueError(
                f"{prefix}: the checkpoint is of another model or optimizer "
                "than the configuration names. Train into another directory, "
                f"or restore the configuration. TensorFlow says: {error}"
            ) from error
        logging.info("Restored step %d from %s", step, self._path(step))

    def _check_finite(self) -> None:
        for variable in self._state.model.weights:
            if not tf.reduce_all(tf.math.is_finite(variable.value)):
                raise FloatingPointError(
                    f"{variable.path} is not finite after step "
                    f"{self._state.step}; no checkpoint was saved, and "
                    f"{self._directory} keeps the steps {self._steps()}. "
                    "Lower --optimizer.base_learning_rate or set "
                    "--optimizer.global_clip_norm."
                )

    def _remove(self, step: int) -> None:
        # The manifest first: what is half removed counts as unfinished.
        files.remove(self._path(step, _MANIFEST))
        files.remove(self._path(step))

    def _steps(self) -> list[int]:
        matches = map(
            _DIRECTORY.fullmatch, files.list_directory(self._directory)
        )
        return sorted(int(match[1]) for match in matches if match)

    def _path(self, step: int, *names: str) -> str:
        return files.join(self._directory, f"step-{step:08d}", *names)


def _variables(variables: Sequence[keras.Variable]) -> list[tf.Variable]:
    return [variable.value for variable in variables]
