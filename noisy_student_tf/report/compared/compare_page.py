"""Runs side by side: a page that needs nothing else, and a table as text."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import markupsafe

from noisy_student_tf import files
from noisy_student_tf.evaluation import results
from noisy_student_tf.report import pages, run_sections
from noisy_student_tf.report.compared import (
    compared_plots,
    compared_runs,
    image_by_image,
)

_NOTHING = "(empty)"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several runs, and what the others are beside the first one.

    Attributes:
        runs: In the order of their naming.
        pairs: Models of two runs.
        rows: Of the pairs with common images.
        obstacles: Sentences of what cannot be compared.
        differences: Field -> its value in each run.
    """

    runs: list[compared_runs.Run]
    pairs: list[image_by_image.Pair]
    rows: list[results.Row]
    obstacles: list[str]
    differences: list[tuple[str, list[str]]]


def compare(paths: Sequence[str]) -> Comparison:
    """Compare runs.

    Raises:
        FileNotFoundError, ValueError: See `compared_runs.read_all`.
    """
    runs = compared_runs.read_all(paths)
    pairs = image_by_image.pairs(runs)
    return Comparison(
        runs=runs,
        pairs=pairs,
        rows=[row for row in (pair.compare() for pair in pairs) if row],
        obstacles=list(image_by_image.obstacles(runs, pairs)),
        differences=compared_runs.differences(runs),
    )


def describe(found: Comparison) -> str:
    """Return the comparison as text: results, differences, what is sure."""
    rows = [
        row | {"model": f"{run.name}/{row['model']}"}
        for run in found.runs
        for row in results.headline_rows(run.rows)
    ]
    parts = [results.format_table(rows), _describe_settings(found)]
    # Each run's own test or validation images are its headline.
    splits = {row["split"] for row in rows}
    compared = [row for row in found.rows if row["split"] in splits]
    parts.append("".join(results.describe_comparison(e) for e in compared))
    parts += found.obstacles
    return "\n\n".join(part.rstrip("\n") for part in parts if part)


def _describe_settings(found: Comparison) -> str:
    """Return a line a field that differs."""
    lines = [
        f"  {name}: {' | '.join(value or _NOTHING for value in values)}"
        for name, values in found.differences
    ]
    names = " | ".join(run.name for run in found.runs)
    if not lines:
        return f"{names} have the same configuration."
    return "\n".join([f"What differs ({names}):", *lines])


def write(path: str, found: Comparison, *, num_pictures: int) -> None:
    """Write the page.

    Args:
        path: Of the page.
        found: What `compare` returned.
        num_pictures: Of a pair of runs, and of each kind, at most.
    """
    measured = [
        row for run in found.runs for row in compared_runs.labeled_rows(run)
    ]
    shown = (
        image_by_image.pictures(pair, count=num_pictures)
        for pair in found.pairs
        if pair.is_of_chosen
    )
    page = pages.render(
        "compare.html",
        runs=found.runs,
        heads=[_head(run) for run in found.runs],
        obstacles=found.obstacles,
        differences=found.differences,
        tables=run_sections.tables(measured, found.rows),
        robustness=_robustness(found.runs),
        labels=_labels(found.runs),
        curves=compared_plots.curves(found.runs),
        pictures=[each for each in shown if each],
    )
    files.write_text(path, page)


def _head(run: compared_runs.Run) -> dict[str, Any]:
    """Return what the top of the page says of a run."""
    rows = (run.row(split) for split in compared_runs.SPLITS)
    row = next((row for row in rows if row), run.rows[-1])
    return {
        "name": run.name,
        "root": run.workdir.root,
        "num_labeled": run.num_labeled,
        "row": row,
    }


def _labels(
    runs: Sequence[compared_runs.Run],
) -> list[tuple[str, markupsafe.Markup]]:
    """Return (caption, SVG) of accuracy over labels, where they differ."""
    points = [
        (head["num_labeled"], row["accuracy"], row["low"], row["high"])
        for head in map(_head, runs)
        if (row := head["row"])["split"] == "test"
    ]
    if len({labels for labels, *_ in points}) < 2:
        return []
    caption = "Test accuracy over labeled images"
    drawing = compared_plots.accuracy_over_labels(
        points, description=f"{caption}, of the model that stands for each run"
    )
    return [(caption, drawing)]


def _robustness(runs: Sequence[compared_runs.Run]) -> list[dict[str, Any]]:
    """Return lines of a table: run, model, what is measured, and its value."""
    lines = []
    for run in runs:
        for row in filter(
            results.is_robustness, results.read(run.workdir.results)
        ):
            title = run_sections.model_title(row["model"])
            lines.append(
                {
                    "title": f"{run.name}: {title}",
                    "kind": run_sections.model_kind(row["model"]),
                    "what": _what(row),
                    "accuracy": row["accuracy"],
                    "error": row.get("mce", row.get("mfr")),
                }
            )
    return sorted(lines, key=lambda line: line["what"])


def _what(row: results.Row) -> str:
    """Return what a row of robustness measures."""
    if "epsilon_pixels" not in row:
        return row["measure"]
    return f"{row['measure'].upper()}, {row['epsilon_pixels']:g} pixels"
