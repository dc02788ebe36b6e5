"""Two models on the same held-out images: what they differ by, and how surely.

Images are joined by id. Accuracies are compared by McNemar's exact test, a
two-sided binomial test of the images that one model alone has right. Intervals
are of a paired bootstrap: images are drawn with replacement, each with what
both models say of it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import stats

from noisy_student_tf.records import held_out

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


def compare(path: str, baseline_path: str) -> dict[str, Any]:
    """Compare a model with another one on the images that both were shown.

    Args:
        path: A file of `held_out`.
        baseline_path: The other model's file of the same images.

    Returns:
        `num_images`; `difference` of the accuracies in [-1, 1], its
        `interval_95` as [low, high] and McNemar's `p_value`; how many images
        one of both alone has right, `num_right_alone` and
        `num_baseline_right_alone`; `macro_f1_difference` and
        `auroc_difference` with their intervals, None of more than 100 classes
        or, of areas, 50,000 probabilities, and where they are undefined.

    Raises:
        ValueError: The files are of other images, or damaged.
    """
    choices, others = map(held_out.read_choices, (path, baseline_path))
    order = _order(choices, others, (path, baseline_path))
    labels, num_classes = choices.labels, held_out.num_classes(path)
    both = choices.classes, others.classes[order]
    compared = {**of_accuracy(labels, *both), **_NOTHING}
    if num_classes > _MAX_CLASSES:
        return compared
    compared |= of_macro_f1(labels, *both)
    if len(labels) * num_classes <= _MAX_PROBABILITIES:
        columns, other_columns = (
            np.stack(list(held_out.read_probabilities(each)))
            for each in (path, baseline_path)
        )
        compared |= of_auroc(labels, columns, other_columns[:, order])
    return compared


def _order(
    first: held_out.Choices, second: held_out.Choices, paths: tuple[str, str]
) -> np.ndarray:
    """Return where the first one's images are in the second one.

    Raises:
        ValueError: They are of other images.
    """
    # Each id as two numbers.
    keys = [
        np.ascontiguousarray(each.ids).view("<u8") for each in (first, second)
    ]
    orders = [np.lexsort(each.T) for each in keys]
    same = len(keys[0]) == len(keys[1]) and np.array_equal(
        keys[0][orders[0]], keys[1][orders[1]]
    )
    if not same:
        raise ValueError(
            f"{paths[0]} and {paths[1]} are of {len(keys[0])} and "
            f"{len(keys[1])} images, and not of the same ones: they cannot be "
            "compared. Measure both models on one split of one run."
        )
    return orders[1][np.argsort(orders[0])]


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
