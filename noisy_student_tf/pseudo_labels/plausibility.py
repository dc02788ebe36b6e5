"""Whether a teacher's labels look like labels of such images at all."""

from collections.abc import Sequence

import numpy as np

from noisy_student_tf.records import predictions

# A class that takes so much more than its share of the labeled images, and
# most of all images with it, is what a collapsed teacher predicts.
_MOST_OF_ALL = 0.5
_TIMES_ITS_SHARE = 4.0
# Of the labeled images' number of classes, entropy taken for counting.
_FEW_CLASSES = 0.25
# A teacher whose validation accuracy is hardly better than chance.
_TIMES_CHANCE = 1.5


def count_classes(paths: Sequence[str], *, num_classes: int) -> np.ndarray:
    """Count the images of each class: int64 [num_classes].

    Raises:
        ValueError: A class or a confidence is out of range.
    """
    counts = np.zeros(num_classes, np.int64)
    for path in paths:
        for rows in predictions.read_rows(
            path, num_classes=num_classes, with_ids=False
        ):
            counts += np.bincount(rows.class_ids, minlength=num_classes)
    return counts


def class_mix_warnings(
    predicted: Sequence[int], labeled: Sequence[int], class_names: Sequence[str]
) -> list[str]:
    """Compare the classes of the pseudo-labels with those of the labels.

    Args:
        predicted: Images by the teacher's class, of each class.
        labeled: Labeled images for training, of each class.
        class_names: Names of the classes.
    """
    if not sum(predicted) or not sum(labeled):
        return []
    shares = np.asarray(predicted) / sum(predicted)
    expected = np.asarray(labeled) / sum(labeled)
    most = int(shares.argmax())
    warnings = []
    if (
        shares[most] > _MOST_OF_ALL
        and shares[most] > _TIMES_ITS_SHARE * expected[most]
    ):
        warnings.append(
            f"The teacher finds class {class_names[most]!r} in "
            f"{shares[most]:.1%} of the unlabeled images; of the labeled "
            f"images it is {expected[most]:.1%}. Check that the unlabeled "
            "images are of the same kind, and the teacher's accuracy."
        )
    found, known = _effective_classes(shares), _effective_classes(expected)
    if found < _FEW_CLASSES * known and not warnings:
        warnings.append(
            f"The teacher's labels spread over {found:.1f} classes, the labels "
            f"over {known:.1f} (exponentials of entropies). Check that the "
            "unlabeled images are of the same kind, and the teacher's accuracy."
        )
    return warnings


def _effective_classes(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


def accuracy_warnings(accuracy: float, num_classes: int) -> list[str]:
    """Return what to say of a teacher with an accuracy in [0, 1]."""
    if accuracy > _TIMES_CHANCE / num_classes:
        return []
    return [
        f"The teacher is right on {accuracy:.1%} of the validation images, "
        f"hardly more than by chance (1 of {num_classes}). Its pseudo-labels "
        "are of no use: check that it is trained, and on these classes."
    ]
