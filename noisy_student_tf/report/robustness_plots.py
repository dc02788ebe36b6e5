"""Plots of robustness: errors, flips, attacks, and reliability."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import ticker

from noisy_student_tf.report import plots as report_plots

# (label, color name, opacity, values).
Series = tuple[str, str, float, Sequence[float]]


def grouped_bars(
    names: Sequence[str],
    series: Sequence[Series],
    *,
    description: str,
    label: str,
) -> str:
    """Draw a group of bars per name, a bar per model.

    Args:
        names: Of the groups.
        series: Models, with a share in [0, 1] per group.
        description: What a screen reader says; unique on the page.
        label: Of the axis.
    """
    width = 0.84 / max(len(series), 1)
    places = np.arange(len(names))
    with mpl.rc_context(report_plots.STYLE):
        drawing, axes = report_plots.draw((10.6, 3.0))
        for number, (model, color, opacity, values) in enumerate(series):
            axes.bar(
                places + (number - (len(series) - 1) / 2) * width,
                values,
                width=0.92 * width,
                color=report_plots.COLORS[color],
                alpha=opacity,
                linewidth=0,
                label=model,
            )
        axes.set_xticks(
            places,
            [name.replace("_", " ") for name in names],
            rotation=35,
            ha="right",
            rotation_mode="anchor",
        )
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylabel(label)
        axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
        axes.set_ylim(bottom=0)
        drawing.legend(
            loc="outside upper center",
            ncols=min(len(series), 6),
            handlelength=0.9,
        )
        return report_plots.to_svg(drawing, description)


def lines(
    places: Sequence[float],
    series: Sequence[Series],
    *,
    description: str,
    x_label: str,
    y_label: str,
) -> str:
    """Draw a line per model over severities or strengths.

    Args:
        places: Where the values lie.
        series: Models, with a share in [0, 1] per place.
        description: What a screen reader says; unique on the page.
        x_label: Of the horizontal axis.
        y_label: Of the vertical axis.
    """
    with mpl.rc_context(report_plots.STYLE):
        drawing, axes = report_plots.draw((5.2, 2.8))
        for number, (model, color, opacity, values) in enumerate(series):
            axes.plot(
                places,
                values,
                color=report_plots.COLORS[color],
                alpha=opacity,
                linestyle=("-", (0, (5, 2)), (0, (1.2, 1.8)))[number % 3],
                marker="o",
                markersize=3.5,
                label=model,
            )
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
        axes.set_ylim(bottom=0)
        drawing.legend(loc="outside lower center", ncols=2)
        return report_plots.to_svg(drawing, description)


def reliability(
    series: Sequence[tuple[str, str, float, Sequence[Any]]],
    *,
    description: str,
) -> str:
    """Draw accuracy over confidence; a calibrated model lies on the diagonal.

    Args:
        series: Models, with [images, mean confidence, accuracy] per bin.
        description: What a screen reader says; unique on the page.
    """
    with mpl.rc_context(report_plots.STYLE):
        drawing, axes = report_plots.draw((5.2, 3.4))
        axes.plot(
            [0, 1], [0, 1], color=report_plots.COLORS["rule"], linewidth=1
        )
        for model, color, opacity, bins in series:
            values = np.asarray(bins, np.float64)  # [num_bins, 3]
            axes.plot(
                values[:, 1],
                values[:, 2],
                color=report_plots.COLORS[color],
                alpha=opacity,
                marker="o",
                markersize=3.5,
                label=model,
            )
        axes.set_xlim(0, 1.01)
        axes.set_ylim(0, 1.01)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ticker.PercentFormatter(1.0))
        drawing.legend(loc="outside lower center", ncols=2)
        return report_plots.to_svg(drawing, description)
