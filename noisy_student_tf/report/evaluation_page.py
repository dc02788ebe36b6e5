"""The page of the evaluation command: one HTML file that needs nothing else."""

from collections.abc import Sequence
from typing import Any

from noisy_student_tf import files
from noisy_student_tf.evaluation import paper_numbers, results
from noisy_student_tf.report import pages
from noisy_student_tf.report.classes import class_section
from noisy_student_tf.report.robustness import (
    robustness_plots,
    robustness_section,
    robustness_tables,
)

_BINS = "reliability"


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
    page = pages.render("evaluation.html", **_contents(directory, rows))
    files.write_text(path, page)
    return path


def _contents(directory: str, rows: Sequence[results.Row]) -> dict[str, Any]:
    plain = [row for row in rows if results.is_accuracy(row)]
    robust = [row for row in rows if results.is_robustness(row)]
    sets = list(dict.fromkeys(row["set"] for row in rows))
    return {
        "models": list(dict.fromkeys(row["model"] for row in rows)),
        "rows": plain,
        "classes": class_section.read_evaluated(directory, plain),
        "has_top5": results.have_top5(plain),
        "has_restricted": any("num_classes" in row for row in plain),
        "published": robustness_tables.compare(rows),
        "recalled_note": robustness_tables.RECALLED_NOTE
        if any(row.get("is_recalled") for row in rows)
        else "",
        "attacks_published": paper_numbers.FGSM_ACCURACIES,
        "robustness": {
            name: robustness_section.contents(_of_set(robust, name))
            for name in sets
            if _of_set(robust, name)
        },
        "reliability": [
            (
                name,
                robustness_plots.reliability(
                    robustness_section.style(binned),
                    description=f"{name}: accuracy by confidence",
                ),
            )
            for name in sets
            if (binned := [r for r in _of_set(plain, name) if r.get(_BINS)])
        ],
    }


def _of_set(rows: Sequence[results.Row], name: str) -> list[results.Row]:
    return [row for row in rows if row["set"] == name]
