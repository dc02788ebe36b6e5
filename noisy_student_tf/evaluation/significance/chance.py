"""Whether a model is better than naming one class: read, judged and said.

The numbers are `metrics.Standing`, as the models' manifests hold them.
"""

from collections.abc import Mapping
from typing import Any

from noisy_student_tf.evaluation import metrics


def read(manifest: Mapping[str, Any]) -> dict[str, metrics.Standing]:
    """Return split -> standing, as a model's manifest holds them."""
    return {
        split: metrics.Standing(**values)
        for split, values in manifest.get("standing", {}).items()
    }


def deciding(standings: Mapping[str, metrics.Standing]) -> str:
    """Return the images that say whether a model has learned.

    The validation images if they are enough; else those of the training
    images that the folds' teachers had not seen; else the training images.

    Args:
        standings: By `validation`, `folds` and `train`; not empty.
    """
    held_out = standings.get("validation")
    if held_out and held_out.is_large_enough:
        return "validation"
    for split in ("folds", "train"):
        if split in standings:
            return split
    return "validation"


def describe(standing: metrics.Standing, class_name: str) -> str:
    """Say how a classifier does beside naming one class.

    Args:
        standing: Of the classifier.
        class_name: Of the most frequent class.
    """
    text = (
        f"{standing.accuracy:.1%} right; naming {class_name!r} for every one "
        f"has {standing.majority_rate:.1%} (p = {standing.accuracy_p:.2g}); "
        f"mean recall {standing.balanced_accuracy:.1%}, by chance "
        f"{1 / standing.num_classes:.1%} (p = "
        f"{standing.balanced_accuracy_p:.2g})"
    )
    if standing.num_named_classes < standing.num_classes:
        text += (
            f"; it names {standing.num_named_classes} of "
            f"{standing.num_classes} classes"
        )
    return text
