"""Measures one model on corrupted images, sequences, and under attack.

Each function returns a row of `results.json`, without the model's name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_student_tf.evaluation import (
    adversarial,
    evaluate,
    metrics,
    published,
    robustness_metrics,
)
from noisy_student_tf.records import robustness_sets

CORRUPTIONS, PERTURBATIONS = "corruptions", "perturbations"
FGSM, PGD = "fgsm", "pgd"
ALEXNET = "AlexNet"

_UNKNOWN = {
    "interval_95": None,
    "top5_accuracy": None,
    "loss": None,
    "calibration_error": None,
}


def measure_corruptions(
    logits_fn: evaluate.LogitsFn,
    batches: Iterable[Mapping[str, tf.Tensor]],
    parts: Sequence[tuple[str, int]],
    *,
    keeps_images: bool = False,
) -> dict[str, Any]:
    """Measure a model on every corruption and severity.

    Args:
        logits_fn: Images float32 [batch, height, width, 3] in [0, 255] to
            logits [batch, num_classes].
        batches: Evaluation batches, with `parts` int [batch]: the place of
            each image's corruption and severity in `parts`.
        parts: (corruption, severity), severities of one ascending.
        keeps_images: Whether the row has, `by_image`, what each image adds to
            it; the batches have `image_ids` then.

    Returns:
        `errors`, corruption -> top-1 errors at severities 1 to 5; `accuracy`,
        the plain mean over the 15 x 5 sets. `by_image` is id in hex -> how
        many of the 5 severities are wrong, a digit for each of the 15.

    Raises:
        ValueError: A part has no images.
    """
    num_images = np.zeros(len(parts), np.int64)
    num_wrong = np.zeros(len(parts), np.int64)
    by_image: dict[str, np.ndarray] = {}
    for places, is_wrong, ids in _answers(logits_fn, batches):
        np.add.at(num_images, places, 1)
        np.add.at(num_wrong, places[is_wrong], 1)
        if keeps_images:
            for place, wrong, image_id in zip(
                places, is_wrong, ids, strict=True
            ):
                _count_wrong(by_image, image_id, parts[place], wrong)
    errors = _errors(parts, num_images, num_wrong)
    return {
        "measure": CORRUPTIONS,
        "num_images": int(num_images.sum()),
        "accuracy": robustness_metrics.mean_accuracy(errors),
        **_UNKNOWN,
        "errors": errors,
        **({"by_image": _as_digits(by_image)} if keeps_images else {}),
    }


def _errors(
    parts: Sequence[tuple[str, int]],
    num_images: np.ndarray,
    num_wrong: np.ndarray,
) -> dict[str, list[float]]:
    """Return corruption -> errors at its severities, in the order of parts."""
    empty = [
        part for part, count in zip(parts, num_images, strict=True) if not count
    ]
    if empty:
        raise ValueError(f"There are no images of {empty}.")
    errors: dict[str, list[float]] = {}
    for (corruption, _), wrong, count in zip(
        parts, num_wrong, num_images, strict=True
    ):
        errors.setdefault(corruption, []).append(float(wrong / count))
    return errors


def _answers(
    logits_fn: evaluate.LogitsFn, batches: Iterable[Mapping[str, tf.Tensor]]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the part of each image that is no padding, whether it is wrong, id.

    Where images have no ids, those are empty.
    """
    for batch in batches:
        is_valid = batch["is_valid"].numpy()
        classes = np.asarray(logits_fn(batch["images"])).argmax(1)
        is_wrong = classes != batch["labels"].numpy()
        ids = np.full(len(is_valid), b"", object)
        if "image_ids" in batch:
            ids = batch["image_ids"].numpy()
        yield (
            np.asarray(batch["parts"])[is_valid],
            is_wrong[is_valid],
            ids[is_valid],
        )


def _count_wrong(
    by_image: dict[str, np.ndarray],
    image_id: bytes,
    part: tuple[str, int],
    is_wrong: bool,
) -> None:
    """Count one corrupted image; extra corruptions do not count for mCE."""
    names = robustness_sets.CORRUPTIONS
    if part[0] in names:
        counts = by_image.setdefault(image_id.hex(), np.zeros(len(names), int))
        counts[names.index(part[0])] += is_wrong


def _as_digits(by_image: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {
        image_id: "".join(map(str, counts))
        for image_id, counts in by_image.items()
    }


def measure_perturbations(
    logits_fn: evaluate.LogitsFn,
    sequences: Mapping[str, Callable[[], Iterator[tuple[tf.Tensor, int]]]],
    *,
    difficulty: int = 1,
    keeps_images: bool = False,
) -> dict[str, Any]:
    """Measure how a model's classes flip along sequences.

    Args:
        logits_fn: See `measure_corruptions`.
        sequences: Perturbation -> frames float32 [num_frames, resolution,
            resolution, 3] in [0, 255] and labels.
        difficulty: See `robustness_metrics.flip_probability`.
        keeps_images: Whether the row has that of each sequence, too:
            `by_sequence`, perturbation -> numbers in its order.

    Returns:
        `flip_probabilities` and `top5_distances` by perturbation; `accuracy`,
        the mean over all frames.
    """
    distances: dict[str, float] = {}
    by_sequence: dict[str, list[float]] = {}
    num_frames = num_correct = 0
    for name in robustness_sets.PERTURBATIONS:
        is_noise = robustness_sets.is_noise(name)
        rule = {"is_noise": is_noise, "difficulty": difficulty}
        found = [
            _measure_sequence(np.asarray(logits_fn(frames)), label, rule)
            for frames, label in sequences[name]()
        ]
        if not found:
            raise ValueError(f"There is no sequence of {name}.")
        flips, moves, counts, corrects = zip(*found, strict=True)
        by_sequence[name] = list(flips)
        distances[name] = float(np.mean(moves))
        num_frames += sum(counts)
        num_correct += sum(corrects)
    return {
        "measure": PERTURBATIONS,
        "num_images": num_frames,
        "accuracy": num_correct / num_frames,
        **_UNKNOWN,
        "difficulty": difficulty,
        "flip_probabilities": {
            name: float(np.mean(each)) for name, each in by_sequence.items()
        },
        "top5_distances": distances,
        **({"by_sequence": by_sequence} if keeps_images else {}),
    }


def _measure_sequence(
    logits: np.ndarray, label: int, rule: Mapping[str, Any]
) -> tuple[float, float, int, int]:
    """Return flip probability, top-5 distance, frames and how many are right.

    Args:
        logits: float [num_frames, num_classes].
        label: Of all frames.
        rule: See `robustness_metrics.flip_probability`.
    """
    logits = logits.astype(np.float32)
    classes = logits.argmax(1)
    return (
        robustness_metrics.flip_probability(classes, **rule),
        robustness_metrics.top5_distance(logits, **rule),
        len(classes),
        int((classes == label).sum()),
    )


def measure_attacks(
    logits_fn: evaluate.LogitsFn,
    stream: tf.data.Dataset,
    *,
    fgsm_epsilons: Sequence[float] = adversarial.FGSM_EPSILONS,
    pgd_epsilons: Sequence[float] = (adversarial.PGD_EPSILON,),
    pgd_iterations: int = adversarial.PGD_ITERATIONS,
    gradient_sign: adversarial.Attack | None = None,
    keeps_images: bool = False,
) -> list[dict[str, Any]]:
    """Measure a model under FGSM and PGD of several strengths.

    Args:
        logits_fn: See `measure_corruptions`.
        stream: Evaluation batches.
        fgsm_epsilons: In pixels of [0, 255].
        pgd_epsilons: In pixels of [0, 255].
        pgd_iterations: Steps of PGD.
        gradient_sign: See `adversarial.measure`.
        keeps_images: Whether rows have, `by_image`, id in hex -> whether the
            image stays right; the batches have `image_ids` then.

    Returns:
        A row per attack; FGSM of epsilon 0, no attack, comes first.
    """
    kinds = [(FGSM, epsilon, 1) for epsilon in (0.0, *fgsm_epsilons)]
    kinds += [(PGD, epsilon, pgd_iterations) for epsilon in pgd_epsilons]
    by_image: list[dict[str, bool]] = [{} for _ in kinds]

    def keep(place: int, ids: Sequence[bytes], is_right: np.ndarray) -> None:
        names = [image_id.hex() for image_id in ids]
        by_image[place].update(zip(names, is_right.tolist(), strict=True))

    num_images, hits = adversarial.measure(
        logits_fn,
        stream,
        [kind[1:] for kind in kinds],
        gradient_sign,
        keep=keep if keeps_images else None,
    )
    return [
        _attack_row(kind, num_correct, num_images)
        | ({"by_image": right} if keeps_images else {})
        for kind, num_correct, right in zip(kinds, hits, by_image, strict=True)
    ]


def _attack_row(
    kind: tuple[str, float, int], num_correct: int, num_images: int
) -> dict[str, Any]:
    measure, epsilon, iterations = kind
    return {
        "measure": measure,
        "num_images": num_images,
        "accuracy": num_correct / num_images,
        **_UNKNOWN,
        "interval_95": metrics.wilson_interval(num_correct, num_images),
        "epsilon_pixels": epsilon,
        "num_iterations": iterations,
        "step_pixels": adversarial.pgd_step(epsilon, iterations)
        if measure == PGD
        else epsilon,
    }


def _ratio_of_means(
    values: Mapping[str, float], baseline: Mapping[str, float]
) -> float | None:
    """Return the ratio of mean flip probabilities in percent.

    It is defined where mFR is not: where the baseline never flips under some
    perturbation.
    """
    names = robustness_sets.PERTURBATIONS
    reference = sum(baseline[name] for name in names)
    if not reference:
        return None
    return 100 * sum(values[name] for name in names) / reference


def normalize(
    row: dict[str, Any], baseline: dict[str, Any] | None, name: str
) -> dict[str, Any]:
    """Return a row with mCE, or mFR and mT5D.

    Args:
        row: Of corruptions or perturbations; others are returned as they are.
        baseline: The row of the model that normalizes; None: AlexNet, whose
            top-5 distances are unknown.
        name: What that model is called.
    """
    if row["measure"] == CORRUPTIONS:
        errors = baseline["errors"] if baseline else published.ALEXNET_ERRORS
        mce = robustness_metrics.mean_corruption_error(row["errors"], errors)
        return row | {"mce": mce, "normalized_by": name, "is_recalled": False}
    if row["measure"] != PERTURBATIONS:
        return row
    if not baseline and row["difficulty"] != 1:
        # AlexNet's are known of difficulty 1 alone.
        unknown = ("mfr", "mt5d", "relative_flips", "mfr_of_defined")
        return {
            **row,
            **dict.fromkeys(unknown),
            "never_flipped": [],
            "is_recalled": False,
            "normalized_by": name,
        }
    flips = (
        baseline["flip_probabilities"]
        if baseline
        else published.ALEXNET_FLIP_PROBABILITIES
    )
    distances = baseline["top5_distances"] if baseline else None
    of_defined, never_flipped = robustness_metrics.mean_defined_ratio(
        row["flip_probabilities"], flips
    )
    return row | {
        "mfr": robustness_metrics.mean_ratio(row["flip_probabilities"], flips),
        "mt5d": robustness_metrics.mean_ratio(row["top5_distances"], distances)
        if distances
        else None,
        "relative_flips": _ratio_of_means(row["flip_probabilities"], flips),
        # Where the first is undefined: over the perturbations under which the
        # baseline flips, and the others.
        "mfr_of_defined": of_defined,
        "never_flipped": never_flipped,
        "normalized_by": name,
        # AlexNet's flip probabilities were never found in print.
        "is_recalled": baseline is None,
    }
