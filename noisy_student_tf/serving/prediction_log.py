"""Keeps what was answered, and pictures that the model was not sure of.

Nothing that fails here stops an answer. Pictures are kept only if asked for,
and no more of them than was allowed: they are the next unlabeled heap.
"""

import asyncio
import dataclasses
import datetime
import threading
from collections.abc import Sequence

from absl import logging

from noisy_student_tf import files
from noisy_student_tf.records import pictures as picture_files
from noisy_student_tf.records import served_predictions
from noisy_student_tf.serving import exported

# What waits to be written, at most.
_MAX_ROWS = 10_000


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is kept, and where.

    Attributes:
        directory: Of the Parquet files; pictures lie in `pictures/` below it.
        keep_below: Confidence in [0, 1]; pictures of a lower one are kept. 0:
            none.
        max_pictures: That are kept, with those of earlier servers.
        max_bytes: Of them all.
        write_seconds: How often rows are written.
    """

    directory: str
    keep_below: float = 0.0
    max_pictures: int = 10_000
    max_bytes: int = 1 << 30
    write_seconds: float = 60.0


class PredictionLog:
    """Collects rows from the thread that classifies, and writes them."""

    def __init__(self, settings: Settings) -> None:
        """See what is kept already.

        Raises:
            OSError: The directory cannot be written.
        """
        self._settings = settings
        self._pictures = files.join(settings.directory, "pictures")
        self._lock = threading.Lock()
        self._rows: list[served_predictions.Row] = []
        self._has_failed = False
        files.make_directories(
            self._pictures if settings.keep_below else settings.directory
        )
        self._kept: set[str] = set()
        self._num_bytes = 0
        if settings.keep_below:
            for entry in files.scan_directory(self._pictures):
                path = files.join(self._pictures, entry.name)
                self._kept.add(entry.name)
                self._num_bytes += files.size_bytes(path)

    def add(
        self,
        pictures: Sequence[bytes],
        predictions: Sequence[exported.Prediction],
        *,
        model: str,
    ) -> None:
        """Keep what was answered; undecodable pictures are left out.

        Args:
            pictures: Encoded, as they were classified.
            predictions: One each.
            model: Fingerprint of the weights.
        """
        now = datetime.datetime.now(datetime.UTC)
        with self._lock:
            for picture, prediction in zip(pictures, predictions, strict=True):
                if not prediction.is_valid:
                    continue
                row = served_predictions.Row(
                    image_id=served_predictions.image_id(picture),
                    time=now,
                    model=model,
                    class_index=prediction.class_index,
                    confidence=prediction.confidence,
                    energy=prediction.energy,
                )
                self._rows.append(row)
                if row.confidence < self._settings.keep_below:
                    self._keep(row.image_id, picture)
            is_full = len(self._rows) >= _MAX_ROWS
        if is_full:
            self.write()

    def write(self) -> None:
        """Write what was collected; it is dropped if it cannot be written."""
        with self._lock:
            rows, self._rows = self._rows, []
        if not rows:
            return
        try:
            served_predictions.write(self._settings.directory, rows)
            self._has_failed = False
        except files.errors() as error:
            self._tell(error)

    async def write_now_and_then(self) -> None:
        """Write what was collected until cancelled."""
        while True:
            await asyncio.sleep(self._settings.write_seconds)
            await asyncio.to_thread(self.write)

    def _keep(self, image_id: bytes, picture: bytes) -> None:
        name = f"{image_id.hex()}.{picture_files.kind_of(picture)}"
        limits = self._settings
        if (
            name in self._kept
            or len(self._kept) >= limits.max_pictures
            or self._num_bytes + len(picture) > limits.max_bytes
        ):
            return
        try:
            files.write_bytes(files.join(self._pictures, name), picture)
        except files.errors() as error:
            self._tell(error)
            return
        self._kept.add(name)
        self._num_bytes += len(picture)

    def _tell(self, error: Exception) -> None:
        """Say once that something cannot be written."""
        if not self._has_failed:
            logging.error(
                "--prediction_log=%s: not written (%s). Answers go on without "
                "being logged.",
                self._settings.directory,
                error,
            )
        self._has_failed = True
