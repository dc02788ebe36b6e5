"""Checkpoints of a run: complete, verified, and the newest few kept. Edge.

A checkpoint is a directory `step-00001000` of TensorFlow checkpoint files and
a manifest with their checksums, written last: without it the directory counts
as unfinished, since object stores cannot rename one in a single step.

Saving copies the variables to the host; a thread writes the copies while
training goes on. It is one thread for the whole run: the memory allocator
keeps what a thread freed for that thread, so that one per save would grow the
process by the writer's buffers each time (130 MB were seen).

`tf.train.Checkpoint` writes such files as well, but traces a graph at every
save, and does not see layers in lists. Keras' names depend on what a process
built before, so variables are named by their place: `model/00012`.
"""

import concurrent.futures
import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from noisy_student_tf import files
from noisy_student_tf.records import shards
from noisy_student_tf.training import losses, state

_DIRECTORY = re.compile(r"step-(\d{8,})")
_MANIFEST = "manifest.json"
_PREFIX = "state"
_DAMAGED = (ValueError, KeyError, FileNotFoundError, tf.errors.NotFoundError)


class Checkpoints:
    """The checkpoints of one training run."""

    def __init__(
        self,
        directory: str,
        train_state: state.TrainState,
        *,
        keep: int,
        is_writer: bool,
    ) -> None:
        """Name what is saved, and remove what a killed run left unfinished.

        Args:
            directory: Holds the checkpoints; created if missing.
            train_state: What is saved and restored.
            keep: How many checkpoints are kept, the newest; the one of the
                best score is kept beside them.
            is_writer: Whether this process saves; of several, one does.

        Raises:
            ValueError: The disk has too little room.
        """
        self._directory = directory
        self._keep = keep
        self._is_writer = is_writer
        self._state = train_state
        self._variables = train_state.variables()
        self._copies: dict[str, list[np.ndarray]] = {}
        self._writer = concurrent.futures.ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="checkpoints"
        )
        self._writing: concurrent.futures.Future[None] | None = None
        if not is_writer:
            return
        files.make_directories(directory)
        for step in self._steps():
            if not files.exists(self._path(step, _MANIFEST)):
                files.remove(self._path(step))
        self._check_room()

    def save(self, extra: dict[str, Any], *, score: float | None) -> None:
        """Copy the state of the present step; a thread writes the copy.

        The oldest checkpoints are removed then.

        Args:
            extra: Kept beside it, as JSON; `restore` returns it.
            score: How good it is; the best one is kept. None: not known.

        Raises:
            NotFiniteError, OSError: See `wait`, of the save before.
        """
        self.wait()
        if not self._is_writer:
            return
        self._copy_to_host()
        content = {"step": self._state.step, "extra": extra, "score": score}
        self._writing = self._writer.submit(self._write_checked, content)

    def wait(self) -> None:
        """Return when the last save is on disk.

        Raises:
            NotFiniteError: A weight was not finite. Nothing was saved.
            OSError: It could not be written. Nothing else was lost.
        """
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def _copy_to_host(self) -> None:
        if not self._copies:
            self._copies = {
                part: [
                    np.empty(variable.shape, variable.dtype.as_numpy_dtype)
                    for variable in variables
                ]
                for part, variables in self._variables.items()
            }
        for part, variables in self._variables.items():
            pairs = zip(self._copies[part], variables, strict=True)
            for copy, variable in pairs:
                # Into the same memory each time: a tf.Variable would share
                # the weights' memory and send the next step for new, until
                # that lies in pieces.
                np.copyto(copy, variable.read_value().numpy())

    def _write_checked(self, content: dict[str, Any]) -> None:
        step = content["step"]
        self._check_finite(step)
        try:
            self._write(content)
        except (OSError, tf.errors.OpError) as error:
            with contextlib.suppress(OSError, tf.errors.OpError):
                files.remove(self._path(step))
            raise OSError(
                f"{self._path(step)}: the checkpoint could not be written. "
                f"{self._directory} keeps the steps "
                f"{[s for s in self._steps() if s != step]}: mend the path or "
                "free some room, and the same command goes on from the "
                f"newest. The cause: {error}"
            ) from error

    def _write(self, content: dict[str, Any]) -> None:
        step = content["step"]
        files.remove(self._path(step))
        files.make_directories(self._path(step))
        prefix = self._path(step, _PREFIX)
        files.ask(prefix, lambda: write_variables(prefix, self._copies))
        names = files.list_directory(self._path(step))
        checksums = {
            name: shards.fingerprint(self._path(step, name)) for name in names
        }
        files.write_json(
            self._path(step, _MANIFEST), {**content, "checksums": checksums}
        )
        best = self.best_step()
        for old in self._steps()[: -self._keep]:
            if old != best:
                self._remove(old)

    def best_step(self) -> int | None:
        """Return the step of the best score, the last of equals, or None."""
        scores = {}
        for step in self._steps():
            path = self._path(step, _MANIFEST)
            if files.exists(path):
                scores[step] = files.read_json(path).get("score")
        scored = [step for step in scores if scores[step] is not None]
        return max(scored, key=lambda step: (scores[step], step), default=None)

    def read_models(self, step: int) -> None:
        """Read the models of a step, and leave the optimizer as it is.

        Raises:
            ValueError: Its files are damaged, or of another model.
        """
        if self._verified(step) is None:
            raise ValueError(
                f"{self._path(step)}: the best checkpoint is damaged. Restore "
                "it from a copy, or train with --training.final_weights=last."
            )
        self._read(step, ["model", "ema_model"])

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
            self._read(step, list(self._variables))
            if self._is_writer:
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
        except _DAMAGED as error:
            logging.error("%s: damaged checkpoint passed over: %s", path, error)
            return None
        return content

    def _read(self, step: int, parts: Sequence[str]) -> None:
        prefix = self._path(step, _PREFIX)
        try:
            read_variables(
                prefix, {part: self._variables[part] for part in parts}
            )
        except ValueError as error:
            raise ValueError(
                f"{prefix}: the checkpoint is of another model or optimizer "
                "than the configuration names. Train into another directory, "
                f"or restore the configuration. {error}"
            ) from error
        logging.info("Restored step %d from %s", step, self._path(step))

    def _check_room(self) -> None:
        """Refuse a disk that could not hold the checkpoints to be kept."""
        num_bytes = sum(
            variable.shape.num_elements() * variable.dtype.size
            for variables in self._variables.values()
            for variable in variables
        )
        # The newest, the best, and the one being written.
        missing = max(1, self._keep + 2 - len(self._steps()))
        free = files.free_bytes(self._directory)
        if free is not None and free < missing * num_bytes:
            raise ValueError(
                f"--training.keep_checkpoints={self._keep}: checkpoints in "
                f"{self._directory} will need {missing * num_bytes / 1e9:.2f} "
                f"GB more, {free / 1e9:.2f} GB are free. Free some, keep "
                "fewer, or name another --workdir."
            )

    def _check_finite(self, step: int) -> None:
        weights = self._state.model.weights
        for weight, copy in zip(weights, self._copies["model"], strict=True):
            if not np.isfinite(copy).all():
                raise losses.NotFiniteError(
                    f"{weight.path} is not finite after step {step}; no "
                    f"checkpoint was saved, and {self._directory} keeps the "
                    f"steps {self._steps()}. {losses.ADVICE}",
                    step=step,
                    is_seen_by_all=False,
                )

    def _remove(self, step: int) -> None:
        # The manifest first: what is half removed counts as unfinished.
        files.remove(self._path(step, _MANIFEST))
        files.remove(self._path(step))

    def _steps(self) -> list[int]:
        names = files.list_directory(self._directory)
        matches = map(_DIRECTORY.fullmatch, names)
        return sorted(int(match[1]) for match in matches if match)

    def _path(self, step: int, *names: str) -> str:
        return files.join(self._directory, f"step-{step:08d}", *names)


def write_variables(
    prefix: str, parts: Mapping[str, Sequence[np.ndarray]]
) -> None:
    """Write values to `prefix.index` and `prefix.data-00000-of-00001`.

    Raises:
        tf.errors.OpError: They could not be written.
    """
    named = _named(parts)
    with tf.device("/cpu:0"):
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=list(named),
            shape_and_slices=[""] * len(named),
            tensors=list(named.values()),
        )


def read_variables(
    prefix: str, parts: Mapping[str, Sequence[tf.Variable]]
) -> None:
    """Read variables; the files' other parts are left alone.

    Raises:
        ValueError: The files hold other variables, or cannot be read; nothing
            was assigned then.
    """
    try:
        # tf.train.load_checkpoint takes a prefix in ram:// for a directory.
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(f"{prefix} cannot be read: {error}") from error
    named = _named(parts)
    found = {
        name: (shape, reader.get_variable_to_dtype_map()[name])
        for name, shape in reader.get_variable_to_shape_map().items()
        if name.split("/")[0] in parts
    }
    expected = {
        name: (variable.shape.as_list(), variable.dtype)
        for name, variable in named.items()
    }
    if found != expected:
        raise ValueError(_difference(found, expected))
    for name, variable in named.items():
        variable.assign(reader.get_tensor(name))


def _named(parts: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    return {
        f"{part}/{index:05d}": value
        for part, values in parts.items()
        for index, value in enumerate(values)
    }


def _difference(
    found: Mapping[str, object], expected: Mapping[str, object]
) -> str:
    differing = [
        f"{name} is {found.get(name, 'missing')} in the files, "
        f"{expected.get(name, 'missing')} in the run"
        for name in sorted({*found, *expected})
        if found.get(name) != expected.get(name)
    ]
    return f"{len(differing)} variables differ: {'; '.join(differing[:3])}"
