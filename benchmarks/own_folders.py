"""Run the loop on folders of PNG files, as one's own images would lie.

Writes Fashion-MNIST (Debian: dataset-fashion-mnist) as `labeled/CLASS/N.png`,
`unlabeled/N.png` and `test/CLASS/N.png`, and runs the preset on them by
changing nothing but paths and the length: labels and splits are what the
preset has for images of its own. Flags after `--` go to the run.

    python -m benchmarks.own_folders --workdir=runs/own_folders

Ten labels a class and released weights, other pictures with each draw:

    python -m benchmarks.own_folders --workdir=runs/draw_1 --draw=1 \
      --labeled_per_class=10 --num_unlabeled=3000 --num_test=2000 -- \
      --preset=photos --data.labeled_per_class=10 --data.validation_fraction=0
"""

import os
import random
import subprocess
import sys

from absl import app, flags

from data_prep import sources
from data_prep.sources import items

flags.DEFINE_string("workdir", "runs/own_folders", "Where everything goes.")
flags.DEFINE_string(
    "source", "/usr/share/datasets/fashion-mnist", "Folder of the IDX files."
)
flags.DEFINE_integer("labeled_per_class", 150, "Pictures in labeled/CLASS.")
flags.DEFINE_integer("num_unlabeled", 6000, "Pictures in unlabeled/.")
flags.DEFINE_integer("num_test", 1000, "Pictures in test/.")
flags.DEFINE_integer(
    "draw", 0, "Which pictures; 0 takes them in the order of the files."
)

NAMES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt",
    "sneaker", "bag", "boot",
)  # fmt: skip


def main(arguments: list[str]) -> None:
    """Write the folders unless they are there, and run the loop."""
    root = flags.FLAGS.workdir
    images = os.path.join(root, "images")
    if not os.path.exists(images):
        write_folders(images)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "run_scripts.noisy_student",
            "--preset=fashion_mnist",
            f"--data.labeled=folder:{images}/labeled",
            f"--data.unlabeled=files:{images}/unlabeled",
            f"--data.evaluation=folder:{images}/test",
            # As many labels, and the splits, of the preset's own images.
            "--data.labeled_per_class=100",
            "--data.validation_fraction=0.05",
            "--data.split=hashed",
            f"--workdir={root}/run",
            *arguments[1:],
        ],
        check=True,
    )


def write_folders(directory: str) -> None:
    """Write the three folders under a temporary name, then rename."""
    temporary = f"{directory}.temporary"
    train = sources.open_source(f"idx:{flags.FLAGS.source}")
    test = sources.open_source(f"idx:{flags.FLAGS.source}#t10k")
    counts = dict.fromkeys(range(len(NAMES)), 0)
    labeled, unlabeled = [], []
    for item in drawn(train.list_items().images):
        if counts[item.label] < flags.FLAGS.labeled_per_class:
            counts[item.label] += 1
            labeled.append(item)
        else:
            unlabeled.append(item)
    held_out = drawn(test.list_items().images)[: flags.FLAGS.num_test]
    unlabeled = unlabeled[: flags.FLAGS.num_unlabeled]
    write_pictures(train, labeled, f"{temporary}/labeled", in_classes=True)
    write_pictures(train, unlabeled, f"{temporary}/unlabeled", in_classes=False)
    write_pictures(test, held_out, f"{temporary}/test", in_classes=True)
    os.rename(temporary, directory)


def drawn(listed: tuple[items.Item, ...]) -> list[items.Item]:
    """Return the items in the order of `--draw`."""
    ordered = list(listed)
    if flags.FLAGS.draw:
        random.Random(flags.FLAGS.draw).shuffle(ordered)
    return ordered


def write_pictures(
    source: items.Source,
    wanted: list[items.Item],
    directory: str,
    *,
    in_classes: bool,
) -> None:
    """Write pictures as files, in folders of their classes or flat."""
    with source.reader(tuple(wanted)) as read:
        for item in wanted:
            folder = directory
            if in_classes:
                folder = os.path.join(directory, NAMES[item.label])
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, f"{item.key.replace('/', '_')}.png")
            with open(path, "wb") as file:
                file.write(read(item))


if __name__ == "__main__":
    app.run(main)
