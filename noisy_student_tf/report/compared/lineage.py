"""What people's corrections gave: a run beside the one they were made on.

Corrections lie in the directory of the run whose page asked for them, so that
the last file of `--data.corrections=...,runs/mine/corrections.jsonl` names the
run before. Of a file elsewhere no run before is known; `run_scripts.compare`
takes any two.
"""

from typing import Any

import numpy as np
from absl import logging

from noisy_student_tf import files, workdirs
from noisy_student_tf.evaluation import results
from noisy_student_tf.evaluation.significance import paired
from noisy_student_tf.records import corrections, shards
from noisy_student_tf.report import run_sections
from noisy_student_tf.report.compared import (
    compared_plots,
    compared_runs,
    image_by_image,
)


def read(workdir: workdirs.Workdir) -> dict[str, Any] | None:
    """Return what the report's section shows.

    None where a run was made without corrections, where their file does not
    lie in a run's directory, or where one of both has no measured model yet.
    """
    line = trace(workdir)
    if len(line) < 2:
        return None
    after, before = line[:2]
    pair = image_by_image.Pair(after, after.chosen, before, before.chosen)
    manifest = shards.read_manifest(workdir.labeled)
    section = {
        "after": after,
        "before": before,
        "answers": manifest["corrections"],
        "has_other_classes": after.class_names != before.class_names,
        "rows": [],
        "given": None,
        "corrected": None,
        "plot": _plot(line),
    }
    if section["has_other_classes"] or not pair.joined:
        return section
    rows = (e.compare() for e in image_by_image.pairs([before, after]))
    return section | {
        "rows": [row for row in rows if row],
        "given": _numbers(*pair.joined),
        "corrected": _by_people(workdir, pair),
    }


def trace(workdir: workdirs.Workdir) -> list[compared_runs.Run]:
    """Return a run and those before it, the last one first.

    One that cannot be read ends the line, and the log says why.
    """
    line: list[compared_runs.Run] = []
    root = workdir.root.rstrip("/")
    while root and root not in [each.workdir.root for each in line]:
        name = root.rpartition("/")[2]
        try:
            line.append(compared_runs.read(root, name))
        except FileNotFoundError:
            break
        except ValueError as error:
            logging.warning("%s is not compared with: %s", root, error)
            break
        root = _before(line[-1])
    return line


def _before(run: compared_runs.Run) -> str:
    """Return the directory that a run's corrections lie in; or empty."""
    last = run.config.data.corrections.rpartition(",")[2]
    return files.expand_home(last).rpartition("/")[0]


def _numbers(split: str, joined: paired.Joined) -> dict[str, Any]:
    """Return both accuracies on common images, and what they differ by."""
    after, before = joined.accuracies
    row = paired.of_joined(joined)
    return {
        **row,
        "split": split,
        "after": after,
        "before": before,
        "is_shown": results.is_shown(row),
        "p_text": results.format_p(row["p_value"]),
    }


def _by_people(
    workdir: workdirs.Workdir, pair: image_by_image.Pair
) -> dict[str, Any] | None:
    """Return the same with people's labels of held-out images.

    What is none of the classes is left out. None where people have changed no
    label of the images.
    """
    if not pair.joined:
        return None
    split, joined = pair.joined
    path = files.join(workdir.labeled, corrections.FILE)
    # There is an empty copy where people took all back.
    said = corrections.parse(files.read_bytes(path), path)
    answers = corrections.merge(said.corrections).answers
    labels = joined.labels.copy()
    for row, image_id in enumerate(joined.ids):
        answer = answers.get(image_id.tobytes())
        if answer:
            labels[row] = (
                -1
                if answer.class_name is None
                else pair.run.class_names.index(answer.class_name)
            )
    again = joined.relabel(labels)
    num_changed = int(np.count_nonzero(labels != joined.labels))
    if not num_changed or not len(again.ids):
        return None
    return _numbers(split, again) | {"num_changed": num_changed}


def _plot(line: list[compared_runs.Run]) -> Any:
    """Return accuracy over labels of all runs of a line; None: of too few."""
    points = []
    for run in line:
        row = run.row("test") or run.row("validation")
        if row:
            interval = (row["low"], row["high"])
            points.append((run.num_labeled, row["accuracy"], *interval))
    if len({labels for labels, *_ in points}) < 2:
        return None
    title = run_sections.name(line[0].workdir)
    return compared_plots.accuracy_over_labels(
        points, description=f"Accuracy over labels of {title} and runs before"
    )
