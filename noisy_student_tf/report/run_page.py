"""The report of a run: one HTML file that needs nothing else.

It is made of what lies in the working directory, so it can be written after
every stage, and again by hand.
"""

import decimal
import os
from typing import Any

import jinja2
import markupsafe
import numpy as np

from noisy_student_tf import files, workdirs
from noisy_student_tf.evaluation import results
from noisy_student_tf.report import iterations, run_sections
from noisy_student_tf.report import plots as report_plots
from noisy_student_tf.report import robustness as report_robustness

_TEMPLATES = os.path.join(os.path.dirname(__file__), "templates")


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
    """Return what renders the templates beside this module."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        percent=_percent,
        count=_count,
        points=_points,
        number=_number,
        confidence=_confidence,
    )
    return environment


def style() -> markupsafe.Markup:
    """Return the style sheet of the pages."""
    path = files.join(_TEMPLATES, "report.css")
    with open(path, encoding="utf-8") as style_sheet:
        return markupsafe.Markup(style_sheet.read())


def _percent(share: float | None, digits: int = 1) -> str:
    # A narrow space that does not break.
    return "\u2013" if share is None else f"{100 * share:.{digits}f}\u202f%"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _points(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\u2212")


def _number(value: float | None, digits: int = 3) -> str:
    return "\u2013" if value is None else f"{value:.{digits}f}"


def _confidence(value: float, digits: int = 3) -> str:
    """Round down: no image shall seem to reach a threshold it is below."""
    unit = decimal.Decimal(1).scaleb(-digits)
    return str(decimal.Decimal(str(value)).quantize(unit, decimal.ROUND_DOWN))


def _contents(workdir: workdirs.Workdir) -> dict[str, Any]:
    """Return everything that the template shows."""
    run_config = workdirs.read_config(workdir)
    data = run_sections.read_data(workdir)
    rows = run_sections.read_results(workdir)
    return {
        "style": style(),
        "name": os.path.basename(workdir.root.rstrip("/")),
        "config": run_config,
        "fields": run_sections.compare_with_preset(run_config),
        "versions": run_sections.versions(),
        "data": data,
        "headline": run_sections.headline(rows),
        "tables": _tables(rows),
        "robustness": report_robustness.contents(
            [
                row
                for row in results.read(workdir.results)
                if results.is_robustness(row)
            ],
            sets_directory=workdir.robustness_sets,
        ),
        "training": _training(run_sections.read_metrics(workdir)),
        "iterations": iterations.read_iterations(
            workdir, run_config, data.class_names
        ),
    }


def _tables(measured: list[run_sections.Result]) -> list[dict[str, Any]]:
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
            svg = report_plots.curves(
                lines,
                description=f"{title}: {caption.lower()} over steps",
                as_percent=as_percent,
            )
            plots.append((caption, markupsafe.Markup(svg)))
    return plots
