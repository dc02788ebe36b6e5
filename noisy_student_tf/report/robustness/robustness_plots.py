"""Plots of robustness: errors, flips, attacks, and reliability."""

from collections.abc import Callable, Sequence
from typing import Any

import markupsafe
import matplotlib as mpl
import numpy as np
from matplotlib import ticker

from noisy_student_tf.report import svg_plots

# A row of results with what `robustness_section.style` adds: the model's title,
# color and opacity.
Row = dict[str, Any]


def _look(row: Row) -> dict[str, Any]:
    color = svg_plots.COLORS[row["color"]]
    return {"color": color, "alpha": row["opacity"], "label": row["title"]}


@mpl.rc_context(svg_plots.STYLE)
def grouped_bars(
    names: Sequence[str],
    rows: Sequence[Row],
    values: Callable[[Row], Sequence[float]],
    *,
    description: str,
    label: str,
) -> markupsafe.Markup:
    """Draw a group of bars per name, a bar per model.

    Args:
        names: Of the groups.
        rows: Of the models.
        values: Of a row, a share in [0, 1] per group.
        description: What a screen reader says; unique on the page.
        label: Of the axis.
    """
    width = 0.84 / max(len(rows), 1)
    places = np.arange(len(names))
    drawing, axes = svg_plots.draw((10.6, 3.0))
    for number, row in enumerate(rows):
        axes.bar(
            places + (number - (len(rows) - 1) / 2) * width,
            values(row),
            width=0.92 * width,
            linewidth=0,
            **_look(row),
        )
    axes.set_xticks(
        places,
        [name.replace("_", " ") for name in names],
        rotation=35,
        ha="right",
        rotation_mode="anchor",
    )
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(-0.6, len(names) - 0.4), ylim=(0, None), ylabel=label)
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    drawing.legend(
        loc="outside upper center", ncols=min(len(rows), 6), handlelength=0.9
    )
    return svg_plots.to_svg(drawing, description)


@mpl.rc_context(svg_plots.STYLE)
def lines(
    places: Sequence[float],
    rows: Sequence[Row],
    values: Callable[[Row], Sequence[float]],
    *,
    description: str,
    x_label: str,
    y_label: str,
) -> markupsafe.Markup:
    """Draw a line per model over severities or strengths.

    Args:
        places: Where the values lie.
        rows: Of the models.
        values: Of a row, a share in [0, 1] per place.
        description: What a screen reader says; unique on the page.
        x_label: Of the horizontal axis.
        y_label: Of the vertical axis.
    """
    drawing, axes = svg_plots.draw((5.2, 2.8))
    for number, row in enumerate(rows):
        axes.plot(
            places,
            values(row),
            linestyle=("-", (0, (5, 2)), (0, (1.2, 1.8)))[number % 3],
            marker="o",
            markersize=3.5,
            **_look(row),
        )
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set(ylim=(0, None), xlabel=x_label, ylabel=y_label)
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    drawing.legend(loc="outside lower center", ncols=2)
    return svg_plots.to_svg(drawing, description)


@mpl.rc_context(svg_plots.STYLE)
def reliability(rows: Sequence[Row], *, description: str) -> markupsafe.Markup:
    """Draw accuracy over confidence; a calibrated model lies on the diagonal.

    Args:
        rows: Of the models, with `reliability`.
        description: What a screen reader says; unique on the page.
    """
    drawing, axes = svg_plots.draw((5.2, 3.4))
    axes.plot([0, 1], [0, 1], color=svg_plots.COLORS["rule"], linewidth=1)
    for row in rows:
        bins = np.asarray(row["reliability"], np.float64)  # [num_bins, 3]
        axes.plot(
            bins[:, 1], bins[:, 2], marker="o", markersize=3.5, **_look(row)
        )
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01))
    axes.set(xlabel="confidence", ylabel="accuracy")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ticker.PercentFormatter(1.0))
    drawing.legend(loc="outside lower center", ncols=2)
    return svg_plots.to_svg(drawing, description)
