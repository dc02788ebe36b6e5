"""Classify picture files and folders with an exported or another model.

Reads the SavedModel in `--export`, or a trained or imported model in `--model`,
or installed weights by their name, and the pictures; prints a table, and writes
`--csv` with the columns path, valid, class, class_name and probability.

    python -m run_scripts.classify --export=runs/digits/export/saved_model \
        --csv=classes.csv photos cat.jpg
    python -m run_scripts.classify --model=efficientnet-lite0 cat.jpg
"""

import csv
import io
import sys
from collections.abc import Iterable, Iterator

from absl import flags

from noisy_student_tf import files, texts
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import pictures
from noisy_student_tf.serving import exported, runtimes
from noisy_student_tf.stages import export
from run_scripts import flags as config_flags

_COLUMNS = ("path", "valid", "class", "class_name", "probability")
# Pictures whose files are held in memory at once.
_CHUNK = 64

Row = tuple[str, exported.Prediction]


def define_flags() -> None:
    """Define the flags of this script."""
    config_tree.DEFINE_path("export", None, "SavedModel, or a run's directory.")
    config_tree.DEFINE_path(
        "model",
        None,
        "In the place of --export: a model's directory, or efficientnet-lite0, "
        "-lite1 or -lite2, which pip installs.",
    )
    config_flags.define_runtime_flag()
    config_tree.DEFINE_path("csv", "classes.csv", "File that is written.")


def main(arguments: list[str]) -> None:
    """Classify, print and write."""
    source, directory = flags.FLAGS.model, flags.FLAGS.export
    if not source:
        config_flags.require("export", "runs/digits/export/saved_model")
    elif directory:
        raise ValueError(
            f"--model={source} and --export={directory}: give one of them."
        )
    paths = exported.list_pictures(arguments[1:])
    runtime = flags.FLAGS.runtime
    if not source:
        opened = exported.open_export(directory, runtime=runtime)
    elif runtime in (runtimes.AUTO, runtimes.SAVED_MODEL):
        opened = export.open_model(source)
    else:
        raise ValueError(
            f"--runtime={runtime} and --model={source}: only an export has "
            "files of other runtimes. Leave one of them out."
        )
    rows = list(classify(opened, paths))
    print(format_table(rows))
    files.write_text(flags.FLAGS.csv, format_csv(rows))
    print(f"{len(rows)} pictures: {flags.FLAGS.csv}")
    num_invalid = sum(not prediction.is_valid for _, prediction in rows)
    if num_invalid:
        print(
            f"{num_invalid} could not be decoded: accepted are "
            f"{pictures.ACCEPTED}.",
            file=sys.stderr,
        )


def classify(opened: exported.Exported, paths: list[str]) -> Iterator[Row]:
    """Yield every path with what the model says of it."""
    for start in range(0, len(paths), _CHUNK):
        chunk = paths[start : start + _CHUNK]
        encoded = [files.read_bytes(path) for path in chunk]
        yield from zip(chunk, exported.classify(opened, encoded), strict=True)


def format_table(rows: Iterable[Row]) -> str:
    """Return rows as aligned text."""
    cells = [("picture", "class", "probability")]
    for path, prediction in rows:
        if prediction.is_valid:
            percent = f"{100 * prediction.confidence:.1f} %"
            cells.append((path, prediction.class_name, percent))
        else:
            cells.append((path, "not a picture", ""))
    return texts.align(cells, num_names=2, is_ruled=True)


def format_csv(rows: Iterable[Row]) -> str:
    """Return rows as the content of a CSV file."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for path, prediction in rows:
        writer.writerow(
            [
                path,
                str(prediction.is_valid).lower(),
                prediction.class_index,
                prediction.class_name,
                f"{prediction.confidence:.6f}",
            ]
        )
    return buffer.getvalue()


if __name__ == "__main__":
    define_flags()
    config_flags.run(main, takes_arguments=True)
