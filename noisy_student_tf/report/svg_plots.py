"""The report's plots, as inline SVG that follows the page's colors.

matplotlib draws with stand-in colors, which become the style sheet's
variables: so one drawing serves a light and a dark page.
"""

import io
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import markupsafe
import matplotlib as mpl
import numpy as np
from matplotlib import figure, ticker
from matplotlib.axes import Axes

# Variable of the style sheet -> the color that stands for it in a drawing.
_NAMES = "ink muted rule teacher student supervised fixres right wrong"
COLORS = {
    name: f"#0{number:x}0{number:x}0{number:x}"
    for number, name in enumerate(_NAMES.split(), start=1)
}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": COLORS["muted"],
    "axes.edgecolor": COLORS["rule"],
    "axes.labelcolor": COLORS["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": COLORS["rule"],
    "grid.linewidth": 0.7,
    "xtick.color": COLORS["rule"],
    "xtick.labelcolor": COLORS["muted"],
    "ytick.color": COLORS["rule"],
    "ytick.labelcolor": COLORS["muted"],
    "ytick.left": False,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.labelcolor": COLORS["muted"],
}

_MAX_POINTS = 400
_MAX_TICKS = 12


def draw(size: tuple[float, float]) -> tuple[figure.Figure, Axes]:
    """Return an empty drawing of a width and height in inches."""
    drawing = figure.Figure(figsize=size, layout="constrained")
    return drawing, drawing.add_subplot()


def to_svg(drawing: figure.Figure, description: str) -> markupsafe.Markup:
    """Return a figure as an inline SVG that scales with its column.

    Args:
        drawing: What to write.
        description: What a screen reader says; unique on the page.
    """
    output = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": description}):
        # Without a date, the same run gives the same report.
        drawing.savefig(
            output, format="svg", transparent=True, metadata={"Date": None}
        )
    svg = output.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for side in ("width", "height"):
        svg = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", svg, count=1)
    label = re.sub(r"[<>&\"]", " ", description)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    # Ids would meet those of the other plots on the page.
    salt = f"{zlib.crc32(description.encode()):x}"
    svg = re.sub(r'id="', f'id="p{salt}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1p{salt}-", svg)
    for name, color in COLORS.items():
        svg = svg.replace(color, f"var(--{name})")
    return markupsafe.Markup(svg)


def _thin(points: np.ndarray) -> np.ndarray:
    """Return at most `_MAX_POINTS` of the points, the last one among them."""
    if len(points) <= _MAX_POINTS:
        return points
    return points[np.linspace(0, len(points) - 1, _MAX_POINTS).astype(int)]


@mpl.rc_context(STYLE)
def curves(
    lines: Sequence[tuple[str, str, Sequence[tuple[float, float]]]],
    *,
    description: str,
    as_percent: bool = False,
) -> markupsafe.Markup:
    """Draw values over steps.

    Args:
        lines: (label, color name, (step, value) pairs) of each curve; empty
            ones are left out.
        description: What a screen reader says; unique on the page.
        as_percent: Values in [0, 1] are shown as percentages.
    """
    drawing, axes = draw((3.4, 2.1))
    for number, (label, color, pairs) in enumerate(lines):
        if not pairs:
            continue
        points = _thin(np.asarray(pairs, np.float64))
        axes.plot(
            points[:, 0],
            points[:, 1],
            color=COLORS[color],
            label=label,
            linestyle=("-", (0, (1.2, 1.8)), (0, (5, 2)))[number % 3],
            marker="o" if len(points) == 1 else None,
            markersize=3,
        )
    steps = {step for _, _, pairs in lines for step, _ in pairs}
    axes.xaxis.set_major_locator(
        # There are no whole numbers about a single one.
        ticker.FixedLocator(list(steps))
        if len(steps) == 1
        else ticker.MaxNLocator(5, integer=True)
    )
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5))
    if as_percent:
        axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    axes.margins(x=0.01)
    if sum(bool(pairs) for _, _, pairs in lines) > 1:
        axes.legend(loc="best", handlelength=1.8)
    return to_svg(drawing, description)


@mpl.rc_context(STYLE)
def confidence_histogram(
    histogram: np.ndarray,
    *,
    correct: np.ndarray | None,
    threshold: float,
    description: str,
) -> markupsafe.Markup:
    """Draw how many images have which confidence.

    Args:
        histogram: int64 [num_bins]; bins divide [0, 1].
        correct: int64 [num_bins], the correctly labeled ones among them;
            None where labels are not known.
        threshold: Images below it are not selected.
        description: What a screen reader says; unique on the page.
    """
    width = 1 / len(histogram)
    starts = np.arange(len(histogram)) * width
    # A hair of space between the bars.
    bar: dict[str, Any] = {
        "align": "edge",
        "width": 0.86 * width,
        "linewidth": 0,
    }
    drawing, axes = draw((5.2, 2.5))
    if correct is None:
        axes.bar(starts, histogram, color=COLORS["teacher"], **bar)
    else:
        axes.bar(starts, correct, color=COLORS["right"], label="right", **bar)
        axes.bar(
            starts,
            histogram - correct,
            bottom=correct,
            color=COLORS["wrong"],
            label="wrong",
            **bar,
        )
        drawing.legend(loc="outside lower center", ncols=2, handlelength=0.9)
    axes.set_ylim(bottom=0)
    _mark_threshold(axes, threshold)
    axes.set(xlim=(0, 1), xlabel="confidence", ylabel="images")
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    return to_svg(drawing, description)


@mpl.rc_context(STYLE)
def accuracy_by_threshold(
    known: np.ndarray,
    correct: np.ndarray,
    *,
    threshold: float,
    description: str,
) -> markupsafe.Markup:
    """Draw what a threshold does: share of images kept, and their accuracy.

    Args:
        known: int64 [num_bins], images with known labels by confidence.
        correct: int64 [num_bins], those labeled right.
        threshold: The one that was used.
        description: What a screen reader says; unique on the page.
    """
    starts = np.arange(len(known)) / len(known)
    kept = np.cumsum(known[::-1])[::-1]
    right = np.cumsum(correct[::-1])[::-1]
    has_images = kept > 0
    drawing, axes = draw((5.2, 2.5))
    axes.plot(
        starts[has_images],
        right[has_images] / kept[has_images],
        color=COLORS["right"],
        label="accuracy of what is kept",
    )
    axes.plot(
        starts,
        kept / max(kept[0], 1),
        color=COLORS["muted"],
        linestyle=(0, (1.2, 1.8)),
        label="share of images kept",
    )
    _mark_threshold(axes, threshold)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold")
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0, 0))
    drawing.legend(loc="outside lower center", ncols=2)
    return to_svg(drawing, description)


@mpl.rc_context(STYLE)
def reliability(
    bins: Mapping[str, Sequence[Any]], *, description: str
) -> markupsafe.Markup:
    """Draw accuracy over confidence; on the diagonal the two agree.

    Args:
        bins: Of each bin of equal width the `num_images`, and the mean of
            their `confidences` and `accuracies`, None in an empty bin.
        description: What a screen reader says; unique on the page.
    """
    columns = (bins[x] for x in ("confidences", "accuracies", "num_images"))
    points = [each for each in zip(*columns, strict=True) if each[2]]
    most = max((count for _, _, count in points), default=1)
    drawing, axes = draw((5.2, 2.5))
    axes.plot((0, 1), (0, 1), color=COLORS["muted"], linestyle=(0, (1.2, 1.8)))
    for sure, right, count in points:
        axes.plot((sure, sure), (sure, right), color=COLORS["rule"])
        axes.plot(
            sure,
            right,
            marker="o",
            color=COLORS["teacher"],
            markersize=3 + 7 * (count / most) ** 0.5,
            markeredgewidth=0,
        )
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05))
    axes.set(xlabel="mean confidence (size: images)", ylabel="accuracy")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ticker.PercentFormatter(1.0, 0))
    return to_svg(drawing, description)


@mpl.rc_context(STYLE)
def copies_histogram(
    counts: dict[int, int], *, description: str
) -> markupsafe.Markup:
    """Draw how many images have how many copies.

    Args:
        counts: Copies -> images.
        description: What a screen reader says; unique on the page.
    """
    drawing, axes = draw((5.2, 2.5))
    copies = sorted(counts)
    places = range(len(copies))
    images = [counts[count] for count in copies]
    axes.bar(places, images, color=COLORS["student"], linewidth=0)
    # One bar a number of copies, however far apart the numbers are.
    step = -(-len(copies) // _MAX_TICKS)
    axes.set_xticks(places[::step], [f"{n:,}" for n in copies[::step]])
    axes.set(xlabel="copies of one image", ylabel="images")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    return to_svg(drawing, description)


def _mark_threshold(axes: Axes, threshold: float) -> None:
    axes.axvline(
        threshold, color=COLORS["ink"], linewidth=1, linestyle=(0, (4, 2))
    )
    axes.annotate(
        f"threshold {threshold:g}",
        (threshold, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(4, 1),
        textcoords="offset points",
        color=COLORS["ink"],
        va="bottom",
        ha="left" if threshold < 0.8 else "right",
        annotation_clip=False,
    )
