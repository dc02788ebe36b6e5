"""A working directory like that of a run on the digits, made in a second."""

import dataclasses
import functools
import io
import json

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet
from sklearn import datasets, linear_model

from noisy_student_tf import files
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.evaluation import class_metrics
from noisy_student_tf.records import held_out, schema, shards

NUM_SHARDS = 2
NUM_HELD_OUT = 400
NUM_LABELED = 40
THRESHOLD = 0.4
QUOTA = 90


@dataclasses.dataclass(frozen=True)
class Digits:
    """The unlabeled images of the run, and what its teacher says of them.

    Attributes:
        images: uint8 [num_images, 8, 8].
        labels: int64 [num_images] in [0, 10).
        ids: The 16-byte id of each image.
        probabilities: float32 [num_images, 10], rows sum to 1.
        accuracy: The teacher's, on held-out images.
        held_out_labels: int64 [num_held_out].
        held_out_logits: float32 [num_held_out, 10], of the teacher.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: list[bytes]
    probabilities: np.ndarray
    accuracy: float
    held_out_labels: np.ndarray
    held_out_logits: np.ndarray


@functools.cache
def digits() -> Digits:
    """Train a linear teacher on 40 digits and let it label the others."""
    pixels, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    pixels, labels = pixels[order], labels[order].astype(np.int64)
    teacher = linear_model.LogisticRegression(max_iter=200)
    teacher.fit(pixels[:NUM_LABELED] / 16, labels[:NUM_LABELED])
    tested = slice(NUM_LABELED, NUM_LABELED + NUM_HELD_OUT)
    unlabeled = slice(NUM_LABELED + NUM_HELD_OUT, None)
    images = (pixels[unlabeled] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    return Digits(
        images=images,
        labels=labels[unlabeled],
        ids=[schema.make_id("digits", str(i)) for i in range(len(images))],
        probabilities=teacher.predict_proba(pixels[unlabeled] / 16).astype(
            np.float32
        ),
        accuracy=teacher.score(pixels[tested] / 16, labels[tested]),
        held_out_labels=labels[tested],
        held_out_logits=teacher.decision_function(pixels[tested] / 16).astype(
            np.float32
        ),
    )


def write(
    workdir: str,
    *,
    class_names: list[str] | None = None,
    with_truth: bool = True,
    iterations: int = 1,
) -> Digits:
    """Write a finished run and return what it labeled."""
    data = digits()
    names = class_names or [str(i) for i in range(10)]
    write_config(workdir)
    write_labeled(workdir, names)
    write_unlabeled(workdir, data, with_truth=with_truth)
    write_metrics(workdir, "teacher", total_steps=600, best=data.accuracy)
    for number in range(1, iterations + 1):
        write_predictions(workdir, data, number, len(names))
        write_selection(workdir, data, number)
        write_metrics(workdir, f"student_{number}", total_steps=900, best=0.9)
    write_results(workdir, data.accuracy, iterations)
    return data


def write_config(workdir: str) -> None:
    files.make_directories(workdir)
    run_config = config_tree.override(
        presets.preset("digits"),
        {"seed": 1, "selection.confidence_threshold": THRESHOLD},
    )
    files.write_text(
        files.join(workdir, "config.json"), config_tree.to_json(run_config)
    )


def write_labeled(workdir: str, class_names: list[str]) -> None:
    """Write the labeled directory's manifest: the report needs no more."""

    def split(name: str, num_records: int) -> dict:
        return shards.split_manifest(
            paths=[shards.shard_name(name, 0, 1)],
            num_records=num_records,
            schema="image",
            num_classes=len(class_names),
        )

    directory = files.join(workdir, "labeled")
    files.make_directories(directory)
    shards.write_manifest(
        directory,
        {
            "splits": {
                "train": split("train", NUM_LABELED),
                "validation": split("validation", 216),
                "test": split("test", NUM_HELD_OUT),
            },
            "class_names": class_names,
            "source": {"labeled": "digits", "evaluation": ""},
            "corrupt": [{"key": "3/broken <b>.png", "reason": "truncated"}],
            "num_corrupt": 1,
            "counts_per_class": {"train": [4] * 10},
            "excluded": {"num_overlapping": 0},
        },
    )


def shard_rows(data: Digits) -> list[np.ndarray]:
    """Return which images lie in which shard."""
    return np.array_split(np.arange(len(data.ids)), NUM_SHARDS)


def write_unlabeled(workdir: str, data: Digits, *, with_truth: bool) -> None:
    """Write shards, their indices, and the true labels."""
    directory = files.join(workdir, "unlabeled")
    files.make_directories(directory)
    names = []
    for index, rows in enumerate(shard_rows(data)):
        names.append(shards.shard_name("unlabeled", index, NUM_SHARDS))
        with shards.open_writer(files.join(directory, names[-1])) as writer:
            for row in rows:
                writer.write(
                    schema.encode_image(
                        image=to_png(data.images[row]), image_id=data.ids[row]
                    )
                )
        index_name = shards.index_name("unlabeled", index, NUM_SHARDS)
        write_table(
            files.join(directory, index_name), image_id=to_ids(data, rows)
        )
    if with_truth:
        # In another order than the shards: images are joined by id.
        rows = np.arange(len(data.ids))[::-1]
        write_table(
            files.join(directory, "truth.parquet"),
            image_id=to_ids(data, rows),
            label=data.labels[rows],
        )
    entry = shards.split_manifest(
        paths=names, num_records=len(data.ids), schema="image", num_classes=0
    )
    shards.write_manifest(
        directory,
        {
            "splits": {"unlabeled": entry},
            "source": {"unlabeled": "the rest of digits"},
            "corrupt": [],
            "num_corrupt": 0,
            "excluded": {"num_identical": 2, "keys": ["5", "9"]},
        },
    )


def to_png(image: np.ndarray) -> bytes:
    output = io.BytesIO()
    Image.fromarray(image).save(output, "png")
    return output.getvalue()


def to_ids(data: Digits, rows: np.ndarray) -> pa.Array:
    return pa.array([data.ids[row] for row in rows], pa.binary(schema.ID_BYTES))


def write_table(path: str, **columns) -> None:
    output = io.BytesIO()
    parquet.write_table(pa.table(columns), output)
    files.write_bytes(path, output.getvalue())


def write_predictions(
    workdir: str, data: Digits, number: int, num_classes: int
) -> None:
    directory = files.join(workdir, f"predictions_{number}")
    files.make_directories(directory)
    halves = np.zeros((len(data.ids), num_classes), np.float16)
    halves[:, :10] = data.probabilities
    for index, rows in enumerate(shard_rows(data)):
        name = f"predictions-{index:05d}-of-{NUM_SHARDS:05d}.parquet"
        write_table(
            files.join(directory, name),
            image_id=to_ids(data, rows),
            class_id=data.probabilities[rows].argmax(1).astype(np.int32),
            confidence=data.probabilities[rows].max(1),
            probabilities=pa.FixedSizeListArray.from_arrays(
                pa.array(halves[rows].reshape(-1)), num_classes
            ),
        )
    shards.write_manifest(directory, {"num_classes": num_classes})


def select(data: Digits) -> np.ndarray:
    """Return the copies of each image: int32 [num_images], 0 if left out."""
    class_ids = data.probabilities.argmax(1)
    confidences = data.probabilities.max(1)
    copies = np.zeros(len(data.ids), np.int32)
    for class_id in range(10):
        is_good = (class_ids == class_id) & (confidences >= THRESHOLD)
        rows = np.flatnonzero(is_good)
        rows = rows[np.argsort(-confidences[rows])][:QUOTA]
        copies[rows] = QUOTA // max(len(rows), 1)
    return copies


def write_selection(workdir: str, data: Digits, number: int) -> None:
    """Select at most 90 images of each class; repeat rare ones."""
    directory = files.join(workdir, f"selection_{number}")
    files.make_directories(directory)
    copies = select(data)
    for index, rows in enumerate(shard_rows(data)):
        rows = rows[copies[rows] > 0]
        name = f"selection-{index:05d}-of-{NUM_SHARDS:05d}.parquet"
        write_table(
            files.join(directory, name),
            image_id=to_ids(data, rows),
            class_id=data.probabilities[rows].argmax(1).astype(np.int32),
            confidence=data.probabilities[rows].max(1),
            copies=copies[rows],
        )
    files.write_json(
        files.join(directory, "summary.json"),
        {"warnings": ["Class 8 has 31 images of a quota of 90."]},
    )
    shards.write_manifest(directory, {})


def write_metrics(
    workdir: str, name: str, *, total_steps: int, best: float
) -> None:
    """Write curves that rise to an accuracy, and half a line."""
    random = np.random.default_rng(total_steps)
    lines = []
    for step in range(50, total_steps + 1, 50):
        done = step / total_steps
        loss = 1.6 * np.exp(-4 * done) + 0.5 + 0.03 * random.normal()
        lines.append(
            {
                "kind": "train",
                "step": step,
                "epoch": step / 2.5,
                "loss": loss,
                "labeled_loss": loss,
                "unlabeled_loss": 0.0 if name == "teacher" else 1.3 * loss,
                "learning_rate": 0.1 * (1 + np.cos(np.pi * done)) / 2,
                "images_per_second": 800 + 20 * random.normal(),
            }
        )
        if step % 100 == 0:
            ema = best * (1 - np.exp(-5 * done))
            raw = ema - 0.03 + 0.02 * random.normal()
            lines.append(
                {
                    "kind": "validation",
                    "step": step,
                    "ema_accuracy": ema,
                    "raw_accuracy": raw,
                }
            )
    directory = files.join(workdir, name)
    files.make_directories(directory)
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    files.write_text(
        files.join(directory, "metrics.jsonl"), text + '{"kind": "tr'
    )


def write_held_out(
    workdir: str,
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    names: list[str],
    split: str = "test",
    folder: str = "teacher",
) -> None:
    """Write what a model said of each held-out image, and of its classes."""
    directory = files.join(workdir, folder)
    files.make_directories(directory)
    path = held_out.path(directory, split)
    ids = [schema.make_id(split, str(i)) for i in range(len(labels))]
    with held_out.open_writer(path, len(names)) as keep:
        keep(logits, labels, ids)
    class_metrics.write(path, class_metrics.measure(path, names))


def write_results(workdir: str, teacher: float, iterations: int) -> None:
    accuracies = {"teacher": teacher}
    for number in range(1, iterations + 1):
        accuracies[f"student_{number}"] = 0.84 + 0.02 * (number - 1)
    accuracies[f"student_{iterations}_fixres"] = 0.865
    rows = [
        {
            "model": model,
            "set": "digits",
            "split": split,
            "resolution": 40 if model.endswith("fixres") else 32,
            "weights": weights,
            "num_images": num_images,
            "accuracy": accuracy,
            "top5_accuracy": 0.98,
            "loss": 2 * (1 - accuracy),
            "calibration_error": 0.06,
            "interval_95": [accuracy - width, accuracy + width],
        }
        for model, ema_accuracy in accuracies.items()
        for split, num_images, width, weights, accuracy in (
            ("test", NUM_HELD_OUT, 0.036, "ema", ema_accuracy),
            ("validation", 216, 0.05, "ema", ema_accuracy),
            ("validation", 216, 0.05, "raw", ema_accuracy - 0.02),
        )
    ]
    files.write_json(files.join(workdir, "results.json"), rows)
