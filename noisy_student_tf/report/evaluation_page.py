"""The page of the evaluation command: one HTML file that needs nothing else."""

from collections.abc import Sequence
from typing import Any

import markupsafe

from noisy_student_tf import files
from noisy_student_tf.evaluation import paper_numbers, results
from noisy_student_tf.report import robustness as report_robustness
from noisy_student_tf.report import robustness_plots as report_robustness_plots
from noisy_student_tf.report import robustness_tables, run_page


def write_page(directory: str) -> str:
    """Write `evaluation.html` beside `results.json` and return its path.

    Raises:
        ValueError: There are no results.
    """
    rows = results.read(files.join(directory, "results.json"))
    if not rows:
        raise ValueError(
            f"{directory} holds no results. Measure something with python -m "
            "run_scripts.evaluate --sets=... first."
        )
    path = files.join(directory, "evaluation.html")
    page = run_page.environment().get_template("evaluation.html")
    files.write_text(path, page.render(_contents(rows)))
    return path


def _contents(rows: Sequence[results.Row]) -> dict[str, Any]:
    sets = list(dict.fromkeys(row["set"] for row in rows))
    plain = [row for row in rows if not results.is_robustness(row)]
    robust = {
        name: report_robustness.contents(
            [
                row
                for row in rows
                if row["set"] == name and results.is_robustness(row)
            ]
        )
        for name in sets
    }
    return {
        "style": run_page.style(),
        "models": list(dict.fromkeys(row["model"] for row in rows)),
        "rows": plain,
        "has_restricted": any("num_classes" in row for row in plain),
        "published": robustness_tables.compare(rows),
        "comparison_heading": robustness_tables.COMPARISON_HEADING,
        "recalled_note": robustness_tables.RECALLED_NOTE
        if any(row.get("is_recalled") for row in rows)
        else "",
        "attacks_published": paper_numbers.FGSM_ACCURACIES,
        "robustness": {name: parts for name, parts in robust.items() if parts},
        "reliability": [
            (name, _reliability(name, plain))
            for name in sets
            if any(
                row["set"] == name and row.get("reliability") for row in plain
            )
        ],
    }


def _reliability(name: str, rows: Sequence[results.Row]) -> markupsafe.Markup:
    """Draw accuracy over confidence of all models on a set."""
    chosen = [
        row for row in rows if row["set"] == name and row.get("reliability")
    ]
    svg = report_robustness_plots.reliability(
        [
            (
                style["title"],
                style["color"],
                style["opacity"],
                row["reliability"],
            )
            for row, style in zip(
                chosen, report_robustness.styles(chosen).values(), strict=True
            )
        ],
        description=f"{name}: accuracy by confidence",
    )
    return markupsafe.Markup(svg)
