"""Classifiers on the features of a published network, for comparison.

What one would try first on few photographs: the network that ours begin with
stays as it is; logistic regression learns from what it says of the labeled
images, and scikit-learn's `SelfTrainingClassifier` from the unlabeled ones,
too.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from sklearn import (
    linear_model,
    pipeline,
    preprocessing,
    semi_supervised,
)

from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.evaluation import evaluate
from noisy_student_tf.model import saved
from noisy_student_tf.pipeline import eval_stream
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.weights import packages
from study.peers import pixels, splits

# Of 20 to 100 labels a class and more than a thousand features.
_INVERSE_REGULARIZATION = 0.01
_BATCH_SIZE = 64
_LEAST_PROBABILITY = 1e-12

# Images float32 [batch, side, side, 3] in [0, 255] -> float32 [batch, numbers].
_Features = Callable[[tf.Tensor], np.ndarray]


def fit(
    labeled: splits.Split, unlabeled: np.ndarray, *, threshold: float
) -> dict[str, Any]:
    """Fit the classifier on labels alone, and by self-training.

    Args:
        labeled: Few images.
        unlabeled: float32 [num_images, num_features].
        threshold: Confidence above which a prediction becomes a label.

    Returns:
        "teacher" and "student_1" -> a classifier.
    """

    def regression() -> pipeline.Pipeline:
        return pipeline.make_pipeline(
            preprocessing.StandardScaler(),
            linear_model.LogisticRegression(
                C=_INVERSE_REGULARIZATION,
                class_weight="balanced",
                max_iter=1000,
            ),
        )

    features, labels = labeled
    everything = np.concatenate([features, unlabeled])
    targets = np.concatenate(
        [labels, np.full(len(unlabeled), pixels.UNLABELED)]
    )
    return {
        "teacher": regression().fit(features, labels),
        "student_1": semi_supervised.SelfTrainingClassifier(
            regression(), threshold=threshold
        ).fit(everything, targets),
    }


def write(
    config: configs.Config, data: workdirs.Workdir, directory: str
) -> None:
    """Fit on a run's shards, and write `results.json` of the peer's folder.

    Args:
        config: Initial weights, resolution and threshold are read.
        data: The run whose labeled and unlabeled shards are read.
        directory: Of the peer.

    Raises:
        FileNotFoundError: The weights are not installed.
    """
    features_of = _load(config.model.initial_weights)
    read = splits.read(
        data,
        config.model.resolution,
        features_of,
        held_out=(),
        batch_size=_BATCH_SIZE,
    )
    classifiers = fit(
        read["train"],
        read["unlabeled"][0],
        threshold=config.selection.confidence_threshold,
    )
    rows = [
        _measure(
            config,
            name,
            functools.partial(_predict, classifier, features_of),
            data,
            files.join(directory, name),
        )
        for name, classifier in classifiers.items()
    ]
    files.write_json(files.join(directory, "results.json"), rows)


def _predict(
    classifier: Any, features_of: _Features, images: np.ndarray
) -> np.ndarray:
    return classifier.predict_proba(features_of(images))


def _load(initial_weights: str) -> _Features:
    """Return the features of a model's averages, without noise."""
    model, _ = saved.load(packages.directory_of(initial_weights))
    compiled = tf.function(
        lambda images: model.features(images, training=False), autograph=False
    )
    return lambda images: compiled(images).numpy()


def _measure(
    config: configs.Config,
    name: str,
    probabilities_of: Callable[[tf.Tensor], np.ndarray],
    data: workdirs.Workdir,
    directory: str,
) -> dict[str, Any]:
    """Return the row of a classifier on the test images."""
    files.make_directories(directory)
    resolution = config.model.resolution
    measured = evaluate.evaluate_and_keep(
        lambda images: np.log(
            np.maximum(probabilities_of(images), _LEAST_PROBABILITY)
        ),
        eval_stream.make_eval_stream(
            shards.open_split(data.labeled, "test"),
            resolution=resolution,
            batch_size=_BATCH_SIZE,
            crop="whole",
        ),
        config.data.num_classes,
        path=held_out.path(directory, "test"),
        class_names=shards.read_manifest(data.labeled)["class_names"],
        where="test images",
    )
    return evaluate.make_row(
        model=name,
        set=config.preset,
        split="test",
        resolution=resolution,
        weights="raw",
        metrics=measured,
    )
