"""The images of a run as arrays, for methods that are not ours."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_student_tf import configs, workdirs
from noisy_student_tf.evaluation import metrics
from noisy_student_tf.pipeline import eval_stream
from noisy_student_tf.records import shards

HELD_OUT = ("validation", "test")
_BATCH_SIZE = 1000

# What is known of each image, float32 [num_images, numbers], and labels int64
# [num_images], -1 where there are none.
Split = tuple[np.ndarray, np.ndarray]

# Images float32 [batch, side, side, 3] in [0, 255] -> float32 [batch, numbers].
Represent = Callable[[tf.Tensor], np.ndarray]


def read(
    data: workdirs.Workdir,
    resolution: int,
    represent: Represent,
    *,
    held_out: tuple[str, ...] = HELD_OUT,
    batch_size: int = _BATCH_SIZE,
) -> dict[str, Split]:
    """Read the images of a run, shown whole.

    Args:
        data: Of the run.
        resolution: Side of the images in pixels.
        represent: What is known of them.
        held_out: Which held-out splits.
        batch_size: Images that are represented at once.

    Returns:
        "train", "unlabeled" and the held-out splits -> images.
    """
    sets = {
        split: shards.open_split(data.labeled, split)
        for split in ("train", *held_out)
    }
    sets["unlabeled"] = shards.open_split(data.unlabeled, "unlabeled")
    return {
        name: _read(
            eval_stream.make_eval_stream(
                each, resolution=resolution, batch_size=batch_size, crop="whole"
            ),
            represent,
        )
        for name, each in sets.items()
    }


def _read(stream: tf.data.Dataset, represent: Represent) -> Split:
    numbers, labels = [], []
    for batch in stream:
        is_valid = batch["is_valid"].numpy()
        numbers.append(represent(batch["images"])[is_valid])
        labels.append(batch["labels"].numpy()[is_valid])
    return np.concatenate(numbers), np.concatenate(labels)


def gray_levels(images: tf.Tensor) -> np.ndarray:
    """Return gray levels, float32 [batch, side * side] in [0, 1]."""
    gray = tf.reduce_mean(images, axis=-1).numpy() / 255
    return gray.reshape(len(gray), -1)


def result_rows(
    config: configs.Config,
    model: str,
    weights: str,
    hits: Mapping[str, tuple[int, int]],
) -> Iterator[dict[str, Any]]:
    """Yield accuracies as `results.json` has them.

    Args:
        config: What was trained on, and at which resolution.
        model: Its name.
        weights: "raw" or "ema".
        hits: Split -> how many images are right, of how many.
    """
    for split, (num_correct, num_images) in hits.items():
        yield {
            "model": model,
            "set": config.preset,
            "split": split,
            "resolution": config.model.resolution,
            "weights": weights,
            "num_images": num_images,
            "accuracy": num_correct / num_images,
            "interval_95": metrics.wilson_interval(num_correct, num_images),
        }
