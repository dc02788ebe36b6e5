"""Records and shards as a run would leave them, of one's choice."""

import pathlib

from noisy_student_tf import files
from noisy_student_tf.records import robustness_sets, schema, shards
from tests.report import synthetic_run

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORRUPTIONS = robustness_sets.CORRUPTIONS
PERTURBATIONS = robustness_sets.PERTURBATIONS


def row_of_test(model, accuracy):
    return {
        "model": model,
        "set": "fashion_mnist",
        "split": "test",
        "resolution": 28,
        "weights": "ema",
        "num_images": 10_000,
        "accuracy": accuracy,
        "interval_95": [accuracy - 0.008, accuracy + 0.008],
    }


def robustness_rows(model, *, error, flips, attacked):
    """Rows of one error, one flip probability, and one accuracy attacked."""
    common = {"model": model, "split": "test", "num_images": 100}
    if not isinstance(flips, dict):
        flips = dict.fromkeys(PERTURBATIONS, flips)
    return [
        {
            **common,
            "measure": "corruptions",
            "errors": {name: [error] * 5 for name in CORRUPTIONS},
        },
        {**common, "measure": "perturbations", "flip_probabilities": flips},
        {
            **common,
            "measure": "fgsm",
            "epsilon_pixels": 4.0,
            "accuracy": attacked,
        },
        {
            **common,
            "measure": "pgd",
            "epsilon_pixels": 16.0,
            "accuracy": attacked,
        },
    ]


def record(arm, seed, accuracies, rows=()):
    """Return a record of models with these accuracies."""
    return {
        "arm": arm,
        "seed": seed,
        "models": {
            model: {"num_parameters": 1_500_000} for model in accuracies
        },
        "pseudo_labels": [],
        "results": [
            *(row_of_test(*item) for item in accuracies.items()),
            *rows,
        ],
    }


def main_records(seed, *, supervised, students):
    """Return the records of the main table with one seed."""
    names = ["teacher", *(f"student_{i}" for i in (1, 2, 3))]
    return [
        record(
            "supervised",
            seed,
            {"teacher": supervised},
            robustness_rows("teacher", error=0.4, flips=0.1, attacked=0.2),
        ),
        record(
            "noisy_student",
            seed,
            dict(zip(names, students, strict=True)),
            robustness_rows("student_3", error=0.3, flips=0.08, attacked=0.3),
        ),
    ]


def write_shards(run, images, labels, *, num_classes):
    """Write a run's shards.

    Args:
        run: Its folders.
        images: Split -> uint8 [num_images, side, side].
        labels: Of every split's images but the unlabeled ones.
        num_classes: Of the labels.
    """
    for directory, names in (
        (run.labeled, [name for name in images if name != "unlabeled"]),
        (run.unlabeled, ["unlabeled"]),
    ):
        files.make_directories(directory)
        splits = {
            name: _write_split(
                directory,
                name,
                images[name],
                None if name == "unlabeled" else labels,
                num_classes,
            )
            for name in names
        }
        class_names = [str(label) for label in range(num_classes)]
        shards.write_manifest(
            directory, {"splits": splits, "class_names": class_names}
        )


def _write_split(directory, name, images, labels, num_classes):
    path = shards.shard_name(name, 0, 1)
    with shards.open_writer(files.join(directory, path)) as writer:
        for number, image in enumerate(images):
            writer.write(
                schema.encode_image(
                    image=synthetic_run.to_png(image),
                    image_id=schema.make_id(name, str(number)),
                    label=None if labels is None else labels[number],
                )
            )
    return shards.split_manifest(
        paths=[path],
        num_records=len(images),
        schema="image",
        num_classes=0 if labels is None else num_classes,
    )
