"""Compare what a server was sent with what its model was measured on.

Reads what `run_scripts.serve --prediction_log` wrote, and the held-out images
that lie beside the export; prints mean confidence, mean energy and the mix of
classes of both, and what is more than chance, and writes `--page`.

    python -m run_scripts.drift --prediction_log=served \\
        --export=runs/digits/export/saved_model

No true class of a served picture is known: a change is no loss of accuracy, but
a reason to look, and to label some (`run_scripts.review`).
"""

import datetime

import numpy as np
from absl import flags

from noisy_student_tf import files, texts
from noisy_student_tf.configs import config_tree
from noisy_student_tf.evaluation import drift
from noisy_student_tf.records import held_out, served_predictions
from noisy_student_tf.report import drift_page
from noisy_student_tf.serving import exported, runtimes
from run_scripts import flags as config_flags

FLAGS = flags.FLAGS

_SPLITS = ("validation", "test")
_NUM_CLASSES_SHOWN = 10


def define_flags() -> None:
    """Define the flags of this script."""
    config_tree.DEFINE_path(
        "prediction_log", None, "Folder that run_scripts.serve wrote to."
    )
    config_tree.DEFINE_path("export", None, "SavedModel, or a run's directory.")
    config_tree.DEFINE_path(
        "reference",
        None,
        "File of held-out images that served ones are compared with. By "
        "default the one beside the export.",
    )
    flags.DEFINE_string(
        "since", "", "Only pictures since then (UTC), such as 2026-05-31."
    )
    config_tree.DEFINE_path("page", "drift.html", "File that is written.")


def main(_: list[str]) -> None:
    """Compare, print and write."""
    config_flags.require("prediction_log", "served")
    config_flags.require("export", "runs/digits/export/saved_model")
    described = exported.describe(FLAGS.export)
    served, left_out = _read_served(described.model["training_fingerprint"])
    found = drift.compare(
        served, _read_reference(described.directory), described.class_names
    )
    print(format_table(found))
    print(drift_page.verdict(found))
    if left_out:
        print(left_out)
    files.write_text(FLAGS.page, drift_page.render(found, left_out=left_out))
    print(f"page: {FLAGS.page}")


def _read_served(fingerprint: str) -> tuple[drift.Predictions, str]:
    """Return what a model said, and what is told of the other rows."""
    directory = FLAGS.prediction_log
    rows = served_predictions.read(directory)
    if FLAGS.since:
        rows = rows.where(rows.times >= _since())
    of_model = rows.where(rows.models == fingerprint)
    once = served_predictions.once_each(of_model)
    numbers = {
        "of other weights": len(rows.ids) - len(of_model.ids),
        "of pictures that were sent before": len(of_model.ids) - len(once.ids),
    }
    left_out = ", ".join(f"{n:,} {what}" for what, n in numbers.items() if n)
    predictions = drift.Predictions(
        once.classes, once.confidences, once.energies
    )
    return predictions, left_out and f"Rows that are left out: {left_out}."


def _since() -> np.datetime64:
    try:
        since = datetime.datetime.fromisoformat(FLAGS.since)
    except ValueError as error:
        raise ValueError(
            f"--since={FLAGS.since}: accepted are a day or a time, such as "
            "2026-05-31 or 2026-05-31T12:00."
        ) from error
    if since.tzinfo:
        since = since.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(since)


def _read_reference(directory: str) -> drift.Predictions:
    rows = held_out.read(_reference(directory))
    return drift.joined([drift.of_logits(each.logits) for each in rows])


def _reference(directory: str) -> str:
    if FLAGS.reference:
        return FLAGS.reference
    for split in _SPLITS:
        path = held_out.path(runtimes.beside(directory, ""), split)
        if files.exists(path):
            return path
    raise FileNotFoundError(
        f"--export={FLAGS.export}: no held_out_validation.parquet or "
        "held_out_test.parquet beside the SavedModel. Give --reference: such a "
        "file lies in the folder of every model of a run."
    )


def format_table(found: drift.Drift) -> str:
    """Return what was compared as aligned text."""
    header = ("", "held out", "served", "difference", "by chance, or interval")
    rows = [*found.changes, *found.classes[:_NUM_CLASSES_SHOWN]]
    cells = [
        (
            each.name,
            f"{each.reference:.3f}",
            f"{each.served:.3f}",
            f"{each.difference:+.3f}",
            f"{each.interval[0]:+.3f} to {each.interval[1]:+.3f}",
            "changed" if each.is_shown else "",
        )
        for each in rows
    ]
    return texts.align([(*header, ""), *cells])


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
