"""Evaluate a classifier on a stream of labeled images."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_student_tf.evaluation import metrics


def evaluate(
    logits_fn: Callable[[tf.Tensor], tf.Tensor],
    stream: tf.data.Dataset,
    num_classes: int,
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
    totals = metrics.zeros(num_classes)
    for batch in stream:
        is_valid = batch["is_valid"].numpy()
        logits = np.asarray(logits_fn(batch["images"]), np.float32)
        if logits.shape[-1] != num_classes:
            raise ValueError(
                f"The model returns {logits.shape[-1]} logits per image, but "
                f"{num_classes} classes are evaluated."
            )
        totals = metrics.merge(
            totals,
            metrics.of_batch(
                logits[is_valid], batch["labels"].numpy()[is_valid]
            ),
        )
    return metrics.result(totals)
