"""Show the pseudo-labels of one student of a run, and what was left out.

Reads the data, `predictions_N/` and `selection_N/` in `--workdir`; writes a
page (`pseudo_labels_N.html` there), and all rows as a table if asked for.

    python -m run_scripts.inspect_pseudo_labels --workdir=runs/digits \\
        --csv=pseudo_labels.csv
"""

import json

from absl import flags

from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import schema
from noisy_student_tf.report import pseudo_label_page, pseudo_label_table
from run_scripts import flags as config_flags


def define_flags() -> None:
    """Define the flags of this script."""
    config_tree.DEFINE_path(
        "workdir", None, "Directory of the run.", required=True
    )
    config_flags.define_iteration_flag(
        "The student, from 1; 0: of a teacher that only selects."
    )
    flags.DEFINE_list(
        "classes",
        [],
        "Names of the classes whose images are shown. Empty: 20 at most.",
    )
    flags.DEFINE_list(
        "image_id", [], "Images to look up: 32 hexadecimal digits each."
    )
    config_tree.DEFINE_path(
        "output", "", "The page. Empty: pseudo_labels_N.html in --workdir."
    )
    config_tree.DEFINE_path("csv", "", "Where all rows are written, too.")


def main(_: list[str]) -> None:
    """Write the page and, if asked for, the table."""
    options = flags.FLAGS
    workdir = workdirs.named(options.workdir)
    iteration = options.iteration
    looked_up = [
        pseudo_label_table.find(parse_id(text), workdir, iteration)
        for text in options.image_id
    ]
    for _pick, facts in looked_up:
        print(json.dumps(facts, indent=2))
    path = options.output or files.join(
        options.workdir, f"pseudo_labels_{iteration}.html"
    )
    pseudo_label_page.write_page(
        path, workdir, iteration, classes=options.classes, looked_up=looked_up
    )
    print(f"page: {path}")
    if options.csv:
        num_rows = pseudo_label_table.write_csv(options.csv, workdir, iteration)
        print(f"table: {options.csv} ({num_rows} images)")


def parse_id(text: str) -> bytes:
    """Return the 16 bytes of an id in hex.

    Raises:
        ValueError: It is none.
    """
    try:
        image_id = bytes.fromhex(text)
    except ValueError:
        image_id = b""
    if len(image_id) != schema.ID_BYTES:
        raise ValueError(
            f"--image_id={text}: accepted are 32 hexadecimal digits, as the "
            "CSV file and the page show them."
        )
    return image_id


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
