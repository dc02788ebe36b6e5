"""Whether the queue "label these next" is worth more than pictures at random.

A simulated person answers what the queue shows first, a round of pictures
after the other, and is wrong in some of the answers; another one answers
pictures drawn at random, of the same pool, beginning with the same labels and
judged by the same test images. After every round a classifier is fitted anew:
logistic regression on the frozen features of EfficientNet-Lite0, which stands
for the networks of a run, since those would take hours a draw. Features are
computed once and kept in `--features`. Candidates and their order are the
page's: `review.queues.candidates` and `review.queues.label_next`.

    pip install -e '.[weights]' elpv-dataset
    python -m benchmarks.reviewing --dataset=fashion_mnist
    python -m benchmarks.reviewing --dataset=solar_cells

Fashion-MNIST is Debian's dataset-fashion-mnist.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
from absl import app, flags
from scipy import stats
from sklearn import linear_model, metrics, preprocessing

from noisy_student_tf.review.queues import candidates, facts, label_next

_DEFAULTS = facts.Settings()

flags.DEFINE_enum(
    "dataset", "fashion_mnist", ["fashion_mnist", "solar_cells"], "Pictures."
)
flags.DEFINE_string("features", "runs/reviewing", "Folder of the features.")
flags.DEFINE_string(
    "source", "/usr/share/datasets/fashion-mnist", "Folder of the IDX files."
)
flags.DEFINE_integer("first_draw", 0, "Seed of the first draw.")
flags.DEFINE_integer("num_draws", 5, "Draws of test images, labels, answers.")
flags.DEFINE_integer("num_begun_with", 20, "Right labels at the beginning.")
flags.DEFINE_integer("num_rounds", 4, "Rounds of answers.")
flags.DEFINE_integer("round_size", 25, "Answers of a round.")
flags.DEFINE_float("share_wrong", 0.05, "Answers that name another class.")
flags.DEFINE_integer("queue_length", _DEFAULTS.length, "As of the page.")
flags.DEFINE_integer("num_looked_at", _DEFAULTS.num_looked_at, "As of the page")

_NETWORK = "efficientnet-lite0"
_BATCH_SIZE = 64
_INVERSE_REGULARIZATION = 0.01


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a data set is read and divided.

    Attributes:
        resolution: Of the network.
        num_test: Test images of a draw.
    """

    resolution: int
    num_test: int


# 28 pixels become 96: 224 would take five times as long, and show no more.
_PROTOCOLS = {
    "fashion_mnist": Protocol(resolution=96, num_test=2000),
    "solar_cells": Protocol(resolution=224, num_test=600),
}
_NUM_FASHION_IMAGES = 12_000


@dataclasses.dataclass(frozen=True)
class Images:
    """All pictures of a data set.

    Attributes:
        features: float32 [num_images, num_features].
        labels: int64 [num_images].
    """

    features: np.ndarray
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> "Images":
        """Return some of them."""
        return Images(self.features[rows], self.labels[rows])


Chooser = Callable[[Any, Images, np.ndarray, np.random.Generator], np.ndarray]


def read_pictures(dataset: str) -> Iterator[tuple[np.ndarray, int]]:
    """Yield pictures, uint8 [height, width, 3], with their classes."""
    from data_prep import sources
    from noisy_student_tf import files
    from noisy_student_tf.records import pictures
    from study.solar_cells import cells

    if dataset == "solar_cells":
        folder = cells.find()
        for name, label in cells.read_labels(files.join(folder, "labels.csv")):
            encoded = files.read_bytes(files.join(folder, name))
            yield (
                np.asarray(pictures.open_upright(encoded).convert("RGB")),
                int(label == cells.DEFECTIVE),
            )
        return
    source = sources.open_source(f"idx:{flags.FLAGS.source}")
    listed = source.list_items().images[:_NUM_FASHION_IMAGES]
    with source.reader(tuple(listed)) as read:
        for item in listed:
            picture = pictures.open_upright(read(item)).convert("RGB")
            # All of this source have one.
            yield np.asarray(picture), cast(int, item.label)


def compute_features(dataset: str) -> Images:
    """Return what the frozen network says of all pictures."""
    import tensorflow as tf

    from noisy_student_tf.model import saved
    from noisy_student_tf.weights import packages

    side = _PROTOCOLS[dataset].resolution
    model, _ = saved.load(packages.directory_of(_NETWORK))
    look = tf.function(
        lambda images: model.features(images, training=False), autograph=False
    )
    parts, labels, batch = [], [], []
    for picture, label in read_pictures(dataset):
        labels.append(label)
        resized = tf.image.resize(picture, [side, side], "bicubic")
        batch.append(tf.clip_by_value(resized, 0, 255))
        if len(batch) == _BATCH_SIZE:
            parts.append(look(tf.stack(batch)).numpy())
            batch.clear()
    if batch:
        parts.append(look(tf.stack(batch)).numpy())
    return Images(np.concatenate(parts), np.array(labels))


def load(dataset: str) -> Images:
    """Return a data set's features, computed where they are not kept.

    Each has mean 0 and deviation 1 over the pictures.
    """
    path = os.path.join(flags.FLAGS.features, f"{dataset}.npz")
    if not os.path.exists(path):
        os.makedirs(flags.FLAGS.features, exist_ok=True)
        made = compute_features(dataset)
        np.savez(path, features=made.features, labels=made.labels)
    with np.load(path) as kept:
        # Of all pictures, labeled or not: twenty would say little of a scale.
        scaled = preprocessing.StandardScaler().fit_transform(kept["features"])
        return Images(scaled, kept["labels"])


def fit(images: Images) -> linear_model.LogisticRegression:
    """Return a classifier: logistic regression."""
    return linear_model.LogisticRegression(
        C=_INVERSE_REGULARIZATION, class_weight="balanced", max_iter=1000
    ).fit(images.features, images.labels)


def choose_next(
    classifier: Any,
    pool: Images,
    unlabeled: np.ndarray,
    generator: np.random.Generator,
    *,
    settings: facts.Settings,
) -> np.ndarray:
    """Return rows of the pool in the order of the queue: int64 [length]."""
    probabilities = classifier.predict_proba(pool.features[unlabeled])
    margins = candidates.margins(probabilities)
    count = settings.num_looked_at // 3
    uncertain = candidates.Smallest(min(count, max(1, len(unlabeled) // 2)))
    uncertain.add(margins, np.arange(len(unlabeled)))
    sample = generator.permutation(len(unlabeled))[:count]
    rows = np.union1d(uncertain.rows()[1], sample)
    chosen = label_next.choose(
        probabilities[rows],
        pool.features[unlabeled[rows]],
        length=settings.length,
        seed=int(generator.integers(2**31)),
    )
    return unlabeled[rows[chosen.rows]]


def choose_randomly(
    classifier: Any,
    pool: Images,
    unlabeled: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return rows of the pool in random order."""
    del classifier, pool
    return generator.permutation(unlabeled)


def answer(
    labels: np.ndarray, num_classes: int, generator: np.random.Generator
) -> np.ndarray:
    """Return what a person says, who is wrong now and then: int64 [n]."""
    is_wrong = generator.random(len(labels)) < flags.FLAGS.share_wrong
    others = generator.integers(1, num_classes, len(labels))
    return np.where(is_wrong, (labels + others) % num_classes, labels)


def begin_with(labels: np.ndarray, generator: np.random.Generator) -> list[int]:
    """Return rows to begin with: as many of every class."""
    num_classes = int(labels.max()) + 1
    count = flags.FLAGS.num_begun_with // num_classes
    return [
        int(row)
        for class_id in range(num_classes)
        for row in generator.permutation(np.flatnonzero(labels == class_id))[
            :count
        ]
    ]


def follow(
    images: Images, draw: int, choose: Chooser, num_test: int
) -> list[dict[str, float]]:
    """Return accuracy and macro-F1 before the first round and after each."""
    generator = np.random.default_rng(draw)
    order = generator.permutation(len(images.labels))
    test, pool = images.take(order[:num_test]), images.take(order[num_test:])
    rows = begin_with(pool.labels, generator)
    said = pool.labels[rows].tolist()
    num_classes = int(images.labels.max()) + 1
    measured = []
    for number in range(flags.FLAGS.num_rounds + 1):
        classifier = fit(Images(pool.features[rows], np.array(said)))
        measured.append(measure(classifier, test))
        if number < flags.FLAGS.num_rounds:
            unlabeled = np.setdiff1d(np.arange(len(pool.labels)), rows)
            shown = choose(classifier, pool, unlabeled, generator)
            taken = shown[: flags.FLAGS.round_size].tolist()
            rows += taken
            said += answer(pool.labels[taken], num_classes, generator).tolist()
    return measured


def measure(classifier: Any, test: Images) -> dict[str, float]:
    """Return accuracy and macro-F1, in percent."""
    chosen = classifier.predict(test.features)
    macro_f1 = metrics.f1_score(test.labels, chosen, average="macro")
    return {
        "accuracy": 100 * float((chosen == test.labels).mean()),
        "macro_f1": 100 * float(macro_f1),
    }


def interval(differences: np.ndarray) -> dict[str, float]:
    """Return the mean over draws, and its 95 % interval of Student's t."""
    mean = float(differences.mean())
    half = float(
        stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    )
    return {"mean": mean, "low": mean - half, "high": mean + half}


def compare(images: Images, settings: facts.Settings) -> dict[str, Any]:
    """Return both ways' means after each round, and what they differ by."""
    choosers: dict[str, Chooser] = {
        "queue": functools.partial(choose_next, settings=settings),
        "random": choose_randomly,
    }
    first = flags.FLAGS.first_draw
    num_test = _PROTOCOLS[flags.FLAGS.dataset].num_test
    result: dict[str, Any] = {}
    for measure_name in ("accuracy", "macro_f1"):
        result[measure_name] = {}
    curves = {
        name: [
            follow(images, draw, choose, num_test)
            for draw in range(first, first + flags.FLAGS.num_draws)
        ]
        for name, choose in choosers.items()
    }
    for measure_name, entry in result.items():
        values = {
            name: np.array([[e[measure_name] for e in c] for c in of_draws])
            for name, of_draws in curves.items()
        }
        for name, found in values.items():
            entry[name] = found.mean(axis=0).round(2).tolist()
        gaps = values["queue"] - values["random"]
        entry["after_rounds"] = [interval(column) for column in gaps.T]
        entry["draws"] = gaps[:, -1].round(2).tolist()
    return result


def main(_: list[str]) -> None:
    """Print a line a round, and all as JSON."""
    settings = facts.Settings(
        length=flags.FLAGS.queue_length,
        num_looked_at=flags.FLAGS.num_looked_at,
    )
    result = compare(load(flags.FLAGS.dataset), settings)
    for name, entry in result.items():
        for number, found in enumerate(entry["after_rounds"]):
            labels = flags.FLAGS.num_begun_with + (
                number * flags.FLAGS.round_size
            )
            print(
                f"{name}, {labels} labels: queue {entry['queue'][number]:.1f}, "
                f"random {entry['random'][number]:.1f}, difference "
                f"{found['mean']:+.1f} ({found['low']:+.1f} to "
                f"{found['high']:+.1f})"
            )
    print(json.dumps({"dataset": flags.FLAGS.dataset, **result}))


if __name__ == "__main__":
    app.run(main)
