"""scikit-learn's self-training on the shards of a run, for comparison.

What one would try first without a neural network: logistic regression on
principal components of the pixels, wrapped in `SelfTrainingClassifier`.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn import (
    decomposition,
    linear_model,
    pipeline,
    preprocessing,
    semi_supervised,
)

from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.evaluation import metrics
from noisy_student_tf.pipeline import eval_stream
from noisy_student_tf.records import shards

NUM_COMPONENTS = 64
_BATCH_SIZE = 1000
# scikit-learn's mark of an unlabeled image.
_UNLABELED = -1


@dataclasses.dataclass(frozen=True)
class Split:
    """Images as rows of gray levels.

    Attributes:
        pixels: float32 [num_images, side * side] in [0, 1].
        labels: int64 [num_images].
    """

    pixels: np.ndarray
    labels: np.ndarray


def read_split(shard_set: shards.ShardSet, resolution: int) -> Split:
    """Read a split of small gray images, shown whole.

    Args:
        shard_set: Its shards; images without labels get the label -1.
        resolution: Side of the images in pixels.
    """
    pixels, labels = [], []
    for batch in eval_stream.make_eval_stream(
        shard_set,
        resolution=resolution,
        batch_size=_BATCH_SIZE,
        crop="whole",
    ):
        is_valid = batch["is_valid"].numpy()
        gray = tf.reduce_mean(batch["images"], axis=-1).numpy() / 255
        pixels.append(gray.reshape(len(gray), -1)[is_valid])
        labels.append(batch["labels"].numpy()[is_valid])
    return Split(np.concatenate(pixels), np.concatenate(labels))


def fit(
    labeled: Split, unlabeled: np.ndarray, *, threshold: float, seed: int
) -> dict[str, Any]:
    """Fit the classifier on labels alone, and by self-training.

    Args:
        labeled: Few images.
        unlabeled: float32 [num_images, pixels] in [0, 1].
        threshold: Confidence above which a prediction becomes a label.
        seed: Of the principal components' solver.

    Returns:
        "teacher" and "student_1" -> a function of pixels that gives classes.
    """
    everything = np.concatenate([labeled.pixels, unlabeled])
    targets = np.concatenate(
        [labeled.labels, np.full(len(unlabeled), _UNLABELED)]
    )
    # Both see the same components, those of all images.
    project = pipeline.make_pipeline(
        preprocessing.StandardScaler(with_std=False),
        decomposition.PCA(
            min(NUM_COMPONENTS, *everything.shape),
            whiten=True,
            random_state=seed,
        ),
    ).fit(everything)
    supervised = linear_model.LogisticRegression(max_iter=1000).fit(
        project.transform(labeled.pixels), labeled.labels
    )
    self_trained = semi_supervised.SelfTrainingClassifier(
        linear_model.LogisticRegression(max_iter=1000), threshold=threshold
    ).fit(project.transform(everything), targets)
    return {
        name: lambda pixels, model=model: model.predict(
            project.transform(pixels)
        )
        for name, model in (
            ("teacher", supervised),
            ("student_1", self_trained),
        )
    }


def measure(
    config: configs.Config, data: workdirs.Workdir
) -> list[dict[str, Any]]:
    """Fit on a run's shards; return rows of `results.json`.

    Args:
        config: Threshold, resolution and seed are read.
        data: The run whose labeled and unlabeled shards are read.
    """
    resolution = config.model.resolution
    splits = {
        split: read_split(shards.open_split(data.labeled, split), resolution)
        for split in ("train", "validation", "test")
    }
    unlabeled = read_split(
        shards.open_split(data.unlabeled, "unlabeled"), resolution
    )
    models = fit(
        splits["train"],
        unlabeled.pixels,
        threshold=config.selection.confidence_threshold,
        seed=config.seed,
    )
    rows = []
    for name, classify in models.items():
        for split in ("validation", "test"):
            held_out = splits[split]
            is_right = classify(held_out.pixels) == held_out.labels
            rows.append(
                result_row(
                    config,
                    model=name,
                    split=split,
                    weights="raw",
                    num_correct=int(is_right.sum()),
                    num_images=len(is_right),
                )
            )
    return rows


def result_row(
    config: configs.Config,
    *,
    model: str,
    split: str,
    weights: str,
    num_correct: int,
    num_images: int,
) -> dict[str, Any]:
    """Return one accuracy as `results.json` has it."""
    return {
        "model": model,
        "set": config.preset,
        "split": split,
        "resolution": config.model.resolution,
        "weights": weights,
        "num_images": num_images,
        "accuracy": num_correct / num_images,
        "interval_95": metrics.wilson_interval(num_correct, num_images),
    }


def write(
    config: configs.Config, data: workdirs.Workdir, directory: str
) -> None:
    """Measure, and write `results.json` of the peer's own folder."""
    files.make_directories(directory)
    files.write_json(
        files.join(directory, "results.json"), measure(config, data)
    )
