"""What a selection did, in numbers and warnings."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from noisy_student_tf import configs, files

SUMMARY = "summary.json"

_MANY_COPIES = 100
_MAX_PLAUSIBLE_SHARE = 0.95
_MIN_PLAUSIBLE_SHARE = 0.05
_CLASSES_NAMED = 10


@dataclasses.dataclass(frozen=True)
class ClassSummary:
    """One class of a selection.

    Attributes:
        class_id: 0-based class.
        num_images: Images whose pseudo-label is the class.
        num_above_threshold: Those with confidence at or above the threshold.
        num_selected: Those with at least one copy.
        num_rows: Copies of all of them.
        max_copies: Most copies of one image.
        cut_confidence: The least confidence selected; None without images.
    """

    class_id: int
    num_images: int
    num_above_threshold: int
    num_selected: int
    num_rows: int
    max_copies: int
    cut_confidence: float | None


@dataclasses.dataclass(frozen=True)
class Summary:
    """A whole selection.

    Attributes:
        images_per_class: Quota of each class, as resolved.
        confidence_threshold: Images below it were left out.
        classes: One entry per class, in order.
        warnings: Sentences for the user.
    """

    images_per_class: int
    confidence_threshold: float
    classes: tuple[ClassSummary, ...]
    warnings: tuple[str, ...]

    def total(self, count: str) -> int:
        """Return the sum over classes of a count, such as "num_rows"."""
        return sum(getattr(entry, count) for entry in self.classes)


_TOTALS = ("num_images", "num_above_threshold", "num_selected", "num_rows")


def to_json(summary: Summary) -> dict[str, Any]:
    """Return what `summary.json` holds."""
    return {
        "images_per_class": summary.images_per_class,
        "confidence_threshold": summary.confidence_threshold,
        "totals": {name: summary.total(name) for name in _TOTALS},
        "per_class": [dict(vars(entry)) for entry in summary.classes],
        "warnings": list(summary.warnings),
    }


def read(directory: str) -> Summary:
    """Read the summary of a selection directory."""
    content = files.read_json(files.join(directory, SUMMARY))
    return Summary(
        images_per_class=content["images_per_class"],
        confidence_threshold=content["confidence_threshold"],
        classes=tuple(ClassSummary(**entry) for entry in content["per_class"]),
        warnings=tuple(content["warnings"]),
    )


def find_warnings(
    classes: tuple[ClassSummary, ...],
    *,
    selection: configs.SelectionConfig,
    quota: int,
    class_names: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return what a user should know before training on a selection.

    Without names, classes are called by their numbers.
    """

    def names(some: list[ClassSummary]) -> str:
        return _names([entry.class_id for entry in some], class_names)

    warnings = _share_warnings(classes, selection.confidence_threshold)
    empty = [entry for entry in classes if not entry.num_selected]
    if empty:
        warnings.append(
            f"No image was selected for {names(empty)}. The student sees "
            "these classes among the labeled images only."
        )
    many = [entry for entry in classes if entry.max_copies > _MANY_COPIES]
    if many:
        most = max(entry.max_copies for entry in many)
        warnings.append(
            f"One image stands for up to {most} copies in {names(many)}. "
            "Bound them with --selection.max_copies, or lower "
            "--selection.images_per_class."
        )
    short = [e for e in classes if e.num_selected and e.num_rows < quota]
    if short and selection.balance and selection.upsample:
        warnings.append(
            f"The quota of {quota} cannot be reached with at most "
            f"{selection.max_copies} copies in {names(short)}."
        )
    return tuple(warnings)


def _share_warnings(
    classes: tuple[ClassSummary, ...], confidence_threshold: float
) -> list[str]:
    num_images = sum(entry.num_images for entry in classes)
    num_above = sum(entry.num_above_threshold for entry in classes)
    share = num_above / max(num_images, 1)
    if _MIN_PLAUSIBLE_SHARE <= share <= _MAX_PLAUSIBLE_SHARE:
        return []
    return [
        f"{share:.1%} of the images have a confidence of at least "
        f"{confidence_threshold}: it hardly tells them apart. Check the "
        "teacher and --selection.confidence_threshold."
    ]


def _names(class_ids: list[int], class_names: Sequence[str]) -> str:
    called = [
        class_names[class_id] if class_names else str(class_id)
        for class_id in class_ids
    ]
    named = ", ".join(called[:_CLASSES_NAMED])
    more = len(called) - _CLASSES_NAMED
    text = "class " if len(called) == 1 else "classes "
    return text + named + (f" and {more} more" if more > 0 else "")


def make_classes(
    *, cut_confidences: np.ndarray, **counts: np.ndarray
) -> tuple[ClassSummary, ...]:
    """Return the entries of all classes.

    Args:
        cut_confidences: float32 [num_classes]; infinite without images.
        **counts: int64 [num_classes] each, named as in `ClassSummary`.
    """
    columns = [column.tolist() for column in counts.values()]
    return tuple(
        ClassSummary(
            class_id=class_id,
            cut_confidence=cut if math.isfinite(cut) else None,
            **dict(zip(counts, row, strict=True)),
        )
        for class_id, (cut, *row) in enumerate(
            zip(cut_confidences.tolist(), *columns, strict=True)
        )
    )
