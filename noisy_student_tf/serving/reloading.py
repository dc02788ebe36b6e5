"""The model that is served, and a newer export in its place.

An export appears by being renamed, as a whole. What cannot be opened, or does
not answer, leaves the earlier model where it is.
"""

import asyncio
import io
import os
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import PIL.Image
from absl import logging

from noisy_student_tf import files
from noisy_student_tf.serving import exported, prediction_log, runtimes

# Which files tell one export from another, and what of each of them.
_FILES = ("saved_model.pb", "variables/variables.index", "assets/model.json")
_Mark = tuple[tuple[int, ...], ...]


class Answer(NamedTuple):
    """A prediction, and one name a class of the model that made it."""

    prediction: exported.Prediction
    class_names: tuple[str, ...]


class Models:
    """Holds the export that a directory has, and exchanges it."""

    def __init__(
        self,
        path: str,
        *,
        runtime: str = runtimes.SAVED_MODEL,
        log: prediction_log.PredictionLog | None = None,
        count_reload: Callable[[bool], None] = lambda is_good: None,
    ) -> None:
        """Open what is there.

        Args:
            path: See `exported.open_export`.
            runtime: Likewise.
            log: Is told of everything that is classified.
            count_reload: Is told whether another export could be taken.

        Raises:
            FileNotFoundError: There is no SavedModel.
            ValueError: It is of another version or not of this project, or
                it does not answer.
            ImportError: The runtime is not installed.
        """
        self._path = path
        self._runtime = runtime
        self._log = log
        self._count_reload = count_reload
        self._mark = _mark_of(path)
        self._refused: _Mark | None = None
        self._current = _open(path, runtime)

    @property
    def current(self) -> exported.Exported:
        """The export that answers now."""
        return self._current

    def classify(self, pictures: Sequence[bytes]) -> list[Answer]:
        """Return what the current export says of encoded pictures."""
        export = self._current
        predictions = list(
            exported.classify(
                export, pictures, batch_size=max(1, len(pictures))
            )
        )
        if self._log:
            fingerprint = export.model["training_fingerprint"]
            self._log.add(pictures, predictions, model=fingerprint)
        return [Answer(each, export.class_names) for each in predictions]

    async def watch(self, seconds: float) -> None:
        """Look for another export now and then, until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.look)

    def look(self) -> bool:
        """Take another export, if there is one; return whether it was taken."""
        mark = _mark_of(self._path)
        if mark is None or mark == self._mark:
            return False
        try:
            opened = _open(self._path, self._runtime)
        except Exception as error:
            # Whatever is wrong with it, the earlier one goes on. It is tried
            # again: it may be on its way.
            if mark != self._refused:
                logging.error("%s is not taken: %s", self._path, error)
                self._count_reload(False)
            self._refused = mark
            return False
        # Should it be replaced while it is read, the next look tells.
        self._mark, self._current = mark, opened
        self._count_reload(True)
        logging.info("%s: another export answers from now on.", self._path)
        return True


def _open(path: str, runtime: str) -> exported.Exported:
    """Open an export, and let it answer once before anybody asks."""
    opened = exported.open_export(path, runtime=runtime)
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8)).save(buffer, "PNG")
    (prediction,) = exported.classify(opened, [buffer.getvalue()])
    if not prediction.is_valid:
        raise ValueError(
            f"{opened.directory}: a PNG is not decoded. Export it again."
        )
    return opened


def _mark_of(path: str) -> _Mark | None:
    """Return what changes with the export; None while there is none."""
    try:
        directory = exported.find(path)
        return (
            *(_mark_of_file(files.join(directory, f)) for f in _FILES),
            # What lies beside it may be written later, or not at all.
            *(
                _mark_of_file(path) if files.exists(path) else ()
                for path in runtimes.manifests(directory)
            ),
        )
    except files.errors():
        return None


def _mark_of_file(path: str) -> tuple[int, ...]:
    if files.is_remote(path):
        return (zlib.crc32(files.read_bytes(path)),)
    stat = os.stat(path)
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
