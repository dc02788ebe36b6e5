"""How the classes of an evaluation set meet those of a model.

A set may hold a part of the model's classes (ImageNet-A and -R: 200 of 1000),
or several right classes an image (ReaL).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_student_tf.evaluation import evaluate, metrics

_SYNSET = re.compile(r"n\d{8}")
_VALIDATION_FILE = re.compile(r"ILSVRC2012_val_(\d{8})")
_NUM_NAMED = 5


def map_classes(
    set_names: Sequence[str],
    *,
    model_names: Sequence[str],
    num_classes: int,
    synsets: Sequence[str] = (),
    where: str,
) -> list[int]:
    """Return the model's class of each class of a set.

    Names decide; where the model has none, or ImageNet's, synsets or numbers
    do.

    Args:
        set_names: Of the set's classes, such as its folders' names.
        model_names: Of the model's classes; may be empty.
        num_classes: Of the model.
        synsets: ImageNet's, in the order of its classes.
        where: What the set was read from, for messages.

    Raises:
        ValueError: The classes do not match.
    """
    known = {name: index for index, name in enumerate(model_names)}
    if known and all(name in known for name in set_names):
        return [known[name] for name in set_names]
    if num_classes == len(synsets) and all(map(_SYNSET.fullmatch, set_names)):
        places = {name: index for index, name in enumerate(synsets)}
        if all(name in places for name in set_names):
            return [places[name] for name in set_names]
    numbers = [int(name) for name in set_names if name.isdecimal()]
    is_numbered = len(numbers) == len(set_names) and set_names
    if is_numbered and max(numbers) < num_classes:
        return numbers
    if not known and len(set_names) == num_classes:
        return list(range(num_classes))
    raise ValueError(
        f"{where}: its {len(set_names)} classes {_some(set_names)} do not "
        f"match the {num_classes} of the model {_some(model_names)}. Give a "
        "set of the model's classes, or a model of the set's."
    )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NUM_NAMED])
    return f"[{shown}, ...]" if len(names) > _NUM_NAMED else f"[{shown}]"


def real_labels(
    content: Sequence[Sequence[int]], keys: Sequence[str], where: str
) -> list[list[int]]:
    """Return the ReaL labels of validation images.

    Args:
        content: Of `real.json`: the right classes of each validation image,
            in the order of the files' numbers.
        keys: Which images: paths or names with ILSVRC2012_val_NNNNNNNN.
        where: What they were read from, for messages.

    Raises:
        ValueError: A key does not tell the number of the image.
    """
    found = []
    for key in keys:
        match = _VALIDATION_FILE.search(key)
        if not match or not 1 <= int(match[1]) <= len(content):
            raise ValueError(
                f"{where}: {key!r} does not tell which validation image it "
                "is; ReaL labels belong to files named "
                "ILSVRC2012_val_00000001.JPEG and so on, "
                f"up to {len(content):08d}. Read them as folder:DIR."
            )
        found.append(list(content[int(match[1]) - 1]))
    return found


def multi_label_result(
    logits: np.ndarray, label_sets: Sequence[Sequence[int]]
) -> Mapping[str, int]:
    """Count right images where several classes may be right.

    An image without any right class is left out. Top-5 is right if any of
    the five is a right class.

    Args:
        logits: float [batch, num_classes].
        label_sets: The right classes of each image.

    Returns:
        num_images, num_correct, num_in_top5.
    """
    order = np.argsort(-logits, axis=1, kind="stable")[:, : metrics.TOP_K]
    counts = {"num_images": 0, "num_correct": 0, "num_in_top5": 0}
    for best, right in zip(order, label_sets, strict=True):
        if not len(right):
            continue
        counts["num_images"] += 1
        counts["num_correct"] += int(best[0] in right)
        counts["num_in_top5"] += int(any(c in right for c in best))
    return counts


def evaluate_multi_label(
    logits_fn: evaluate.LogitsFn,
    stream: tf.data.Dataset,
    num_classes: int,
    right_classes: Mapping[bytes, Sequence[int]],
) -> dict[str, Any]:
    """Return the accuracies where an image may have several right classes.

    Args:
        logits_fn: See `evaluate.evaluate`.
        stream: See `evaluate.evaluate`; its labels are not read.
        num_classes: Classes of the logits.
        right_classes: Id -> right classes; images without any do not count.

    Returns:
        What `metrics.result` returns; loss, calibration error and what is
        said of single classes are None: one right class would be needed.

    Raises:
        ValueError: No image has a right class, or the logits do not fit.
    """
    totals = {"num_images": 0, "num_correct": 0, "num_in_top5": 0}
    for logits, _, image_ids in evaluate.valid_batches(
        logits_fn, stream, num_classes
    ):
        counts = multi_label_result(
            logits, [right_classes[image_id] for image_id in image_ids]
        )
        totals = {name: totals[name] + counts[name] for name in totals}
    num_images = totals["num_images"]
    if not num_images:
        raise ValueError("No image of the set has a right class.")
    return {
        "num_images": num_images,
        "accuracy": totals["num_correct"] / num_images,
        "top5_accuracy": metrics.top5_accuracy(
            totals["num_in_top5"], num_images, num_classes
        ),
        "loss": None,
        "calibration_error": None,
        "interval_95": metrics.wilson_interval(
            totals["num_correct"], num_images
        ),
        "per_class_accuracy": None,
        "reliability": None,
    }
