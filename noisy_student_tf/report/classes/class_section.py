"""What the report says of single classes: a part for each model."""

from collections.abc import Sequence
from typing import Any

import markupsafe
import numpy as np

from noisy_student_tf import configs, files, recipes, workdirs
from noisy_student_tf.evaluation import class_metrics, results, thresholds
from noisy_student_tf.records import held_out
from noisy_student_tf.report import run_sections
from noisy_student_tf.report.classes import class_plots

MAX_CLASSES_SHOWN = 30
MAX_CONFUSIONS_SHOWN = 20
MAX_CURVES = 10

Probabilities = dict[int, np.ndarray]
# Split -> the file of what was said of each image, and what it measures.
Found = dict[str, tuple[str, class_metrics.Measured]]


def read(
    workdir: workdirs.Workdir, config: configs.Config
) -> list[dict[str, Any]]:
    """Return the measured models, each with its held-out splits.

    Test images first; pictures are drawn of the first split.
    """
    models = []
    for model in recipes.of(config).models:
        directory = workdir.folder(model.folder)
        found = _find(directory, ("test", "validation"))
        if found:
            title = run_sections.model_title(model.name)
            kind = run_sections.model_kind(model.name)
            models.append(_part(title, kind, found))
    return models


def read_evaluated(
    directory: str, rows: Sequence[results.Row]
) -> list[dict[str, Any]]:
    """Return the models that were measured on sets, a part for each set.

    Args:
        directory: Where the evaluation was written.
        rows: Its results. What is measured of corruptions, of several right
            classes, or of some of the model's classes has no part.
    """
    parts = []
    for model, name in dict.fromkeys(
        (row["model"], row["set"]) for row in rows
    ):
        if found := _find(files.join(directory, model), (name,)):
            parts.append(_part(f"{model} on {name}", "", found))
    return parts


def _find(directory: str, splits: Sequence[str]) -> Found:
    """Return what is measured of splits, in their order."""
    found = {}
    for split in splits:
        path = held_out.path(directory, split)
        if measured := class_metrics.read(path):
            found[split] = (path, measured)
    return found


def _part(title: str, kind: str, found: Found) -> dict[str, Any]:
    return {
        "title": title,
        "kind": kind,
        "splits": [
            _split(split, measured) for split, (_, measured) in found.items()
        ],
        **_pictures(title, found),
    }


def _split(split: str, measured: class_metrics.Measured) -> dict[str, Any]:
    """Return the tables of one split."""
    classes = measured.classes
    num_images = [each.num_images for each in classes]
    by_f1 = sorted(
        (each for each in classes if each.num_images),
        key=lambda each: each.f1 or 0,
    )
    is_capped = len(classes) > MAX_CLASSES_SHOWN
    summary = class_metrics.summarize(measured)
    positive = summary["positive_class"]
    return {
        "split": split,
        "summary": summary,
        "accuracy": sum(n for t, c, n in measured.confusions if t == c)
        / sum(num_images),
        "most_frequent": classes[int(np.argmax(num_images))].name,
        "positive": "" if positive is None else classes[positive].name,
        "num_classes": len(classes),
        "classes": by_f1[:MAX_CLASSES_SHOWN] if is_capped else classes,
        "missing": [each.name for each in classes if not each.num_images],
        "never_chosen": [
            each.name
            for each in classes
            if each.num_images and not each.num_predicted
        ],
    }


def _pictures(title: str, found: Found) -> dict[str, Any]:
    """Return what is drawn of a model's first split."""
    split = next(iter(found))
    path, measured = found[split]
    classes = measured.classes
    names = [each.name for each in classes]
    where = f"{title}, {split} images"
    contents: dict[str, Any] = {
        "matrix": None,
        "pairs": [],
        "curves": [],
        "points": [],
        "chosen": None,
    }
    if len(classes) > MAX_CLASSES_SHOWN:
        wrong = [(n, t, c) for t, c, n in measured.confusions if t != c]
        contents["pairs"] = [
            (names[t], names[c], n)
            for n, t, c in sorted(wrong, reverse=True)[:MAX_CONFUSIONS_SHOWN]
        ]
    else:
        contents["matrix"] = class_plots.confusion_matrix(
            measured.matrix(), names, description=f"{where}: confusion matrix"
        )
    num_images = [each.num_images for each in classes]
    positive = class_metrics.positive_class(num_images)
    if positive is None:
        return contents | {"curves": _curves(path, measured, where)}
    if classes[positive].auroc is None:
        return contents
    return contents | _decision(found, split, positive, where)


def _read_classes(
    path: str, wanted: Sequence[int]
) -> tuple[np.ndarray, Probabilities]:
    """Return the labels, and the probabilities of some classes."""
    probabilities = {
        index: column
        for index, column in enumerate(held_out.read_probabilities(path))
        if index in wanted
    }
    return held_out.read_choices(path).labels, probabilities


def _curves(
    path: str, measured: class_metrics.Measured, where: str
) -> list[tuple[str, float, markupsafe.Markup]]:
    """Return (class, average precision, curve), the least ones if many."""
    defined = {
        index: each.average_precision
        for index, each in enumerate(measured.classes)
        if each.average_precision is not None
    }
    least = sorted(defined, key=lambda index: defined[index])[:MAX_CURVES]
    labels, probabilities = _read_classes(path, least)
    curves = []
    for index in sorted(least):
        name = measured.classes[index].name
        drawing = class_plots.precision_recall(
            labels == index,
            probabilities[index],
            is_small=True,
            description=f"{where}: precision over recall of {name}",
        )
        curves.append((name, defined[index], drawing))
    return curves


def _decision(
    found: Found,
    split: str,
    positive: int,
    where: str,
) -> dict[str, Any]:
    """Return what a threshold does on two classes, and the one to choose.

    It is chosen on validation images; where only these are measured, none is.
    """
    path, measured = found[split]
    labels, probabilities = _read_classes(path, [positive])
    seen = (labels == positive, probabilities[positive])
    points = [thresholds.at(*seen, step) for step in thresholds.STEPS]
    chosen = None
    if split != "validation" and "validation" in found:
        other, others = found["validation"]
        if others.classes[positive].auroc is not None:
            labels, probabilities = _read_classes(other, [positive])
            threshold = thresholds.best(
                labels == positive, probabilities[positive]
            )
            chosen = thresholds.at(*seen, threshold)
    name = measured.classes[positive].name
    drawing = class_plots.precision_recall(
        *seen,
        marked=points,
        chosen=chosen,
        description=f"{where}: precision over recall of {name}",
    )
    average_precision = measured.classes[positive].average_precision
    return {
        "curves": [(name, average_precision, drawing)],
        "points": points,
        "chosen": chosen,
    }
