"""How the classes of an evaluation set meet those of a model.

A set may hold a part of the model's classes (ImageNet-A and -R: 200 of 1000),
or several right classes an image (ReaL).
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from noisy_student_tf.evaluation import metrics

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


def restrict(
    logits: np.ndarray, labels: np.ndarray, classes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Leave only some classes to choose from.

    Args:
        logits: float [batch, num_classes].
        labels: int [batch], each one of `classes`.
        classes: In ascending order.

    Returns:
        Logits float [batch, len(classes)], and labels as places in `classes`.
    """
    places = np.searchsorted(classes, labels)
    return logits[:, list(classes)], places


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
