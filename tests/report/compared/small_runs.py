"""Runs with few held-out images, whose models' answers are given by hand."""

import datetime

import numpy as np

from noisy_student_tf import files, workdirs
from noisy_student_tf.evaluation import metrics
from noisy_student_tf.records import corrections, held_out, shards
from tests.review import small_run

CAT, DOG, OWL = range(3)
LABELS = [CAT, DOG, OWL, CAT, DOG, OWL, CAT, DOG]
TEST = small_run.Pictures([f"test/{n}.png" for n in range(8)], LABELS)
RIGHT = list(LABELS)


def train(num_images: int) -> small_run.Pictures:
    keys = [f"train/{n}.png" for n in range(num_images)]
    return small_run.Pictures(keys, [n % 3 for n in range(num_images)])


def write(
    root: str,
    models: dict[str, list[int]],
    *,
    num_labeled: int = 6,
    test: small_run.Pictures = TEST,
    **overrides,
) -> workdirs.Workdir:
    """Write a run.

    Args:
        root: Of the run.
        models: Folder -> the class that is chosen for each test image.
        num_labeled: Training images.
        test: The held-out images.
        **overrides: Fields of the configuration.
    """
    unlabeled = small_run.Pictures(["heap/1.png", "heap/2.png"])
    splits = {
        "unlabeled": unlabeled,
        "train": train(num_labeled),
        "test": test,
    }
    workdir = small_run.write(
        root, splits, **{"fixres.resolution": 0, **overrides}
    )
    rows = [
        write_model(workdir, folder, chosen, test)
        for folder, chosen in models.items()
    ]
    files.write_json(workdir.results, rows)
    return workdir


def write_model(workdir, folder, chosen, test):
    """Write what a model says of test images, and return its row."""
    directory = workdir.folder(folder)
    files.make_directories(directory)
    logits = 4 * np.eye(3, dtype=np.float32)[chosen]
    with held_out.open_writer(held_out.path(directory, "test"), 3) as keep:
        keep(logits, np.array(test.labels), test.ids())
    num_right = int((np.array(chosen) == test.labels).sum())
    count = len(chosen)
    return {
        "model": folder,
        "set": "tiny",
        "split": "test",
        "resolution": 24,
        "weights": "ema",
        "num_images": count,
        "accuracy": num_right / count,
        "top5_accuracy": None,
        "loss": 0.5,
        "calibration_error": 0.1,
        "interval_95": list(metrics.wilson_interval(num_right, count)),
    }


def write_curves(workdir, folder, accuracies):
    """Write the validation accuracies of a training."""
    lines = [
        f'{{"kind": "validation", "step": {10 * n}, "ema_accuracy": {value}}}\n'
        for n, value in enumerate(accuracies, 1)
    ]
    path = files.join(workdir.folder(folder), "metrics.jsonl")
    files.write_text(path, "".join(lines))


def write_answers(workdir, answers):
    """Write what people said into the labeled folder: key -> class or None."""
    said = [
        corrections.Correction(
            image_id=small_run.image_id(key),
            decision="class" if name else "none",
            class_name=name,
            who="ann",
            when=datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC),
        )
        for key, name in answers.items()
    ]
    lines = [f"{corrections.to_line(each)}\n" for each in said]
    path = files.join(workdir.labeled, corrections.FILE)
    files.write_text(path, "".join(lines))
    manifest = shards.read_manifest(workdir.labeled)
    counts = {
        "num_decisions": 5,
        "num_new": 3,
        "num_other_label": 1,
        "num_same_label": 0,
        "num_none": 1,
        "num_held_out": len(answers),
        "num_disagreements": 0,
        "unknown_ids": [],
    }
    manifest |= {"corrections": counts}
    shards.write_manifest(workdir.labeled, manifest)
