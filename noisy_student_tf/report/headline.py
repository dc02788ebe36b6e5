"""What the report announces: who is better than whom, and how surely."""

from collections.abc import Mapping, Sequence
from typing import Any

from noisy_student_tf import recipes, workdirs
from noisy_student_tf.evaluation import metrics, results
from noisy_student_tf.evaluation.significance import chance
from noisy_student_tf.records import shards
from noisy_student_tf.report import pages, run_sections


def read(
    workdir: workdirs.Workdir, rows: Sequence[results.Row]
) -> dict[str, Any] | None:
    """Return what the top of the report says, None without a student.

    Args:
        workdir: Of the run.
        rows: What `run_sections.read_results` returned.
    """
    found = compare(rows, read_comparisons(workdir))
    if not found:
        return None
    return {**found, "verdict": verdict(found, read_standings(workdir))}


def compare(
    rows: Sequence[results.Row], comparisons: Sequence[results.Row] = ()
) -> dict[str, Any] | None:
    """Compare the last student with a baseline on the same held-out images.

    The baseline is the supervised one where there is one, else the first
    teacher. Test images count before validation images, and averaged weights
    before raw ones.

    Args:
        rows: What `run_sections.read_results` returned.
        comparisons: Rows of comparisons.

    Returns:
        The rows `baseline` and `student`, and the `comparison` of both, None
        where there is none; None where one of the two is not evaluated yet.
    """
    for split in ("test", "validation"):
        for weights in ("ema", "raw"):
            # A model's first row is of its own resolution.
            found = {
                row["model"]: row
                for row in reversed(rows)
                if row["split"] == split
                and row["weights"] in (weights, "given")
            }
            baseline = found.get(recipes.SUPERVISED) or found.get("teacher")
            students = [
                row
                for row in found.values()
                if row["kind"] == "student"
                and baseline
                and row["set"] == baseline["set"]
            ]
            if baseline and students:
                last = max(
                    students,
                    key=lambda row: run_sections.model_order(row["model"]),
                )
                return {
                    "baseline": baseline,
                    "student": last,
                    "comparison": _comparison(comparisons, last, baseline),
                }
    return None


def _comparison(
    comparisons: Sequence[results.Row],
    student: results.Row,
    baseline: results.Row,
) -> results.Row | None:
    """Return what compares two rows image by image, if there is any."""
    for row in comparisons:
        if (
            row["model"] == student["model"]
            and row["baseline"] == baseline["model"]
            and all(row[key] == student[key] for key in ("split", "weights"))
        ):
            return row
    return None


def verdict(
    found: dict[str, Any], standings: Mapping[str, metrics.Standing]
) -> str:
    """Say in two or three words what a headline may announce.

    A gain is announced where both models have learned more than to name one
    class, and the images show a difference; nothing where they were not
    compared image by image.

    Args:
        found: What `compare` returned.
        standings: Of the models by name, where they are known.
    """
    for name in ("student", "baseline"):
        row = found[name]
        standing = standings.get(row["model"])
        if standing and not standing.is_above_chance:
            return f"{row['title'].lower()} has not learned"
    comparison = found["comparison"]
    if not comparison:
        return ""
    if not results.is_shown(comparison):
        return "no difference shown"
    return f"{pages.points(100 * comparison['difference'])} points"


def read_comparisons(workdir: workdirs.Workdir) -> list[results.Row]:
    """Read how models compare, with the titles and kinds of both."""
    return [
        row
        | {
            "title": run_sections.model_title(row["model"]),
            "kind": run_sections.model_kind(row["model"]),
            "baseline_title": run_sections.model_title(row["baseline"]),
            "baseline_kind": run_sections.model_kind(row["baseline"]),
            "is_shown": results.is_shown(row),
            "p_text": results.format_p(row["p_value"]),
        }
        for row in filter(results.is_comparison, results.read(workdir.results))
    ]


def read_standings(workdir: workdirs.Workdir) -> dict[str, metrics.Standing]:
    """Return how the finished models do beside naming one class, by name."""
    found = {}
    for model in recipes.of(workdirs.read_config(workdir)).models:
        folder = workdir.folder(model.folder)
        if shards.is_finished(folder):
            standings = chance.read(shards.read_manifest(folder))
            if standings:
                found[model.name] = standings[chance.deciding(standings)]
    return found


def read_export(workdir: workdirs.Workdir) -> dict[str, Any] | None:
    """Return which model was exported, and why; None before it was."""
    if not shards.is_finished(workdir.export):
        return None
    manifest = shards.read_manifest(workdir.export)
    return {"title": run_sections.model_title(manifest["model"]), **manifest}
