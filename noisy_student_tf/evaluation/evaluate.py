"""Evaluate a classifier on a stream of labeled images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_student_tf.evaluation import label_sets, metrics

LogitsFn = Callable[[tf.Tensor], tf.Tensor]


def evaluate(
    logits_fn: LogitsFn, stream: tf.data.Dataset, num_classes: int
) -> dict[str, Any]:
    """Return the metrics over all valid images of a stream, each counted once.

    Args:
        logits_fn: Images float32 [batch, height, width, 3] in [0, 255] to
            logits float32 [batch, num_classes]; compile it with tf.function.
        stream: Finite evaluation batches: `images`, `labels` int32 [batch],
            `is_valid` bool [batch], False for the padding of the last batch.
        num_classes: Classes of the logits.

    Returns:
        What `metrics.result` returns.

    Raises:
        ValueError: The stream is empty, a label is unknown, or the logits are
            not finite or of another number of classes.
    """
    return evaluate_views(logits_fn, stream, num_classes, {"all": None})["all"]


def evaluate_views(
    logits_fn: LogitsFn,
    stream: tf.data.Dataset,
    num_classes: int,
    views: Mapping[str, Sequence[int] | None],
) -> dict[str, dict[str, Any]]:
    """Return the metrics with different classes to choose from, in one pass.

    Args:
        logits_fn: See `evaluate`.
        stream: See `evaluate`.
        num_classes: Classes of the logits.
        views: Name -> the classes to choose from, in ascending order; None:
            all of them.

    Returns:
        Name -> what `metrics.result` returns.

    Raises:
        ValueError: See `evaluate`.
    """
    totals = {
        name: metrics.zeros(num_classes if classes is None else len(classes))
        for name, classes in views.items()
    }
    for logits, labels, _ in _valid(logits_fn, stream, num_classes):
        for name, classes in views.items():
            seen = (logits, labels)
            if classes is not None:
                seen = label_sets.restrict(logits, labels, classes)
            totals[name] = metrics.merge(totals[name], metrics.of_batch(*seen))
    return {name: metrics.result(total) for name, total in totals.items()}


def evaluate_multi_label(
    logits_fn: LogitsFn,
    stream: tf.data.Dataset,
    num_classes: int,
    right_classes: Mapping[bytes, Sequence[int]],
) -> dict[str, Any]:
    """Return the accuracies where an image may have several right classes.

    Args:
        logits_fn: See `evaluate`.
        stream: See `evaluate`; its labels are not read.
        num_classes: Classes of the logits.
        right_classes: Id -> right classes; images without any do not count.

    Returns:
        What `metrics.result` returns; loss, calibration error and what is
        said of single classes are None: one right class would be needed.

    Raises:
        ValueError: No image has a right class, or the logits do not fit.
    """
    totals = {"num_images": 0, "num_correct": 0, "num_in_top5": 0}
    for logits, _, image_ids in _valid(logits_fn, stream, num_classes):
        counts = label_sets.multi_label_result(
            logits, [right_classes[image_id] for image_id in image_ids]
        )
        totals = {name: totals[name] + counts[name] for name in totals}
    num_images = totals["num_images"]
    if not num_images:
        raise ValueError("No image of the set has a right class.")
    return {
        "num_images": num_images,
        "accuracy": totals["num_correct"] / num_images,
        "top5_accuracy": totals["num_in_top5"] / num_images,
        "loss": None,
        "calibration_error": None,
        "interval_95": metrics.wilson_interval(
            totals["num_correct"], num_images
        ),
        "per_class_accuracy": None,
        "reliability": None,
    }


def _valid(
    logits_fn: LogitsFn, stream: tf.data.Dataset, num_classes: int
) -> Iterator[tuple[np.ndarray, np.ndarray, list[bytes]]]:
    """Yield logits, labels and ids of the images that are no padding."""
    for batch in stream:
        is_valid = batch["is_valid"].numpy()
        logits = np.asarray(logits_fn(batch["images"]), np.float32)
        if logits.shape[-1] != num_classes:
            raise ValueError(
                f"The model returns {logits.shape[-1]} logits per image, but "
                f"{num_classes} classes are evaluated."
            )
        image_ids = batch["image_ids"].numpy() if "image_ids" in batch else []
        yield (
            logits[is_valid],
            batch["labels"].numpy()[is_valid],
            [i for i, v in zip(image_ids, is_valid, strict=False) if v],
        )
