"""The study's plots, as SVG files beside its document."""

import io
import math
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib import figure
from matplotlib.axes import Axes

from study import measures, studies

_MEAN_COLOR, _SEED_COLOR, _OPEN_COLOR = "#3949ab", "#9fa8da", "#888888"
_LINE_INCHES = 0.32


def draw_models(
    study: studies.Study, measured: measures.Measurements
) -> figure.Figure | None:
    """Draw the test accuracy of a study's models, every seed and the mean.

    Returns:
        None where nothing was measured yet.
    """
    lines = [line for line in study.lines if measured.seeds(line)]
    if not lines:
        return None
    drawing, axes = _canvas(len(lines))
    for place, model in enumerate(lines):
        seeds = measured.seeds(model)
        _draw_line(axes, place, measured.values(model, seeds, "accuracy"))
    axes.set_yticks(range(len(lines)), map(study.title_of, lines))
    axes.set_xlabel("test accuracy, %")
    return drawing


def draw_claims(
    shown: Sequence[studies.Study], measured: measures.Measurements
) -> figure.Figure | None:
    """Draw by how many points each of the paper's directions holds here."""
    claims = [
        (claim, measured.differences(claim))
        for study in shown
        for claim in study.claims
    ]
    found = [(claim, values) for claim, values in claims if values]
    if not found:
        return None
    drawing, axes = _canvas(len(found))
    for place, (_, values) in enumerate(found):
        _draw_line(axes, place, values)
    axes.axvline(0, color=_OPEN_COLOR, linewidth=0.8)
    axes.set_yticks(range(len(found)), [claim.text for claim, _ in found])
    axes.set_xscale("symlog", linthresh=2)
    axes.set_xticks([-20, -5, -2, -1, 0, 1, 2, 5, 20])
    axes.xaxis.set_major_formatter("{x:+g}")
    axes.set_xlabel("points in the paper's direction (mCE, mFR: percent)")
    return drawing


def _canvas(num_lines: int) -> tuple[figure.Figure, Axes]:
    drawing = figure.Figure(
        figsize=(8.5, 0.9 + _LINE_INCHES * num_lines), layout="constrained"
    )
    axes = drawing.add_subplot()
    # The first line is on top.
    axes.set_ylim(num_lines - 0.5, -0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", linewidth=0.4)
    axes.tick_params(left=False)
    return drawing, axes


def _draw_line(axes: Axes, place: int, values: Sequence[float]) -> None:
    mean, low, high = measures.summarize(values)
    axes.plot(values, [place] * len(values), "o", color=_SEED_COLOR, ms=4)
    if not math.isnan(low):
        axes.plot([low, high], [place] * 2, color=_MEAN_COLOR, lw=1.5)
    axes.plot([mean], [place], "D", color=_MEAN_COLOR, ms=5)


def to_svg(drawing: figure.Figure) -> str:
    """Return a figure as an SVG file; the same numbers give the same text."""
    output = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "study", "svg.fonttype": "none"}):
        drawing.savefig(output, format="svg", metadata={"Date": None})
    # matplotlib ends some lines with spaces.
    lines = (line.rstrip() for line in output.getvalue().splitlines())
    return "\n".join(lines) + "\n"
