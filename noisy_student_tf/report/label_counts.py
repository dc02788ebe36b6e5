"""What the report says of pseudo-labels: counts, accuracy, and which to show.

Predictions and selections are streamed; memory grows with the number of
classes and of images with known labels, never with the number of images.
"""

import collections
import dataclasses
import heapq
from collections.abc import Sequence

import numpy as np

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import lookups, parquet_files, schema, shards

NUM_BINS = 50
_EDGES = np.linspace(0.0, 1.0, NUM_BINS + 1, dtype=np.float32)[1:-1]
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
    """Images by class, or by bin of confidence: int64 [num_places].

    Attributes:
        images: By the teacher's class, or its confidence.
        known: Those of them whose true label is known.
        correct: Those of them that the teacher got right.
    """

    images: np.ndarray
    known: np.ndarray
    correct: np.ndarray

    @classmethod
    def zeros(cls, num_places: int) -> "Counts":
        """Return counts of nothing."""
        return cls(*np.zeros((3, num_places), np.int64))

    def add(
        self, places: np.ndarray, class_ids: np.ndarray, labels: np.ndarray
    ) -> None:
        """Count rows at their places: all int [num_rows]."""
        for total, rows in (
            (self.images, slice(None)),
            (self.known, labels != schema.NO_LABEL),
            (self.correct, labels == class_ids),
        ):
            total += np.bincount(places[rows], minlength=len(total))

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
        predicted: Every image, by class.
        above: Images at or above the threshold, by class.
        by_confidence: Every image, in `NUM_BINS` bins that divide [0, 1].
        confusion: (true class, the teacher's class) -> images.
    """

    predicted: Counts
    above: Counts
    by_confidence: Counts
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


def read(
    workdir: workdirs.Workdir, iteration: int, classes: Sequence[int] = ()
) -> tuple[Predictions, Selection | None]:
    """Count an iteration's pseudo-labels, and those that were selected.

    Args:
        workdir: Of the run; the predictions are finished.
        iteration: Whose pseudo-labels.
        classes: Those of which selected images are picked to be shown.

    Returns:
        All, and the selected ones; None where the selection is unfinished.
    """
    num_classes = len(shards.read_manifest(workdir.labeled)["class_names"])
    truth = read_truth(workdir)
    labels = _read_predictions(workdir, iteration, num_classes, truth)
    directory = workdir.selection(iteration)
    if not shards.is_finished(directory):
        return labels, None
    return labels, _read_selection(directory, num_classes, classes, truth)


def _read_predictions(
    workdir: workdirs.Workdir,
    iteration: int,
    num_classes: int,
    truth: lookups.Lookup,
) -> Predictions:
    threshold = workdirs.read_config(workdir).selection.confidence_threshold
    result = Predictions(
        Counts.zeros(num_classes),
        Counts.zeros(num_classes),
        Counts.zeros(NUM_BINS),
        collections.Counter(),
    )
    columns = ["image_id", "class_id", "confidence"]
    pattern = files.join(
        workdir.predictions(iteration), "predictions-*.parquet"
    )
    for path in files.glob(pattern):
        for batch in parquet_files.read_batches(path, columns):
            class_ids, confidences = (
                batch[name].to_numpy() for name in columns[1:]
            )
            labels = truth.of(parquet_files.image_ids(batch["image_id"], path))
            is_above = confidences >= np.float32(threshold)
            # A softmax may exceed 1 by its rounding: the last bin is open.
            bins = np.digitize(confidences, _EDGES)
            result.predicted.add(class_ids, class_ids, labels)
            result.above.add(
                class_ids[is_above], class_ids[is_above], labels[is_above]
            )
            result.by_confidence.add(bins, class_ids, labels)
            is_known = labels != schema.NO_LABEL
            pairs = np.stack([labels, class_ids], axis=1)[is_known]
            result.confusion.update(sorted(map(tuple, pairs.tolist())))
    return result


def _read_selection(
    directory: str,
    num_classes: int,
    classes: Sequence[int],
    truth: lookups.Lookup,
) -> Selection:
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
        for batch in parquet_files.read_batches(path, columns):
            ids = parquet_files.image_ids(batch["image_id"], path)
            class_ids, confidences, copies = (
                batch[name].to_numpy() for name in columns[1:]
            )
            labels = truth.of(ids)
            result.selected.add(class_ids, class_ids, labels)
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
    rows: np.ndarray, confidences: np.ndarray, labels: np.ndarray, class_id: int
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
