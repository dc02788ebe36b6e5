"""What the pages say of one iteration's pseudo-labels."""

import itertools
from typing import Any

import markupsafe
import numpy as np

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import shards
from noisy_student_tf.report import label_counts, svg_plots, thumbnails

MAX_CLASSES_SHOWN = 20
MAX_CONFUSIONS_SHOWN = 20


def read_iterations(workdir: workdirs.Workdir) -> list[dict[str, Any]]:
    """Return what is known of each iteration's pseudo-labels."""
    numbers = itertools.takewhile(
        lambda number: shards.is_finished(workdir.predictions(number)),
        itertools.count(1),
    )
    return [read_iteration(workdir, number) for number in numbers]


def read_iteration(
    workdir: workdirs.Workdir, number: int, shown: list[int] | None = None
) -> dict[str, Any]:
    """Return what one iteration's part of a page shows.

    Args:
        workdir: Of the run.
        number: Of the iteration; its predictions are finished.
        shown: Classes that are shown one by one; None: `shown_classes`.
    """
    threshold = workdirs.read_config(workdir).selection.confidence_threshold
    class_names = shards.read_manifest(workdir.labeled)["class_names"]
    if shown is None:
        shown = shown_classes(len(class_names))
    labels, selection = label_counts.read(workdir, number, shown)
    labeler = read_labeler(workdir.predictions(number))
    warnings: list[str] = []
    pictures: dict[bytes, str] = {}
    if selection:
        path = files.join(workdir.selection(number), "summary.json")
        warnings = files.read_json(path).get("warnings", [])
        pictures = thumbnails.read(
            workdir.unlabeled, [pick.place for pick in selection.picks()]
        )
    return {
        "number": number,
        "teacher": _teacher(number),
        "threshold": threshold,
        "class_names": class_names,
        "shown": shown,
        "labels": labels,
        "selection": selection,
        "warnings": warnings,
        "pictures": pictures,
        "max_images": _most_images(labels, selection, shown),
        "plots": _label_plots(number, threshold, labels)
        + _reliability_plots(number, labeler),
        "labeler": labeler,
        "confusions": _confusions(labels, len(class_names)),
    }


def _teacher(number: int) -> str:
    """Return who labeled; iteration 0 is that of a model that only selects."""
    if not number:
        return "The selecting model"
    return "Teacher" if number == 1 else f"Student {number - 1}"


def shown_classes(num_classes: int) -> list[int]:
    """Return the classes shown one by one: all, or evenly spaced ones."""
    count = min(num_classes, MAX_CLASSES_SHOWN)
    return np.linspace(0, num_classes - 1, count).astype(int).tolist()


def _most_images(
    labels: label_counts.Predictions,
    selection: label_counts.Selection | None,
    shown: list[int],
) -> int:
    """Return the longest bar of the table of classes."""
    most = labels.predicted.images[shown].max()
    if selection:
        most = max(most, selection.rows[shown].max())
    return max(int(most), 1)


def _label_plots(
    number: int, threshold: float, labels: label_counts.Predictions
) -> list[tuple[str, markupsafe.Markup]]:
    """Return (caption, SVG) of the plots of one iteration's confidences."""
    has_truth = labels.predicted.accuracy is not None
    counts = labels.by_confidence
    # Right and wrong only split the bars where every label is known.
    splits = has_truth and bool((counts.known == counts.images).all())
    histogram = svg_plots.confidence_histogram(
        counts.images,
        correct=counts.correct if splits else None,
        threshold=threshold,
        description=f"Iteration {number}: images by the teacher's confidence",
    )
    plots = [("The teacher's confidence", histogram)]
    if has_truth:
        by_threshold = svg_plots.accuracy_by_threshold(
            counts.known,
            counts.correct,
            threshold=threshold,
            description=f"Iteration {number}: accuracy and share kept by "
            "threshold",
        )
        plots.append(("What a threshold does", by_threshold))
    return plots


def read_labeler(directory: str) -> dict[str, Any] | None:
    """Return what was measured of the teacher before it labeled."""
    path = files.join(directory, "labeler.json")
    return files.read_json(path) if files.exists(path) else None


def _reliability_plots(
    number: int, labeler: dict[str, Any] | None
) -> list[tuple[str, markupsafe.Markup]]:
    """Return (caption, SVG) of the calibration, if there was one."""
    if not labeler or not labeler["calibration"]:
        return []
    plots = []
    for name, temperature in (
        ("before", 1.0),
        ("after", labeler["temperature"]),
    ):
        found = labeler["calibration"][name]
        svg = svg_plots.reliability(
            found,
            description=f"Iteration {number}: reliability {name} calibration",
        )
        caption = (
            f"Reliability {name} calibration (temperature {temperature:.2f}, "
            f"error {100 * found['calibration_error']:.1f} points)"
        )
        plots.append((caption, svg))
    return plots


def _confusions(
    labels: label_counts.Predictions, num_classes: int
) -> dict[str, Any] | None:
    """Return the confusion matrix, or the most frequent confusions."""
    if not labels.confusion:
        return None
    if num_classes > MAX_CLASSES_SHOWN:
        wrong = [
            (*pair, count)
            for pair, count in labels.confusion.most_common()
            if pair[0] != pair[1]
        ]
        return {"matrix": None, "pairs": wrong[:MAX_CONFUSIONS_SHOWN]}
    matrix = [
        [labels.confusion[label, class_id] for class_id in range(num_classes)]
        for label in range(num_classes)
    ]
    return {"matrix": matrix, "pairs": []}
