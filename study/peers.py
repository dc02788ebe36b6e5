"""scikit-learn's self-training on the shards of a run, for comparison.

What one would try first without a neural network: logistic regression on
principal components of the pixels, wrapped in `SelfTrainingClassifier`.
"""

from collections.abc import Iterator, Mapping
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


HELD_OUT = ("validation", "test")

# Gray levels float32 [num_images, side * side] in [0, 1], and labels int64
# [num_images], -1 where there are none.
Split = tuple[np.ndarray, np.ndarray]


def read_splits(data: workdirs.Workdir, resolution: int) -> dict[str, Split]:
    """Read the small gray images of a run, shown whole.

    Args:
        data: Of the run.
        resolution: Side of the images in pixels.

    Returns:
        "train", "validation", "test" and "unlabeled" -> images.
    """
    sets = {
        split: shards.open_split(data.labeled, split)
        for split in ("train", *HELD_OUT)
    }
    sets["unlabeled"] = shards.open_split(data.unlabeled, "unlabeled")
    return {name: _read(each, resolution) for name, each in sets.items()}


def _read(shard_set: shards.ShardSet, resolution: int) -> Split:
    pixels, labels = [], []
    for batch in eval_stream.make_eval_stream(
        shard_set, resolution=resolution, batch_size=_BATCH_SIZE, crop="whole"
    ):
        is_valid = batch["is_valid"].numpy()
        gray = tf.reduce_mean(batch["images"], axis=-1).numpy() / 255
        pixels.append(gray.reshape(len(gray), -1)[is_valid])
        labels.append(batch["labels"].numpy()[is_valid])
    return np.concatenate(pixels), np.concatenate(labels)


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
    pixels, labels = labeled
    everything = np.concatenate([pixels, unlabeled])
    targets = np.concatenate([labels, np.full(len(unlabeled), _UNLABELED)])
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
        project.transform(pixels), labels
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


def result_rows(
    config: configs.Config,
    model: str,
    weights: str,
    hits: Mapping[str, tuple[int, int]],
) -> Iterator[dict[str, Any]]:
    """Yield accuracies as `results.json` has them.

    Args:
        config: What was trained on, and at which resolution.
        model: Its name.
        weights: "raw" or "ema".
        hits: Split -> how many images are right, of how many.
    """
    for split, (num_correct, num_images) in hits.items():
        yield {
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
    """Fit on a run's shards, and write `results.json` of the peer's folder.

    Args:
        config: Threshold, resolution and seed are read.
        data: The run whose labeled and unlabeled shards are read.
        directory: Of the peer.
    """
    splits = read_splits(data, config.model.resolution)
    models = fit(
        splits["train"],
        splits["unlabeled"][0],
        threshold=config.selection.confidence_threshold,
        seed=config.seed,
    )
    rows: list[dict[str, Any]] = []
    for name, classify in models.items():
        hits = {}
        for split in HELD_OUT:
            pixels, labels = splits[split]
            hits[split] = int((classify(pixels) == labels).sum()), len(labels)
        rows += result_rows(config, name, "raw", hits)
    files.make_directories(directory)
    files.write_json(files.join(directory, "results.json"), rows)
