"""What a training run records and shows. Edge.

`metrics.jsonl` is the record: one JSON object a line, `kind` "train" or
"validation". TensorBoard gets the same numbers under `kind/name`.
"""

import contextlib
import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm
from absl import logging

from noisy_student_tf import files

# Holds scalars; examples and profiles lie in folders of their own in it.
TENSORBOARD = "tensorboard"

_KEYS = ("kind", "step")


def read(path: str) -> list[dict[str, Any]]:
    """Return the records of a metrics file, none if it does not exist.

    The last line is left out if a killed run wrote it halfway.
    """
    if not files.exists(path):
        return []
    *lines, last = files.read_text(path).split("\n")
    if last:
        logging.warning("%s: an unfinished last line was left out.", path)
    return [json.loads(line) for line in lines]


class TrainingLog:
    """The record of one run, in its directory and on the terminal."""

    def __init__(
        self, directory: str, *, title: str, start_step: int, total_steps: int
    ) -> None:
        """Open the record, without what follows the restored step.

        Args:
            directory: Holds `metrics.jsonl` and `tensorboard/`.
            title: The run's name on the terminal.
            start_step: Steps made so far.
            total_steps: Steps of the whole run.
        """
        self._path = files.join(directory, "metrics.jsonl")
        self._title = title
        self._total_steps = total_steps
        records = [
            record
            for record in read(self._path)
            if record["step"] <= start_step
        ]
        text = "".join(_line(record) for record in records)
        files.write_text(self._path, text)
        # Event files cannot be cut: they are drawn again from the record.
        tensorboard = files.join(directory, TENSORBOARD)
        _remove_files(tensorboard)
        self._writer = tf.summary.create_file_writer(tensorboard)
        for record in records:
            self._draw(record)
        self._validations: dict[int, dict[str, Any]] = {
            r["step"]: r for r in records if r["kind"] == "validation"
        }
        self._writer.flush()
        self._is_terminal = sys.stderr.isatty()
        self._bar = tqdm.tqdm(
            desc=title,
            total=total_steps,
            initial=start_step,
            unit="step",
            dynamic_ncols=True,
            disable=not self._is_terminal,
        )

    def validation_of(self, step: int | None = None) -> dict[str, float]:
        """Return the metrics of a step's validation, or of the last; or {}."""
        if step is None:
            step = max(self._validations, default=-1)
        return {
            name: value
            for name, value in self._validations.get(step, {}).items()
            if name not in _KEYS
        }

    def advance(self, num_steps: int) -> None:
        """Move the progress bar, where there is a terminal to show it."""
        self._bar.update(num_steps)

    def write(
        self, record: dict[str, Any], seconds_left: float | None = None
    ) -> None:
        """Add a record to the file and to TensorBoard, and show it."""
        with files.open_file(self._path, "a") as file:
            file.write(_line(record))
        self._draw(record)
        self._writer.flush()
        if record["kind"] == "train":
            self._bar.set_postfix_str(
                f"{record['images_per_second']:.0f} images/s", refresh=False
            )
        else:
            self._validations[record["step"]] = record
        self._show(record, seconds_left)

    def close(self) -> None:
        """Finish the progress bar and TensorBoard's file."""
        self._bar.close()
        self._writer.close()

    def _draw(self, record: dict[str, Any]) -> None:
        with self._writer.as_default(step=record["step"]):
            for name, value in record.items():
                if name not in _KEYS:
                    tf.summary.scalar(f"{record['kind']}/{name}", value)

    def _show(self, record: dict[str, Any], seconds_left: float | None) -> None:
        text = f"{self._title}: step {record['step']}/{self._total_steps}, "
        text += ", ".join(
            f"{name.replace('_', ' ')} {value:.4g}"
            for name, value in record.items()
            if name not in _KEYS
        )
        if seconds_left is not None:
            text += f", {seconds_left / 60:.1f} min left"
        if self._is_terminal:
            self._bar.write(text, file=sys.stderr)
        else:
            logging.info("%s", text)


def draw_images(directory: str, pictures: dict[str, np.ndarray]) -> None:
    """Write pictures, uint8 [height, width, 3], to TensorBoard's examples."""
    path = files.join(directory, TENSORBOARD, "examples")
    files.remove(path)
    writer = tf.summary.create_file_writer(path)
    with contextlib.closing(writer), writer.as_default(step=0):
        for name, picture in pictures.items():
            tf.summary.image(f"examples/{name}", picture[np.newaxis])


def _remove_files(directory: str) -> None:
    if not files.is_directory(directory):
        return
    for name in files.list_directory(directory):
        path = files.join(directory, name)
        if not files.is_directory(path):
            files.remove(path)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"
