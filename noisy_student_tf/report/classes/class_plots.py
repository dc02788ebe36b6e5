"""Plots of single classes: who is confused with whom, and at what price."""

from collections.abc import Sequence

import markupsafe
import matplotlib as mpl
import numpy as np
from matplotlib import patches, ticker
from matplotlib.axes import Axes

from noisy_student_tf.evaluation import thresholds
from noisy_student_tf.report import svg_plots

_COLORS = svg_plots.COLORS
# Beyond, counts do not fit into their cells.
_MAX_COUNTED = 20
_LONGEST_NAME = 14
_MAX_POINTS = 300


@mpl.rc_context(svg_plots.STYLE)
def confusion_matrix(
    counts: np.ndarray, names: Sequence[str], *, description: str
) -> markupsafe.Markup:
    """Draw how many images of a class, a row each, are called what.

    The shade is the share of the row's images.

    Args:
        counts: int64 [true class, chosen class].
        names: Of the classes.
        description: What a screen reader says; unique on the page.
    """
    num_classes = len(names)
    side = max(2.0, min(0.42, 8 / num_classes) * num_classes)
    drawing, axes = svg_plots.draw((max(side + 1.3, 4.4), side + 0.9))
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for (true, chosen), count in np.ndenumerate(counts):
        if count:
            _cell(axes, (chosen, true), count / totals[true, 0])
            if num_classes <= _MAX_COUNTED:
                axes.text(
                    chosen,
                    true,
                    f"{count:,}",
                    color=_COLORS["ink"],
                    ha="center",
                    va="center",
                )
    shown = [_short(name) for name in names]
    ends = (-0.5, num_classes - 0.5)
    axes.set(xlim=ends, ylim=ends[::-1], aspect="equal")
    axes.set_xticks(
        range(num_classes),
        shown,
        # As many letters fit beside each other.
        rotation=90 if max(map(len, shown)) > 12 * side / num_classes else 0,
    )
    axes.set_yticks(range(num_classes), shown)
    axes.set(xlabel="chosen class", ylabel="true class")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    return svg_plots.to_svg(drawing, description)


def _cell(axes: Axes, place: tuple[int, int], share: float) -> None:
    column, row = place
    axes.add_patch(
        patches.Rectangle(
            (column - 0.48, row - 0.48),
            0.96,
            0.96,
            facecolor=_COLORS["right" if column == row else "wrong"],
            alpha=0.12 + 0.68 * share,
            linewidth=0,
        )
    )


def _short(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    return name[: _LONGEST_NAME - 1] + "\u2026"


@mpl.rc_context(svg_plots.STYLE)
def precision_recall(
    is_positive: np.ndarray,
    probabilities: np.ndarray,
    *,
    marked: Sequence[thresholds.Point] = (),
    chosen: thresholds.Point | None = None,
    is_small: bool = False,
    description: str,
) -> markupsafe.Markup:
    """Draw the precision that each recall of a class costs.

    Args:
        is_positive: bool [num_images], of both kinds.
        probabilities: float [num_images] of the class.
        marked: Thresholds that are written beside the curve.
        chosen: The threshold that is recommended.
        is_small: One of many.
        description: What a screen reader says; unique on the page.
    """
    drawing, axes = svg_plots.draw((2.4, 1.8) if is_small else (5.2, 3.4))
    recalls, precisions = thresholds.curve(is_positive, probabilities)
    places = np.linspace(0, len(recalls) - 1, _MAX_POINTS).astype(int)
    places = np.unique(places)
    axes.axhline(
        is_positive.mean(), color=_COLORS["muted"], linestyle=(0, (1.2, 1.8))
    )
    axes.plot(
        recalls[places],
        precisions[places],
        color=_COLORS["student"],
        drawstyle="steps-pre",
    )
    for point in marked:
        _mark(axes, point, "ink", f"{point.threshold:g}")
    if chosen:
        _mark(axes, chosen, "wrong", f"best {chosen.threshold:.2f}", below=True)
    axes.set(xlim=(0, 1.03), ylim=(0, 1.05), xlabel="recall")
    axes.set_ylabel("precision")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ticker.PercentFormatter(1.0, 0))
        axis.set_major_locator(ticker.MultipleLocator(0.5 if is_small else 0.2))
    return svg_plots.to_svg(drawing, description)


def _mark(
    axes: Axes,
    point: thresholds.Point,
    color: str,
    text: str,
    *,
    below: bool = False,
) -> None:
    if point.precision is None:
        return
    place = (point.recall, point.precision)
    axes.plot(
        *place,
        marker="o",
        markersize=7 if below else 4,
        markeredgewidth=0,
        color=_COLORS[color],
    )
    axes.annotate(
        text,
        place,
        xytext=(-5, -13) if below else (4, 4),
        ha="right" if below else "left",
        textcoords="offset points",
        color=_COLORS[color],
        annotation_clip=False,
    )
