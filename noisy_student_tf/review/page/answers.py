"""A file of decisions while a page writes it, and others perhaps, too."""

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from noisy_student_tf import files
from noisy_student_tf.records import corrections


class Answers:
    """What was said so far.

    The file alone is the truth: what is added is appended, and then read back
    together with what other processes have appended.
    """

    def __init__(self, path: str, who: str) -> None:
        """Read a file of decisions; there may be none yet.

        Args:
            path: Local.
            who: Whose decisions are added.

        Raises:
            ValueError: The path is remote, or the file is another kind of one.
        """
        if files.is_remote(path):
            raise ValueError(
                f"--corrections={path}: decisions are written to a local file, "
                "since only its disk can be waited for. Name one, and copy it."
            )
        self.path = path
        # Numbers of half-written lines, from 1, when it was opened.
        self.damaged: list[int] = []
        if files.exists(path):
            self.damaged = corrections.read(path).damaged
        self.who = who
        self._lock = threading.RLock()
        self._num_bytes = 0
        self._said: list[corrections.Correction] = []
        self.refresh()

    @property
    def version(self) -> int:
        """How many decisions were read."""
        return len(self._said)

    def refresh(self) -> None:
        """Read what was appended since.

        A line without its end may be half of one: it is read when it has it.

        Raises:
            ValueError: A line is no decision.
        """
        with self._lock:
            size = os.path.getsize(self.path) if files.exists(self.path) else 0
            if size < self._num_bytes:
                # Somebody put another file in its place.
                self._num_bytes, self._said = 0, []
            if size == self._num_bytes:
                return
            with open(self.path, "rb") as file:
                file.seek(self._num_bytes)
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            found = corrections.parse(whole, self.path)
            self._said += found.corrections
            self._num_bytes += len(whole)

    def since(self, version: int) -> dict[bytes, corrections.Correction | None]:
        """Return what holds now of the images that were decided on since.

        Args:
            version: What `version` was then; 0: of all images.

        Returns:
            Image id -> what holds; None: nothing any more.
        """
        with self._lock:
            changed = {each.image_id for each in self._said[version:]}
            held = corrections.merge(
                each for each in self._said if each.image_id in changed
            ).answers
            return {image_id: held.get(image_id) for image_id in changed}

    def add(
        self,
        decided: Sequence[tuple[bytes, str | None]],
        shown: Sequence[Mapping[str, Any]],
    ) -> None:
        """Append decisions of one time, and wait for the disk.

        Args:
            decided: Image id, and its class or None for none of them.
            shown: What the person saw of each.

        Raises:
            OSError: The disk is full, or the file cannot be written.
        """
        with self._lock:
            when = corrections.now()
            self._append(
                [
                    corrections.Correction(
                        image_id=image_id,
                        decision="none" if name is None else "class",
                        class_name=name,
                        who=self.who,
                        when=when,
                        shown=seen,
                    )
                    for (image_id, name), seen in zip(
                        decided, shown, strict=True
                    )
                ]
            )

    def undo(self) -> list[bytes]:
        """Take back the person's last decision, or last batch.

        Returns:
            Ids of the images; none where nothing is left.

        Raises:
            OSError: See `add`.
        """
        with self._lock:
            self.refresh()
            back = corrections.takes_back(
                self._said, self.who, corrections.now()
            )
            self._append(back)
            return [each.image_id for each in back]

    def _append(self, added: list[corrections.Correction]) -> None:
        try:
            corrections.append(self.path, added)
        finally:
            # Of a batch that met a full disk the first lines may hold.
            self.refresh()
