"""A queue on disk: which pictures are shown, and why each."""

import dataclasses
from typing import Any, Literal

import numpy as np

from noisy_student_tf import files
from noisy_student_tf.review import places

Name = Literal[
    "label_next",
    "wrong_labels",
    "wrong_pseudo_labels",
    "none_of_the_classes",
]
NUM_BEST = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A picture that is shown.

    Attributes:
        place: Where it lies.
        best: The most probable classes with their probabilities, the best
            first, of the queue's model.
        label: The label in question; None: it has none.
        suggested: What it seems to be; None: none of the classes.
        why: Why it is shown.
    """

    place: places.Place
    best: tuple[tuple[str, float], ...]
    label: str | None
    suggested: str | None
    why: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Queue:
    """Pictures in the order in which a minute is worth most.

    Attributes:
        name: Of its file.
        title: On the page.
        about: What is in it, and how it was found.
        model: Whose probabilities are shown.
        missing: What it lacks and how that is made; empty: nothing.
        entries: The pictures.
    """

    name: Name
    title: str
    about: str
    model: str = ""
    missing: str = ""
    entries: tuple[Entry, ...] = ()


def write(directory: str, queue: Queue) -> None:
    """Write a queue to its file."""
    content = dataclasses.asdict(queue)
    for entry in content["entries"]:
        entry["place"]["image_id"] = entry["place"]["image_id"].hex()
    files.write_json(_path(directory, queue.name), content)


def read(directory: str, name: str) -> Queue:
    """Read a queue.

    Raises:
        FileNotFoundError: There is none.
    """
    content = files.read_json(_path(directory, name))
    found = tuple(_entry(entry) for entry in content.pop("entries"))
    return Queue(**content, entries=found)


def _path(directory: str, name: str) -> str:
    return files.join(directory, f"{name}.json")


def _entry(content: dict[str, Any]) -> Entry:
    place = content.pop("place")
    image_id = bytes.fromhex(place.pop("image_id"))
    best = tuple((name, share) for name, share in content.pop("best"))
    return Entry(
        place=places.Place(image_id=image_id, **place), best=best, **content
    )


def best_of(
    probabilities: np.ndarray, class_names: list[str]
) -> tuple[tuple[str, float], ...]:
    """Return the most probable classes: float [num_classes] -> pairs."""
    order = np.argsort(-probabilities, kind="stable")[:NUM_BEST]
    return tuple(
        (class_names[i], round(float(probabilities[i]), 4)) for i in order
    )


def percent(share: float) -> str:
    """Return a share as people read it."""
    return f"{100 * share:.0f} %"
