"""The report of a run: one HTML file that needs nothing else.

It is made of what lies in the working directory, so it can be written after
every stage, and again by hand.
"""

import os
from typing import Any

import jinja2
import markupsafe
import numpy as np

from noisy_student_tf import config, files
from noisy_student_tf import workdir as workdirs
from noisy_student_tf.evaluation import (
    report_labels,
    report_pictures,
    report_plots,
    report_robustness,
    report_run,
    results,
)
from noisy_student_tf.records import shards

MAX_CLASSES_SHOWN = 20
MAX_CONFUSIONS_SHOWN = 20

_FOLDER = os.path.dirname(__file__)


def write_report(workdir: str) -> str:
    """Write `report.html` of a run and return its path.

    Parts that do not exist yet (no student, no true labels) are left out.

    Raises:
        FileNotFoundError: The directory holds no run.
    """
    path = files.join(workdir, "report.html")
    page = environment().get_template("report.html")
    contents = _contents(workdirs.Workdir(workdir))
    files.write_text(path, page.render(contents))
    return path


def environment() -> jinja2.Environment:
    """Return what renders the templates beside this file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        percent=_percent, count=_count, points=_points, number=_number
    )
    return environment


def _percent(share: float | None, digits: int = 1) -> str:
    # A narrow space that does not break.
    return "\u2013" if share is None else f"{100 * share:.{digits}f}\u202f%"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _points(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\u2212")


def _number(value: float | None, digits: int = 3) -> str:
    return "\u2013" if value is None else f"{value:.{digits}f}"


def _contents(workdir: workdirs.Workdir) -> dict[str, Any]:
    """Return everything that the template shows."""
    run_config = workdirs.read_config(workdir)
    data = report_run.read_data(workdir)
    rows = report_run.read_results(workdir)
    return {
        "style": style_sheet(),
        "name": os.path.basename(workdir.root.rstrip("/")),
        "config": run_config,
        "fields": report_run.compare_with_preset(run_config),
        "versions": report_run.versions(),
        "data": data,
        "headline": report_run.headline(rows),
        "tables": _tables(rows),
        "robustness": report_robustness.contents(
            [
                row
                for row in results.read(workdir.results)
                if results.is_robustness(row)
            ],
            sets_directory=workdir.robustness_sets,
        ),
        "training": _training(report_run.read_metrics(workdir)),
        "iterations": _iterations(workdir, run_config, data.class_names),
    }


def style_sheet() -> markupsafe.Markup:
    """Return the style sheet of all pages."""
    path = files.join(_FOLDER, "report.css")
    with open(path, encoding="utf-8") as file:
        return markupsafe.Markup(file.read())


def _tables(measured: list[report_run.Result]) -> list[dict[str, Any]]:
    """Return a table per split, test images first, with its common axis."""
    tables = []
    for split in sorted({row.split for row in measured}):
        rows = [row for row in measured if row.split == split]
        low = np.floor(20 * min(row.low for row in rows)) / 20
        high = np.ceil(20 * max(row.high for row in rows)) / 20
        tables.append(
            {
                "split": split,
                "rows": rows,
                "low": float(low),
                "span": float(max(high - low, 0.05)),
                "has_sets": len({row.set for row in rows}) > 1,
            }
        )
    return tables


def _training(
    metrics: dict[str, list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Return the curves of every model, and where it stands."""
    models = []
    for name, lines in metrics.items():
        train = [line for line in lines if line["kind"] == "train"]
        validation = [line for line in lines if line["kind"] == "validation"]
        title = report_run.model_title(name)
        color = report_run.model_kind(name)
        last = train[-1] if train else {}
        rates = [
            line["images_per_second"]
            for line in train
            if line.get("images_per_second") is not None
        ]
        models.append(
            {
                "title": title,
                "kind": color,
                "step": lines[-1]["step"],
                "epoch": last.get("epoch"),
                "images_per_second": float(np.median(rates)) if rates else None,
                "plots": _curves(title, color, train, validation),
            }
        )
    return models


def _curves(
    title: str,
    color: str,
    train: list[dict[str, Any]],
    validation: list[dict[str, Any]],
) -> list[tuple[str, markupsafe.Markup]]:
    """Return (caption, SVG) of loss, validation accuracy and learning rate."""

    def line(label: str, shade: str, rows: Any, key: str) -> Any:
        points = [
            (row["step"], row[key]) for row in rows if row.get(key) is not None
        ]
        return label, shade, points

    unlabeled = line("unlabeled", color, train, "unlabeled_loss")
    loss = [
        line("labeled", "ink", train, "labeled_loss"),
        *([unlabeled] if any(value for _, value in unlabeled[2]) else []),
    ]
    accuracy = [
        line("averaged weights", color, validation, "ema_accuracy"),
        line("raw weights", "muted", validation, "raw_accuracy"),
    ]
    rate = [line("learning rate", color, train, "learning_rate")]
    plots = []
    for caption, lines, as_percent in (
        ("Training loss", loss, False),
        ("Validation accuracy", accuracy, True),
        ("Learning rate", rate, False),
    ):
        if any(points for _, _, points in lines):
            svg = report_plots.curves(
                lines,
                description=f"{title}: {caption.lower()} over steps",
                as_percent=as_percent,
            )
            plots.append((caption, markupsafe.Markup(svg)))
    return plots


def _iterations(
    workdir: workdirs.Workdir, run_config: config.Config, class_names: list[str]
) -> list[dict[str, Any]]:
    """Return what is known of each iteration's pseudo-labels."""
    if not class_names:
        return []
    truth = report_labels.read_truth(
        files.join(workdir.unlabeled, "truth.parquet")
    )
    iterations = []
    number = 1
    while shards.is_finished(workdir.predictions(number)):
        iterations.append(
            _iteration(workdir, number, run_config, class_names, truth)
        )
        number += 1
    return iterations


def _iteration(
    workdir: workdirs.Workdir,
    number: int,
    run_config: config.Config,
    class_names: list[str],
    truth: report_labels.Truth,
) -> dict[str, Any]:
    threshold = run_config.selection.confidence_threshold
    labels = report_labels.read_predictions(
        workdir.predictions(number),
        num_classes=len(class_names),
        threshold=threshold,
        truth=truth,
    )
    shown = shown_classes(len(class_names))
    directory = workdir.selection(number)
    selection = None
    warnings, pictures = [], {}
    if shards.is_finished(directory):
        selection = report_labels.read_selection(
            directory,
            num_classes=len(class_names),
            classes=shown,
            truth=truth,
        )
        summary = files.read_json(files.join(directory, "summary.json"))
        warnings = summary.get("warnings", [])
        pictures = report_pictures.thumbnails(
            workdir.unlabeled, selection.picks()
        )
    return {
        "number": number,
        "teacher": "Teacher" if number == 1 else f"Student {number - 1}",
        "threshold": threshold,
        "class_names": class_names,
        "shown": shown,
        "labels": labels,
        "selection": selection,
        "warnings": warnings,
        "pictures": pictures,
        "max_images": _most_images(labels, selection, shown),
        "plots": _label_plots(number, threshold, labels),
        "confusions": _confusions(labels, len(class_names)),
    }


def shown_classes(num_classes: int) -> list[int]:
    """Return the classes shown one by one: all, or evenly spaced ones."""
    count = min(num_classes, MAX_CLASSES_SHOWN)
    return np.linspace(0, num_classes - 1, count).astype(int).tolist()


def _most_images(
    labels: report_labels.Predictions,
    selection: report_labels.Selection | None,
    shown: list[int],
) -> int:
    """Return the longest bar of the table of classes."""
    most = labels.predicted.images[shown].max()
    if selection:
        most = max(most, selection.rows[shown].max())
    return max(int(most), 1)


def _label_plots(
    number: int, threshold: float, labels: report_labels.Predictions
) -> list[tuple[str, markupsafe.Markup]]:
    """Return (caption, SVG) of the plots of one iteration's confidences."""
    has_truth = labels.predicted.accuracy is not None
    # Right and wrong only split the bars where every label is known.
    splits = has_truth and bool(
        (labels.known_histogram == labels.histogram).all()
    )
    histogram = report_plots.confidence_histogram(
        labels.histogram,
        correct=labels.correct_histogram if splits else None,
        threshold=threshold,
        description=f"Iteration {number}: images by the teacher's confidence",
    )
    plots = [("The teacher's confidence", markupsafe.Markup(histogram))]
    if has_truth:
        by_threshold = report_plots.accuracy_by_threshold(
            labels.known_histogram,
            labels.correct_histogram,
            threshold=threshold,
            description=f"Iteration {number}: accuracy and share kept by "
            "threshold",
        )
        plots.append(("What a threshold does", markupsafe.Markup(by_threshold)))
    return plots


def _confusions(
    labels: report_labels.Predictions, num_classes: int
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
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for (label, class_id), count in labels.confusion.items():
        matrix[label, class_id] = count
    return {"matrix": matrix.tolist(), "pairs": []}
