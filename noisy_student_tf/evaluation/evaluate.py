"""Evaluate a classifier on a stream of labeled images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from noisy_student_tf.evaluation import metrics
from noisy_student_tf.records import held_out

LogitsFn = Callable[[tf.Tensor], tf.Tensor]

# What a row of results.json says of a model's accuracy.
_METRICS = (
    "num_images",
    "accuracy",
    "top5_accuracy",
    "loss",
    "calibration_error",
    "interval_95",
    *metrics.OF_CLASSES,
)


def evaluate(
    logits_fn: LogitsFn,
    stream: tf.data.Dataset,
    num_classes: int,
    *,
    keep: held_out.Keep | None = None,
) -> dict[str, Any]:
    """Return the metrics over all valid images of a stream, each counted once.

    Args:
        logits_fn: Images float32 [batch, height, width, 3] in [0, 255] to
            logits float32 [batch, num_classes]; compile it with tf.function.
        stream: Finite evaluation batches: `images`, `labels` int32 [batch],
            `is_valid` bool [batch], False for the padding of the last batch.
        num_classes: Classes of the logits.
        keep: Is given the logits, labels and ids of each batch's valid images;
            see `held_out.open_writer`.

    Returns:
        What `metrics.result` returns.

    Raises:
        ValueError: The stream is empty, a label is unknown, or the logits are
            not finite or of another number of classes.
    """
    views = {"all": None}
    return evaluate_views(logits_fn, stream, num_classes, views, keep=keep)[
        "all"
    ]


def evaluate_views(
    logits_fn: LogitsFn,
    stream: tf.data.Dataset,
    num_classes: int,
    views: Mapping[str, Sequence[int] | None],
    *,
    keep: held_out.Keep | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the metrics with different classes to choose from, in one pass.

    Args:
        logits_fn: See `evaluate`.
        stream: See `evaluate`.
        num_classes: Classes of the logits.
        views: Name -> the classes to choose from, in ascending order; None:
            all of them.
        keep: See `evaluate`.

    Returns:
        Name -> what `metrics.result` returns.

    Raises:
        ValueError: See `evaluate`.
    """
    totals = {
        name: metrics.zeros(num_classes if classes is None else len(classes))
        for name, classes in views.items()
    }
    for logits, labels, ids in valid_batches(logits_fn, stream, num_classes):
        for name, classes in views.items():
            seen = (logits, labels)
            if classes is not None:
                seen = metrics.restrict(logits, labels, classes)
            totals[name] = metrics.merge(totals[name], metrics.of_batch(*seen))
        if keep:
            keep(logits, labels, ids)
    return {name: metrics.result(total) for name, total in totals.items()}


def evaluate_and_keep(
    logits_fn: LogitsFn,
    stream: tf.data.Dataset,
    num_classes: int,
    *,
    path: str,
    class_names: Sequence[str],
    where: str,
) -> dict[str, Any]:
    """Return the metrics over all images and classes, and keep the logits.

    Args:
        logits_fn: See `evaluate`.
        stream: See `evaluate`; with the images' ids.
        num_classes: Classes of the logits.
        path: Where the logits stay; see `held_out`. The metrics of each class
            lie beside them.
        class_names: See `class_metrics.measure`.
        where: What the images are called in a warning.

    Returns:
        What `metrics.result` and `class_metrics.summarize` return.

    Raises:
        ValueError: See `evaluate`.
    """
    with held_out.open_writer(path, num_classes) as keep:
        measured = evaluate(logits_fn, stream, num_classes, keep=keep)
    return measured | _of_classes(path, class_names, where)


def measure_and_keep(
    rows: held_out.Rows, *, path: str, class_names: Sequence[str], where: str
) -> dict[str, Any]:
    """Return the metrics of what was said of each image, and keep that.

    Args:
        rows: Of all images; one at least.
        path: See `evaluate_and_keep`.
        class_names: See `evaluate_and_keep`.
        where: See `evaluate_and_keep`.

    Returns:
        What `evaluate_and_keep` returns.
    """
    with held_out.open_writer(path, len(class_names)) as keep:
        keep(rows.logits, rows.labels, [each.tobytes() for each in rows.ids])
    measured = metrics.result(metrics.of_batch(rows.logits, rows.labels))
    return measured | _of_classes(path, class_names, where)


def _of_classes(
    path: str, class_names: Sequence[str], where: str
) -> dict[str, Any]:
    """Measure each class of what is kept, and return what rows say of them."""
    # A training need not wait for scikit-learn before its first step.
    from noisy_student_tf.evaluation import class_metrics

    classes = class_metrics.measure(path, class_names)
    class_metrics.warn_of_missing(classes, where)
    class_metrics.write(path, classes)
    return class_metrics.summarize(classes)


def valid_batches(
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


def make_row(
    *,
    model: str,
    set: str,
    split: str,
    resolution: int,
    weights: Literal["ema", "raw", "given"],
    metrics: dict[str, Any],
) -> dict[str, Any]:
    """Return one row of `results.json`.

    Args:
        model: `teacher`, `student_1`, ..., `student_1_fixres`.
        set: Name of the data set.
        split: `validation` or `test`.
        resolution: Side of the test images in pixels.
        weights: Which of the model's weights; `given`: its probabilities
            were, and the resolution is not known, 0.
        metrics: What `evaluate_and_keep` returned.
    """
    row = {
        "model": model,
        "set": set,
        "split": split,
        "resolution": resolution,
        "weights": weights,
    }
    return row | {name: metrics[name] for name in _METRICS}
