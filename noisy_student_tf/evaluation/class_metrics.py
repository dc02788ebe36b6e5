"""Metrics of single classes, and the means over them, as scikit-learn's.

Counts, precision, recall and F1 are of the chosen classes; areas under the
receiver operating characteristic (AUROC) and average precisions are of the
probabilities, one class against the rest. What the images do not determine is
None and left out of means: it is neither 0 nor 1.
"""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging
from sklearn import metrics as sklearn_metrics

from noisy_student_tf import files
from noisy_student_tf.evaluation import metrics
from noisy_student_tf.records import held_out

# Where an image has several right classes, or a part of the model's to choose
# from, no single class is measured.
UNKNOWN: dict[str, Any] = dict.fromkeys(metrics.OF_CLASSES)

_NUM_NAMED = 5


@dataclasses.dataclass(frozen=True)
class ClassMetrics:
    """What is measured of one class.

    Attributes:
        name: Of the class.
        num_images: Images that are of it.
        num_predicted: Images that it was chosen for.
        precision: Share of right ones among the chosen; None where it was
            never chosen.
        recall: Share of its images that it was chosen for; None without
            images.
        f1: Harmonic mean of both, 0 where nothing was right; None without
            images.
        auroc: Of its probability; None unless there are images of it and
            others.
        average_precision: Of its probability; None like `auroc`.
    """

    name: str
    num_images: int
    num_predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    auroc: float | None
    average_precision: float | None


@dataclasses.dataclass(frozen=True)
class Measured:
    """What is measured of all classes.

    Attributes:
        classes: One each.
        confusions: (true class, chosen class, images) of all pairs that
            occur, in ascending order.
    """

    classes: tuple[ClassMetrics, ...]
    confusions: tuple[tuple[int, int, int], ...]

    def matrix(self) -> np.ndarray:
        """Return the confusion matrix, int64 [true class, chosen class]."""
        counts = np.zeros([len(self.classes)] * 2, np.int64)
        for true, chosen, images in self.confusions:
            counts[true, chosen] = images
        return counts


def measure(path: str, class_names: Sequence[str] = ()) -> Measured:
    """Measure what a model said of each held-out image.

    Memory holds a few numbers an image, and a few columns of probabilities.

    Args:
        path: A file of `held_out`.
        class_names: One a class; empty: they are called by their numbers.

    Raises:
        ValueError: See `held_out.read`.
    """
    choices = held_out.read_choices(path)
    num_classes = held_out.num_classes(path)
    names = class_names or [str(index) for index in range(num_classes)]
    *shares, num_images = sklearn_metrics.precision_recall_fscore_support(
        choices.labels,
        choices.classes,
        labels=range(num_classes),
        zero_division=np.nan,
    )
    num_predicted = np.bincount(choices.classes, minlength=num_classes)
    classes = []
    for index, probabilities in enumerate(held_out.read_probabilities(path)):
        precision, recall, f1 = (_defined(values[index]) for values in shares)
        auroc, average_precision = _ranking(
            choices.labels == index, probabilities
        )
        each = ClassMetrics(
            name=names[index],
            num_images=int(num_images[index]),
            num_predicted=int(num_predicted[index]),
            precision=precision,
            recall=recall,
            f1=f1 if num_images[index] else None,
            auroc=auroc,
            average_precision=average_precision,
        )
        classes.append(each)
    return Measured(tuple(classes), _confusions(choices))


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _ranking(
    is_positive: np.ndarray, probabilities: np.ndarray
) -> tuple[float | None, float | None]:
    """Return AUROC and average precision where there are both kinds."""
    if is_positive.all() or not is_positive.any():
        return None, None
    return (
        float(sklearn_metrics.roc_auc_score(is_positive, probabilities)),
        float(
            sklearn_metrics.average_precision_score(is_positive, probabilities)
        ),
    )


def _confusions(
    choices: held_out.Choices,
) -> tuple[tuple[int, int, int], ...]:
    pairs = zip(choices.labels.tolist(), choices.classes.tolist(), strict=True)
    counts = collections.Counter(pairs)
    return tuple((*pair, counts[pair]) for pair in sorted(counts))


def summarize(measured: Measured) -> dict[str, Any]:
    """Return what a row of `results.json` says of the classes together.

    Returns:
        majority_rate, the share of the most frequent class; macro_f1 and
        balanced_accuracy, the means of F1 and recall over the classes that
        have images; auroc and average_precision, the means over the classes
        for which they are defined. Of two classes average_precision is that of
        positive_class: the one with fewer images, of equally many the second;
        elsewhere positive_class is None.
    """
    classes = measured.classes
    num_images = [each.num_images for each in classes]
    average_precisions = [each.average_precision for each in classes]
    positive = positive_class(num_images)
    if positive is not None:
        average_precisions = [average_precisions[positive]]
    return {
        "majority_rate": max(num_images) / sum(num_images),
        "macro_f1": _mean([each.f1 for each in classes]),
        "balanced_accuracy": _mean([each.recall for each in classes]),
        "auroc": _mean([each.auroc for each in classes]),
        "average_precision": _mean(average_precisions),
        "positive_class": positive,
    }


def positive_class(num_images: Sequence[int]) -> int | None:
    """Return which of two classes is sought, None of more.

    Args:
        num_images: Of each class.
    """
    if len(num_images) != 2:
        return None
    return int(num_images[1] <= num_images[0])


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def write(path: str, measured: Measured) -> None:
    """Write the classes beside what they were measured of.

    Args:
        path: Of the file of `held_out`.
        measured: What `measure` returned.
    """
    files.write_json(classes_path(path), dataclasses.asdict(measured))


def read(path: str) -> Measured | None:
    """Read what `write` wrote; None if it was not.

    Args:
        path: Of the file of `held_out`.
    """
    if not files.exists(classes_path(path)):
        return None
    content = files.read_json(classes_path(path))
    return Measured(
        tuple(ClassMetrics(**each) for each in content["classes"]),
        tuple((*counts,) for counts in content["confusions"]),
    )


def classes_path(path: str) -> str:
    """Return `held_out_test_classes.json` of `held_out_test.parquet`."""
    return path.removesuffix(".parquet") + "_classes.json"


def warn_of_missing(measured: Measured, where: str) -> None:
    """Say in the log which classes nothing is measured of.

    Args:
        measured: What `measure` returned.
        where: What the images are called.
    """
    missing = [each.name for each in measured.classes if not each.num_images]
    if missing:
        logging.warning(
            "%s: there are no images of %d of %d classes (%s%s): nothing is "
            "said of them, and means leave them out.",
            where,
            len(missing),
            len(measured.classes),
            ", ".join(missing[:_NUM_NAMED]),
            ", ..." if len(missing) > _NUM_NAMED else "",
        )
