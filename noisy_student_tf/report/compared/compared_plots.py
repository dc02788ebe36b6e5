"""Drawings of several runs: curves of their models, accuracy over labels."""

import itertools
from collections.abc import Sequence
from typing import Any

import markupsafe
import matplotlib as mpl
from matplotlib import ticker

from noisy_student_tf.report import run_sections, svg_plots
from noisy_student_tf.report.compared import compared_runs

_COLORS = ("student", "teacher", "supervised", "fixres", "wrong", "ink")
# Of a line of `metrics.jsonl`: its kind and what is drawn of it.
_CURVES = (
    ("validation accuracy", "validation", "ema_accuracy", True),
    ("loss of labeled images", "train", "labeled_loss", False),
)


def curves(
    runs: Sequence[compared_runs.Run],
) -> list[tuple[str, markupsafe.Markup]]:
    """Return (caption, SVG) of each model, a line a run."""
    read = [run_sections.read_metrics(run.workdir) for run in runs]
    names = sorted({name for e in read for name in e}, key=_order)
    plots = []
    for name, (what, kind, key, as_percent) in itertools.product(
        names, _CURVES
    ):
        lines = [
            (run.name, color, _points(metrics.get(name, ()), kind, key))
            for run, metrics, color in zip(
                runs, read, itertools.cycle(_COLORS), strict=False
            )
        ]
        if any(points for _, _, points in lines):
            caption = f"{run_sections.model_title(name)}: {what}"
            drawing = svg_plots.curves(
                lines,
                description=f"{caption} over steps, of each run",
                as_percent=as_percent,
            )
            plots.append((caption, drawing))
    return plots


def _order(name: str) -> tuple[Any, str]:
    return run_sections.model_order(name), name


def _points(
    lines: Sequence[dict[str, Any]], kind: str, key: str
) -> list[tuple[float, float]]:
    return [
        (line["step"], line[key])
        for line in lines
        if line["kind"] == kind and line.get(key) is not None
    ]


@mpl.rc_context(svg_plots.STYLE)
def accuracy_over_labels(
    points: Sequence[tuple[int, float, float, float]], *, description: str
) -> markupsafe.Markup:
    """Draw accuracies with their intervals over numbers of labels.

    Args:
        points: Labels, accuracy, and the ends of its interval.
        description: What a screen reader says; unique on the page.
    """
    drawing, axes = svg_plots.draw((5.2, 2.5))
    for labels, accuracy, low, high in sorted(points):
        axes.plot(
            (labels, labels), (low, high), color=svg_plots.COLORS["muted"]
        )
        axes.plot(
            labels,
            accuracy,
            marker="o",
            color=svg_plots.COLORS["student"],
            markeredgewidth=0,
        )
    counts = sorted({labels for labels, *_ in points})
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.set(xlabel="labeled training images", ylabel="accuracy")
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    axes.margins(x=0.08)
    return svg_plots.to_svg(drawing, description)
