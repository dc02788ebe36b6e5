"""Photographs of solar cells that pip installs, as a source of images.

2,624 gray photographs of 300 x 300 pixels (Deitsch et al.; Buerhop et al.;
CC BY-NC-SA 4.0), each with the probability that the cell is defective. The
package is found by its metadata; none of its code is run, and nothing of its
images is copied. Writes `cells.csv`, and beside it a link `images` to the
photographs, so that ids, and with them splits, are the same on every machine:

    python -m study.solar_cells.cells --output_dir=runs/own_photographs/cells
    python -m run_scripts.noisy_student --preset=photos \\
        --data.labeled=csv:runs/own_photographs/cells/cells.csv ...
"""

import importlib.metadata
import os

from absl import flags

from noisy_student_tf import files
from noisy_student_tf.configs import config_tree
from run_scripts import flags as config_flags

DISTRIBUTION = "elpv-dataset"
DEFECTIVE, FUNCTIONAL = "defective", "functional"
NUM_IMAGES = 2624
CSV = "cells.csv"

_DATA = "elpv_dataset/data"
_IMAGES = "images"
# A probability of more counts as a defect: of 0, 1/3, 2/3 and 1 the last two.
_DEFECT_PROBABILITY = 0.5


def find() -> str:
    """Return the folder of the installed photographs and their labels.

    Raises:
        FileNotFoundError: The package is not installed, or lacks them.
    """
    command = f"pip install {DISTRIBUTION}"
    try:
        found = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as error:
        raise FileNotFoundError(
            f"{DISTRIBUTION}: the photographs of solar cells are not "
            f"installed. Run {command}."
        ) from error
    folder = str(found.locate_file(_DATA))
    for name in ("labels.csv", _IMAGES):
        if not files.exists(files.join(folder, name)):
            raise FileNotFoundError(
                f"{folder}: {DISTRIBUTION} {found.version} has no {name} "
                f"there. Run {command} --force-reinstall."
            )
    return os.path.abspath(folder)


def read_labels(path: str) -> list[tuple[str, str]]:
    """Read the package's list.

    Args:
        path: Lines of path, probability of a defect, and kind of the cell,
            separated by spaces.

    Returns:
        Paths as they are listed, and class names.

    Raises:
        ValueError: A line is of another form.
    """
    rows = []
    lines = files.read_text(path).rstrip().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            name, probability, _ = line.split()
            is_defective = float(probability) > _DEFECT_PROBABILITY
        except ValueError as error:
            raise ValueError(
                f"{path}: line {number} is {line!r}; accepted are lines of "
                "path, probability and kind, separated by spaces. Run pip "
                f"install {DISTRIBUTION} --force-reinstall."
            ) from error
        rows.append((name, DEFECTIVE if is_defective else FUNCTIONAL))
    return rows


def write(directory: str) -> str:
    """Write the list of photographs and classes, and the link to them.

    Args:
        directory: A local folder; what is there of an earlier call is written
            anew.

    Returns:
        Path of the list, for `--data.labeled=csv:PATH`.

    Raises:
        FileNotFoundError: The package is not installed.
        ValueError: Its list is damaged.
    """
    source = find()
    rows = read_labels(files.join(source, "labels.csv"))
    files.make_directories(directory)
    link = files.join(directory, _IMAGES)
    with files.temporary_name(link) as temporary:
        os.symlink(files.join(source, _IMAGES), temporary)
    path = files.join(directory, CSV)
    lines = ["path,label", *map(",".join, rows)]
    files.write_text(path, "\n".join(lines) + "\n")
    return path


def define_flags() -> None:
    """Define where the list goes."""
    config_tree.DEFINE_path(
        "output_dir", None, "Folder of the list and the link."
    )


def main(_: list[str]) -> None:
    """Write the list, and say how it is used."""
    config_flags.require("output_dir", "runs/own_photographs/cells")
    path = write(flags.FLAGS.output_dir)
    print(f"--data.labeled=csv:{path}")


if __name__ == "__main__":
    define_flags()
    config_flags.run(main)
