"""scikit-learn's self-training on the shards of a run, for comparison.

What one would try first without a neural network: logistic regression on
principal components of the pixels, wrapped in `SelfTrainingClassifier`.
"""

from typing import Any

import numpy as np
from sklearn import (
    decomposition,
    linear_model,
    pipeline,
    preprocessing,
    semi_supervised,
)

from noisy_student_tf import configs, files, workdirs
from study.peers import splits

NUM_COMPONENTS = 64
# scikit-learn's mark of an unlabeled image.
UNLABELED = -1


def fit(
    labeled: splits.Split, unlabeled: np.ndarray, *, threshold: float, seed: int
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
    targets = np.concatenate([labels, np.full(len(unlabeled), UNLABELED)])
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


def write(
    config: configs.Config, data: workdirs.Workdir, directory: str
) -> None:
    """Fit on a run's shards, and write `results.json` of the peer's folder.

    Args:
        config: Threshold, resolution and seed are read.
        data: The run whose labeled and unlabeled shards are read.
        directory: Of the peer.
    """
    read = splits.read(data, config.model.resolution, splits.gray_levels)
    models = fit(
        read["train"],
        read["unlabeled"][0],
        threshold=config.selection.confidence_threshold,
        seed=config.seed,
    )
    rows: list[dict[str, Any]] = []
    for name, classify in models.items():
        hits = {}
        for split in splits.HELD_OUT:
            pixels, labels = read[split]
            hits[split] = int((classify(pixels) == labels).sum()), len(labels)
        rows += splits.result_rows(config, name, "raw", hits)
    files.make_directories(directory)
    files.write_json(files.join(directory, "results.json"), rows)
