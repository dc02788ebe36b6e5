"""Two models on the same held-out images: what they differ by, and how surely.

Images are joined by id. Accuracies are compared by McNemar's exact test, a
two-sided binomial test of the images that one model alone has right. Intervals
are of a paired bootstrap: images are drawn with replacement, each with what
both models say of it.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import stats

from noisy_student_tf.records import held_out, lookups, parquet_files

_NUM_RESAMPLES = 2_000
_RESAMPLES_AT_ONCE = 100
_SEED = 0
_PERCENTILES = (2.5, 97.5)
# Beyond so many probabilities, or classes, resampling takes more than seconds.
_MAX_PROBABILITIES = 50_000
_MAX_CLASSES = 100

_NOTHING = {
    f"{metric}_{what}": None
    for metric in ("macro_f1", "auroc")
    for what in ("difference", "interval_95")
}


@dataclasses.dataclass(frozen=True)
class Joined:
    """What two models say of the images that both were shown.

    Attributes:
        paths: Their files of `held_out`.
        ids: uint8 [num_images, 16].
        labels: int32 [num_images], the true classes.
        classes: int32 [num_images], those that the model chose.
        baseline: int32 [num_images], those that the other one chose.
        rows: int64 [num_images], where the images are in the model's file.
        baseline_rows: int64 [num_images], where they are in the other one's.
    """

    paths: tuple[str, str]
    ids: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    baseline: np.ndarray
    rows: np.ndarray
    baseline_rows: np.ndarray

    def relabel(self, labels: np.ndarray) -> "Joined":
        """Return the same with other labels, int [num_images].

        Images of a negative label are left out.
        """
        kept = np.flatnonzero(labels >= 0)
        return Joined(
            self.paths,
            self.ids[kept],
            labels[kept],
            self.classes[kept],
            self.baseline[kept],
            self.rows[kept],
            self.baseline_rows[kept],
        )

    @property
    def accuracies(self) -> tuple[float, float]:
        """The model's and the other one's, in [0, 1]; there are images."""
        return (
            float((self.classes == self.labels).mean()),
            float((self.baseline == self.labels).mean()),
        )


def compare(path: str, baseline_path: str) -> dict[str, Any]:
    """Compare a model with another one on one split of one run.

    Args:
        path: A file of `held_out`.
        baseline_path: The other model's file of the same images.

    Returns:
        See `of_joined`.

    Raises:
        ValueError: The files are of other images, or damaged.
    """
    joined = join(path, baseline_path)
    counts = [_num_images(each) for each in joined.paths]
    if counts != [len(joined.ids)] * 2:
        raise ValueError(
            f"{path} and {baseline_path} are of {counts[0]} and {counts[1]} "
            "images, and not of the same ones: they cannot be compared. "
            "Measure both models on one split of one run."
        )
    return of_joined(joined)


def join(path: str, baseline_path: str) -> Joined:
    """Return the images of two files, of the same id and the same label.

    Raises:
        ValueError: A file is damaged.
    """
    choices, others = map(held_out.read_choices, (path, baseline_path))
    columns = [lookups.sortable(each.ids) for each in (choices, others)]
    order = np.argsort(columns[1], kind="stable")
    places = lookups.Lookup(columns[1][order], order, unknown=-1)
    found = places.of(choices.ids)
    rows = np.flatnonzero(found >= 0)
    is_same = choices.labels[rows] == others.labels[found[rows]]
    rows = rows[is_same]
    return Joined(
        (path, baseline_path),
        choices.ids[rows],
        choices.labels[rows],
        choices.classes[rows],
        others.classes[found[rows]],
        rows,
        found[rows],
    )


def _num_images(path: str) -> int:
    with parquet_files.open_reader(path) as reader:
        return reader.metadata.num_rows


def of_joined(joined: Joined) -> dict[str, Any]:
    """Compare a model with another one on the images of both.

    Args:
        joined: At least one image.

    Returns:
        `num_images`; `difference` of the accuracies in [-1, 1], its
        `interval_95` as [low, high] and McNemar's `p_value`; how many images
        one of both alone has right, `num_right_alone` and
        `num_baseline_right_alone`; `macro_f1_difference` and
        `auroc_difference` with their intervals, None of more than 100 classes
        or, of areas, 50,000 probabilities, and where they are undefined.

    Raises:
        ValueError: A file is damaged.
    """
    labels, both = joined.labels, (joined.classes, joined.baseline)
    num_classes = held_out.num_classes(joined.paths[0])
    compared = {**of_accuracy(labels, *both), **_NOTHING}
    if num_classes > _MAX_CLASSES:
        return compared
    compared |= of_macro_f1(labels, *both)
    if len(labels) * num_classes <= _MAX_PROBABILITIES:
        columns, other_columns = (
            np.stack(list(held_out.read_probabilities(path)))[:, rows]
            for path, rows in zip(
                joined.paths, (joined.rows, joined.baseline_rows), strict=True
            )
        )
        compared |= of_auroc(labels, columns, other_columns)
    return compared


def interval(drawn: np.ndarray) -> list[float] | None:
    """Return where 95 % of the resamples lie, None where it is undefined."""
    defined = drawn[np.isfinite(drawn)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, _PERCENTILES)
    return [float(low), float(high)]


def of_accuracy(
    labels: np.ndarray, classes: np.ndarray, baseline: np.ndarray
) -> dict[str, Any]:
    """Compare the accuracies; see `compare`.

    Args:
        labels: int [num_images], the true classes.
        classes: int [num_images], those that the model chose.
        baseline: int [num_images], those that the other one chose.
    """
    num_images = len(labels)
    won = int(((classes == labels) & (baseline != labels)).sum())
    lost = int(((classes != labels) & (baseline == labels)).sum())
    p_value = 1.0
    if won + lost:
        p_value = float(stats.binomtest(won, won + lost).pvalue)
    # Of an image no more counts than which of both has it right.
    shares = np.array([won, lost, num_images - won - lost]) / num_images
    drawn = np.random.default_rng(_SEED).multinomial(
        num_images, shares, size=_NUM_RESAMPLES
    )
    return {
        "num_images": num_images,
        "difference": (won - lost) / num_images,
        "interval_95": interval((drawn[:, 0] - drawn[:, 1]) / num_images),
        "p_value": p_value,
        "num_right_alone": won,
        "num_baseline_right_alone": lost,
    }


def of_macro_f1(
    labels: np.ndarray, classes: np.ndarray, baseline: np.ndarray
) -> dict[str, Any]:
    """Compare the means of F1 over the classes that have images.

    Args:
        labels: See `of_accuracy`.
        classes: See `of_accuracy`.
        baseline: See `of_accuracy`.
    """
    # Images of which all the same is said are drawn together.
    kinds, counts = np.unique(
        np.stack([labels, classes, baseline], axis=1),
        axis=0,
        return_counts=True,
    )
    true, *chosen = kinds.T

    def differences(drawn: np.ndarray) -> np.ndarray:
        ours, theirs = (_macro_f1(true, each, drawn) for each in chosen)
        return ours - theirs

    drawn = np.random.default_rng(_SEED).multinomial(
        len(labels), counts / len(labels), size=_NUM_RESAMPLES
    )
    return {
        "macro_f1_difference": float(differences(counts[np.newaxis])[0]),
        "macro_f1_interval_95": interval(differences(drawn)),
    }


def _macro_f1(
    true: np.ndarray, chosen: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return the macro-F1 of resamples: float64 [num_resamples].

    Args:
        true: int [num_kinds].
        chosen: int [num_kinds].
        counts: int [num_resamples, num_kinds], images of each kind.
    """
    total, num_present = np.zeros(len(counts)), np.zeros(len(counts))
    for class_id in np.unique(true):
        is_true, is_chosen = true == class_id, chosen == class_id
        num_true = counts[:, is_true].sum(1)
        num_chosen = counts[:, is_chosen].sum(1)
        num_right = counts[:, is_true & is_chosen].sum(1)
        is_present = num_true > 0
        total += (
            is_present * 2 * num_right / np.maximum(num_true + num_chosen, 1)
        )
        num_present += is_present
    return total / num_present


def of_auroc(
    labels: np.ndarray, columns: np.ndarray, baseline: np.ndarray
) -> dict[str, Any]:
    """Compare the areas under the receiver operating characteristic.

    They are means over the classes, each against the rest, that have images
    and are not all images.

    Args:
        labels: See `of_accuracy`.
        columns: float [num_classes, num_images], the model's probabilities.
        baseline: The other one's.
    """
    present = np.unique(labels)
    if len(present) < 2:
        return {"auroc_difference": None, "auroc_interval_95": None}

    def differences(counts: np.ndarray) -> np.ndarray:
        gaps = np.array(
            [
                _auroc(labels == class_id, columns[class_id], counts)
                - _auroc(labels == class_id, baseline[class_id], counts)
                for class_id in present
            ]
        )
        # A resample without one of the classes is a mean of the others.
        num_defined = np.isfinite(gaps).sum(axis=0)
        sums = np.nansum(gaps, axis=0)
        return sums / np.where(num_defined, num_defined, np.nan)

    drawn = np.concatenate(list(map(differences, resamples(len(labels)))))
    once = np.ones([1, len(labels)])
    return {
        "auroc_difference": float(differences(once)[0]),
        "auroc_interval_95": interval(drawn),
    }


def resamples(num_images: int) -> Iterator[np.ndarray]:
    """Yield int [some resamples, num_images]: how often an image was drawn."""
    generator = np.random.default_rng(_SEED)
    shares = np.full(num_images, 1 / num_images)
    for _ in range(_NUM_RESAMPLES // _RESAMPLES_AT_ONCE):
        yield generator.multinomial(num_images, shares, size=_RESAMPLES_AT_ONCE)


def _auroc(
    is_positive: np.ndarray, scores: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Return the areas of resamples: float64 [num_resamples].

    scikit-learn's takes weights, but one resample at a time.

    Args:
        is_positive: bool [num_images].
        scores: float [num_images].
        counts: [num_resamples, num_images], how often each image was drawn.
    """
    order = np.argsort(scores, kind="stable")
    _, starts = np.unique(scores[order], return_index=True)
    positives = np.add.reduceat(
        (counts * is_positive)[:, order], starts, axis=1
    )
    negatives = np.add.reduceat(
        (counts * ~is_positive)[:, order], starts, axis=1
    )
    # Of equal scores half the pairs count as right.
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(1) * negatives.sum(1)
    return (positives * below).sum(1) / np.where(pairs, pairs, np.nan)
