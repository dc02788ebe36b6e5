"""The report of a run: one HTML file that needs nothing else.

It is made of what lies in the working directory, so it can be written after
every stage, and again by hand.
"""

from typing import Any

import markupsafe
import numpy as np

from noisy_student_tf import files, workdirs
from noisy_student_tf.evaluation import results
from noisy_student_tf.evaluation.significance import cautions
from noisy_student_tf.report import (
    headline,
    iterations,
    pages,
    run_sections,
    svg_plots,
)
from noisy_student_tf.report.classes import class_section
from noisy_student_tf.report.compared import lineage
from noisy_student_tf.report.robustness import robustness_section


def write_report(workdir: workdirs.Workdir) -> str:
    """Write `report.html` of a run and return its path.

    Parts that do not exist yet (no student, no true labels) are left out.

    Raises:
        FileNotFoundError: The directory holds no run.
    """
    run_config = workdirs.read_config(workdir)
    data = run_sections.read_data(workdir)
    rows = run_sections.read_results(workdir)
    page = pages.render(
        "report.html",
        name=run_sections.name(workdir),
        config=run_config,
        fields=run_sections.compare_with_preset(run_config),
        versions=run_sections.versions(),
        data=data,
        headline=headline.read(workdir, rows),
        cautions=cautions.of_run(workdir),
        exported=headline.read_export(workdir),
        tables=run_sections.tables(rows, headline.read_comparisons(workdir)),
        lineage=lineage.read(workdir),
        classes=class_section.read(workdir, run_config),
        robustness=robustness_section.contents(
            [
                row
                for row in results.read(workdir.results)
                if results.is_robustness(row)
            ],
            sets_directory=workdir.robustness_sets,
        ),
        training=_training(run_sections.read_metrics(workdir)),
        iterations=iterations.read_iterations(workdir)
        if data.class_names
        else [],
    )
    path = files.join(workdir.root, "report.html")
    files.write_text(path, page)
    return path


def _training(metrics: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the curves of every model, and where it stands."""
    models = []
    for name, lines in metrics.items():
        train = [line for line in lines if line["kind"] == "train"]
        validation = [line for line in lines if line["kind"] == "validation"]
        title = run_sections.model_title(name)
        color = run_sections.model_kind(name)
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
            drawing = svg_plots.curves(
                lines,
                description=f"{title}: {caption.lower()} over steps",
                as_percent=as_percent,
            )
            plots.append((caption, drawing))
    return plots
