"""What the report says of pseudo-labels: counts, accuracy, and which to show.

Predictions and selections are streamed; memory grows with the number of
classes and of images with known labels, never with the number of images.
"""

import collections
import dataclasses
import heapq

import numpy as np

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import lookups, predictions, schema

NUM_BINS = 50
IMAGES_PER_GALLERY = 6


@dataclasses.dataclass(frozen=True, order=True)
class Pick:
    """A pseudo-labeled image to show."""

    confidence: float
    image_id: bytes
    class_id: int
    label: int
    copies: int
    shard_index: int

    @property
    def place(self) -> tuple[int, bytes]:
        """Where the picture is found: number of the shard, and id."""
        return self.shard_index, self.image_id

    @property
    def is_wrong(self) -> bool:
        """Tell whether the true class is known to be another one."""
        return self.label not in (schema.NO_LABEL, self.class_id)


@dataclasses.dataclass
class Counts:
    """Images per class of one set of pseudo-labels: int64 [num_classes].

    Attributes:
        images: By the teacher's class.
        known: Those of them whose true label is known.
        correct: Those of them that the teacher got right.
    """

    images: np.ndarray
    known: np.ndarray
    correct: np.ndarray

    @classmethod
    def zeros(cls, num_classes: int) -> "Counts":
        """Return counts of nothing."""
        return cls(*np.zeros((3, num_classes), np.int64))

    def add(self, class_ids: np.ndarray, labels: np.ndarray) -> None:
        """Count rows: both int [num_rows]."""
        num_classes = len(self.images)
        is_known = labels != schema.NO_LABEL
        for total, rows in (
            (self.images, slice(None)),
            (self.known, is_known),
            (self.correct, class_ids == labels),
        ):
            total += np.bincount(class_ids[rows], minlength=num_classes)

    @property
    def accuracy(self) -> float | None:
        """Return the share of correct ones among the known."""
        known = int(self.known.sum())
        return int(self.correct.sum()) / known if known else None

    def class_accuracy(self, class_id: int) -> float | None:
        """Return the same of one of the teacher's classes."""
        known = int(self.known[class_id])
        return int(self.correct[class_id]) / known if known else None


@dataclasses.dataclass(frozen=True)
class Predictions:
    """All of a teacher's pseudo-labels.

    Attributes:
        predicted: Every image.
        above: Images at or above the threshold.
        histogram: int64 [NUM_BINS] of confidences in [0, 1].
        known_histogram: The same of images whose label is known.
        correct_histogram: The same of images that are labeled right.
        confusion: (true class, the teacher's class) -> images.
    """

    predicted: Counts
    above: Counts
    histogram: np.ndarray
    known_histogram: np.ndarray
    correct_histogram: np.ndarray
    confusion: collections.Counter[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Selection:
    """The pseudo-labels that the student learns from.

    Attributes:
        selected: Images, each once.
        rows: int64 [num_classes]: images with their copies.
        most_confident, least_confident, wrong: class -> what to show of it.
    """

    selected: Counts
    rows: np.ndarray
    most_confident: dict[int, list[Pick]]
    least_confident: dict[int, list[Pick]]
    wrong: dict[int, list[Pick]]

    def picks(self) -> list[Pick]:
        """Return every image that is shown."""
        galleries = (self.most_confident, self.least_confident, self.wrong)
        return sorted(
            {
                pick
                for gallery in galleries
                for shown in gallery.values()
                for pick in shown
            }
        )


def read_truth(workdir: workdirs.Workdir) -> lookups.Lookup:
    """Read the true classes of unlabeled images, known to reports only."""
    path = files.join(workdir.unlabeled, "truth.parquet")
    return lookups.read(path, "label", dtype=np.int64, unknown=schema.NO_LABEL)


def read_predictions(
    directory: str, *, num_classes: int, threshold: float, truth: lookups.Lookup
) -> Predictions:
    """Count the pseudo-labels of a predictions directory."""
    result = Predictions(
        Counts.zeros(num_classes),
        Counts.zeros(num_classes),
        histogram=np.zeros(NUM_BINS, np.int64),
        known_histogram=np.zeros(NUM_BINS, np.int64),
        correct_histogram=np.zeros(NUM_BINS, np.int64),
        confusion=collections.Counter(),
    )
    columns = ["image_id", "class_id", "confidence"]
    for path in files.glob(files.join(directory, "predictions-*.parquet")):
        for batch in predictions.read_batches(path, columns):
            _count(
                result,
                class_ids=batch["class_id"].to_numpy(),
                confidences=batch["confidence"].to_numpy(),
                labels=truth.of(predictions.read_ids(batch, path)),
                threshold=threshold,
            )
    return result


def _count(
    result: Predictions,
    *,
    class_ids: np.ndarray,
    confidences: np.ndarray,
    labels: np.ndarray,
    threshold: float,
) -> None:
    """Add a batch's rows to the counts."""
    result.predicted.add(class_ids, labels)
    is_above = confidences >= np.float32(threshold)
    result.above.add(class_ids[is_above], labels[is_above])
    is_known = labels != schema.NO_LABEL
    for histogram, rows in (
        (result.histogram, slice(None)),
        (result.known_histogram, is_known),
        (result.correct_histogram, labels == class_ids),
    ):
        # A softmax may exceed 1 by its rounding.
        clipped = np.clip(confidences[rows], 0.0, 1.0)
        histogram += np.histogram(clipped, NUM_BINS, (0.0, 1.0))[0]
    pairs, counts = np.unique(
        np.stack([labels[is_known], class_ids[is_known]]),
        axis=1,
        return_counts=True,
    )
    result.confusion.update(
        dict(zip(map(tuple, pairs.T.tolist()), counts.tolist(), strict=True))
    )


def read_selection(
    directory: str,
    *,
    num_classes: int,
    classes: list[int],
    truth: lookups.Lookup,
) -> Selection:
    """Count what was selected, and pick what to show of some classes.

    Args:
        directory: A finished selection.
        num_classes: Classes of the teacher.
        classes: Those of which images are shown.
        truth: True labels, where known.
    """
    result = Selection(
        Counts.zeros(num_classes),
        np.zeros(num_classes, np.int64),
        most_confident={class_id: [] for class_id in classes},
        least_confident={class_id: [] for class_id in classes},
        wrong={class_id: [] for class_id in classes},
    )
    columns = ["image_id", "class_id", "confidence", "copies"]
    paths = files.glob(files.join(directory, "selection-*.parquet"))
    for shard_index, path in enumerate(paths):
        for batch in predictions.read_batches(path, columns):
            ids = predictions.read_ids(batch, path)
            class_ids, confidences, copies = (
                batch[name].to_numpy() for name in columns[1:]
            )
            labels = truth.of(ids)
            result.selected.add(class_ids, labels)
            np.add.at(result.rows, class_ids, copies)
            for class_id in classes:
                rows = np.flatnonzero(class_ids == class_id)
                candidates = [
                    Pick(
                        confidence=float(confidences[row]),
                        image_id=ids[row].tobytes(),
                        class_id=class_id,
                        label=int(labels[row]),
                        copies=int(copies[row]),
                        shard_index=shard_index,
                    )
                    for row in _extremes(rows, confidences, labels, class_id)
                ]
                _keep(result, class_id, candidates)
    return result


def _extremes(
    rows: np.ndarray,
    confidences: np.ndarray,
    labels: np.ndarray,
    class_id: int,
) -> list[int]:
    """Return the rows of a class that may be shown: the ends, the wrong."""
    order = rows[np.argsort(confidences[rows], kind="stable")]
    true_labels = labels[order]
    is_wrong = (true_labels != schema.NO_LABEL) & (true_labels != class_id)
    count = IMAGES_PER_GALLERY
    shown = (order[:count], order[-count:], order[is_wrong][-count:])
    return np.unique(np.concatenate(shown)).tolist()


def _keep(result: Selection, class_id: int, candidates: list[Pick]) -> None:
    """Merge a batch's candidates into the galleries of a class."""
    wrong = [pick for pick in candidates if pick.is_wrong]
    for gallery, new, keep in (
        (result.most_confident, candidates, heapq.nlargest),
        (result.least_confident, candidates, heapq.nsmallest),
        (result.wrong, wrong, heapq.nlargest),
    ):
        gallery[class_id] = keep(IMAGES_PER_GALLERY, gallery[class_id] + new)
