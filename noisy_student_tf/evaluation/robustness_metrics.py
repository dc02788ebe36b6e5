"""Corruption errors, flip probabilities, and their means over a benchmark.

The rules are those of hendrycks/robustness (`ImageNet-C/test.py` and
`ImageNet-P/test.py`).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from noisy_student_tf.records import robustness_sets

_TOP = 5


def mean_corruption_error(
    errors: Mapping[str, Sequence[float]],
    baseline: Mapping[str, Sequence[float]],
) -> float | None:
    """Return mCE in percent.

    A corruption's error is the sum over severities of the model's errors over
    that of the baseline's; mCE is its mean over the 15 corruptions of the
    benchmark. Extra corruptions do not count.

    Args:
        errors: Corruption -> top-1 errors in [0, 1] at severities 1 to 5.
        baseline: The same of the model that normalizes.

    Returns:
        The percentage; None where the baseline makes no error at all on some
        corruption.

    Raises:
        ValueError: A corruption or severity is missing.
    """
    _check_complete(errors)
    _check_complete(baseline)
    totals = [
        (sum(errors[name]), sum(baseline[name]))
        for name in robustness_sets.CORRUPTIONS
    ]
    if not all(reference for _, reference in totals):
        return None
    return 100 * float(
        np.mean([total / reference for total, reference in totals])
    )


def mean_accuracy(errors: Mapping[str, Sequence[float]]) -> float:
    """Return the plain mean of the accuracies over the 15 x 5 sets.

    Raises:
        ValueError: A corruption or severity is missing.
    """
    _check_complete(errors)
    names = robustness_sets.CORRUPTIONS
    return 1 - float(np.mean([errors[name] for name in names]))


def _check_complete(errors: Mapping[str, Sequence[float]]) -> None:
    missing = [
        name
        for name in robustness_sets.CORRUPTIONS
        if len(errors.get(name, ())) != len(robustness_sets.SEVERITIES)
    ]
    if missing:
        raise ValueError(
            f"Errors at 5 severities are missing of {', '.join(missing)}. "
            "A mean over a part of the corruptions is another number: "
            "measure all 15."
        )


def flip_probability(
    predictions: np.ndarray, *, is_noise: bool, difficulty: int = 1
) -> float:
    """Return how often the class differs between frames of one sequence.

    Args:
        predictions: int [num_frames], the classes.
        is_noise: Every frame is compared with the first one, the clean one;
            otherwise with the one `difficulty` frames before it.
        difficulty: 1, 2 or 3; noise has sets of its own for each.
    """
    first, second = _pairs(len(predictions), is_noise, difficulty)
    return float(np.mean(predictions[first] != predictions[second]))


def top5_distance(
    logits: np.ndarray, *, is_noise: bool, difficulty: int = 1
) -> float:
    """Return how far the five top classes move between frames.

    For the class of each of the five top places, the distance of its places
    in both frames counts, all places behind the fifth taken as the sixth.

    Args:
        logits: float [num_frames, num_classes].
        is_noise: See `flip_probability`.
        difficulty: See `flip_probability`.
    """
    order = np.argsort(-logits, axis=1, kind="stable")
    ranks = np.argsort(order, axis=1, kind="stable")  # 0 for the top class
    first, second = _pairs(len(logits), is_noise, difficulty)
    top = order[first, :_TOP]  # [num_pairs, 5]
    moved = np.minimum(np.take_along_axis(ranks[second], top, 1), _TOP)
    return float(np.abs(moved - np.arange(top.shape[1])).sum(1).mean())


def _pairs(
    num_frames: int, is_noise: bool, difficulty: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames that are compared.

    Raises:
        ValueError: There are too few frames.
    """
    step = 1 if is_noise else difficulty
    if num_frames <= step:
        raise ValueError(
            f"A sequence has {num_frames} frames; frames {step} apart are to "
            "be compared."
        )
    second = np.arange(step, num_frames)
    return (np.zeros_like(second) if is_noise else second - step), second


def mean_ratio(
    values: Mapping[str, float], baseline: Mapping[str, float]
) -> float | None:
    """Return mFR, or mT5D, in percent: the mean ratio to a baseline.

    Args:
        values: Perturbation -> flip probability, or top-5 distance.
        baseline: The same of the model that normalizes.

    Returns:
        The percentage; None where the baseline has a value of 0.

    Raises:
        ValueError: A perturbation of the benchmark is missing.
    """
    percent, left_out = mean_defined_ratio(values, baseline)
    return None if left_out else percent


def mean_defined_ratio(
    values: Mapping[str, float], baseline: Mapping[str, float]
) -> tuple[float | None, list[str]]:
    """Return the mean ratio over the perturbations that have one.

    A baseline that never flips under some perturbation has no ratio there. A
    mean over the others is another number than mFR: say what it leaves out.

    Args:
        values: See `mean_ratio`.
        baseline: See `mean_ratio`.

    Returns:
        The percentage, None where the baseline is 0 everywhere; and the
        perturbations that are left out.

    Raises:
        ValueError: A perturbation of the benchmark is missing.
    """
    names = robustness_sets.PERTURBATIONS
    missing = [
        name for name in names if name not in values or name not in baseline
    ]
    if missing:
        raise ValueError(
            f"Of these perturbations there is no value: {', '.join(missing)}. "
            "A mean over a part of them is another number: measure all 10."
        )
    ratios = [values[name] / baseline[name] for name in names if baseline[name]]
    left_out = [name for name in names if not baseline[name]]
    return (100 * float(np.mean(ratios)) if ratios else None), left_out
