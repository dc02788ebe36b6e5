"""What a training run records and shows of itself. Edge.

`metrics.jsonl` is the record: one JSON object a line, `kind` "train" or
"validation". TensorBoard gets the same numbers under `kind/name`.
"""

import contextlib
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm
from absl import logging
from PIL import Image, ImageDraw

from noisy_student_tf import files

# Holds scalars; examples and profiles lie in folders of their own in it.
TENSORBOARD = "tensorboard"

_KEYS = ("kind", "step")

# Of the picture of the first batch.
_MAX_IMAGES = 24
_COLUMNS = 8
_MIN_SIDE = 96
_CAPTION_PIXELS = 14


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
        self,
        directory: str,
        *,
        title: str,
        start_step: int,
        total_steps: int,
        is_writer: bool,
    ) -> None:
        """Open the record, without what follows the restored step.

        Of several processes one writes; the others' logs stay empty and are
        silent.
        """
        self._path = files.join(directory, "metrics.jsonl")
        self._title = title
        self._total_steps = total_steps
        self._is_writer = is_writer
        self._validations: dict[int, dict[str, Any]] = {}
        self._is_terminal = is_writer and sys.stderr.isatty()
        self._bar = tqdm.tqdm(
            desc=title,
            total=total_steps,
            initial=start_step,
            unit="step",
            dynamic_ncols=True,
            disable=not self._is_terminal,
        )
        self._writer = tf.summary.create_noop_writer()
        if is_writer:
            self._open(directory, start_step)

    def _open(self, directory: str, start_step: int) -> None:
        records = [
            record
            for record in read(self._path)
            if record["step"] <= start_step
        ]
        files.write_text(self._path, "".join(map(_line, records)))
        # Event files cannot be cut: they are drawn again from the record.
        tensorboard = files.join(directory, TENSORBOARD)
        files.make_directories(tensorboard)
        for name in files.list_directory(tensorboard):
            path = files.join(tensorboard, name)
            if not files.is_directory(path):
                files.remove(path)
        self._writer = tf.summary.create_file_writer(tensorboard)
        for record in records:
            self._draw(record)
            if record["kind"] == "validation":
                self._validations[record["step"]] = record
        self._writer.flush()

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
        if not self._is_writer:
            return
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


def draw_batch(
    directory: str, batch: dict[str, np.ndarray], class_names: Sequence[str]
) -> None:
    """Draw a batch's first images into TensorBoard's examples.

    Labeled and unlabeled images become a picture each, with labels beneath
    them: of unlabeled images the likeliest class and its probability, where
    the batch knows it.

    For the batch see `step.compute_gradients`; without names, classes are shown
    by their numbers.
    """

    def name(label: int) -> str:
        return class_names[label] if class_names else str(label)

    shown = {key: values[:_MAX_IMAGES] for key, values in batch.items()}
    captions = {"labeled": [name(label) for label in shown["labels"]]}
    if "unlabeled_images" in shown:
        captions["unlabeled"] = [
            f"{name(int(row.argmax()))} {100 * row.max():.0f} %"
            for row in shown.get("soft_labels", ())
        ] or [""] * len(shown["unlabeled_images"])
    path = files.join(directory, TENSORBOARD, "examples")
    files.remove(path)
    writer = tf.summary.create_file_writer(path)
    with contextlib.closing(writer), writer.as_default(step=0):
        for part, texts in captions.items():
            picture = _grid(shown[f"{part}_images"], texts)
            tf.summary.image(f"examples/{part}", picture[np.newaxis])


def _grid(images: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """Return images [num_images, side, side, 3] as one, captions below."""
    side = max(images.shape[1], _MIN_SIDE)
    tile = (side, side + _CAPTION_PIXELS)
    columns = min(_COLUMNS, len(images))
    rows = math.ceil(len(images) / columns)
    grid = Image.new("RGB", (columns * tile[0], rows * tile[1]), "white")
    pen = ImageDraw.Draw(grid)
    for index, (image, caption) in enumerate(
        zip(images, captions, strict=True)
    ):
        left = index % columns * tile[0]
        top = index // columns * tile[1]
        picture = Image.fromarray(np.asarray(image))
        nearest = Image.Resampling.NEAREST
        grid.paste(picture.resize((side, side), nearest), (left, top))
        # The built-in font draws Latin-1 alone.
        text = caption.encode("latin-1", "replace").decode("latin-1")
        pen.text((left + 2, top + side + 1), text[: side // 6], fill="black")
    return np.asarray(grid)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"
