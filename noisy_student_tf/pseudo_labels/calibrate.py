"""Temperature calibration: confidences that mean what they say.

One number divides the logits, so that the order of classes stays (Guo et al.,
On Calibration of Modern Neural Networks, ICML 2017). It is fitted on held-out
labeled images that no choice is reported on: the validation split.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

NUM_BINS = 15

# More images hardly change the fit; of 1000 classes they take 200 MB.
MAX_IMAGES = 50_000

# A fit at a bound says that the images do not tell.
MIN_TEMPERATURE = 0.1
MAX_TEMPERATURE = 10.0

_MAX_STEPS = 60
_TOLERANCE = 1e-7


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How confidence and accuracy agree.

    Attributes:
        num_images: Images in each of the bins that divide [0, 1] equally.
        accuracies: Share of right ones in each bin; None in an empty bin.
        confidences: Mean confidence in each bin; None in an empty bin.
        calibration_error: Mean gap between the two, over images.
        loss: Mean cross-entropy in nats.
    """

    num_images: tuple[int, ...]
    accuracies: tuple[float | None, ...]
    confidences: tuple[float | None, ...]
    calibration_error: float
    loss: float


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A fitted temperature, and what it does on the images of the fit.

    Attributes:
        temperature: Divides logits; above 1 the teacher was too sure.
        num_images: Images of the fit.
        accuracy: Share of them that the teacher gets right.
        before: At temperature 1.
        after: At the fitted temperature.
    """

    temperature: float
    num_images: int
    accuracy: float
    before: Reliability
    after: Reliability

    @property
    def is_at_bound(self) -> bool:
        """Tell whether the images did not determine the temperature."""
        return self.temperature in (MIN_TEMPERATURE, MAX_TEMPERATURE)


def to_json(calibration: Calibration) -> dict[str, Any]:
    """Return plain numbers and lists."""
    return dataclasses.asdict(calibration)


def from_json(content: dict[str, Any]) -> Calibration:
    """Read what `to_json` returned."""
    reliabilities: dict[str, Any] = {}
    for name in ("before", "after"):
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in content[name].items()
        }
        reliabilities[name] = Reliability(**fields)
    return Calibration(**{**content, **reliabilities})


def collect(
    logits_fn: Callable[[tf.Tensor], tf.Tensor], stream: tf.data.Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits and labels of the valid images, `MAX_IMAGES` at most.

    Args:
        logits_fn: Images float32 [batch, height, width, 3] in [0, 255] to
            logits, or log-probabilities, float32 [batch, num_classes].
        stream: Evaluation batches.

    Returns:
        float32 [num_images, num_classes], int32 [num_images].
    """
    logits, labels = [], []
    num_images = 0
    for batch in stream:
        is_valid = batch["is_valid"].numpy()
        logits.append(np.asarray(logits_fn(batch["images"]))[is_valid])
        labels.append(batch["labels"].numpy()[is_valid])
        num_images += len(labels[-1])
        if num_images >= MAX_IMAGES:
            break
    return (
        np.concatenate(logits)[:MAX_IMAGES],
        np.concatenate(labels)[:MAX_IMAGES],
    )


def calibrate(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fit the temperature.

    Args:
        logits: float32 [num_images, num_classes].
        labels: int [num_images] in [0, num_classes).

    Raises:
        ValueError: There is no image.
    """
    if not len(labels):
        raise ValueError(
            "There is no validation image to calibrate on. Set "
            "--data.validation_fraction, or --labeling.calibrate=false."
        )
    temperature = fit_temperature(logits, labels)
    return Calibration(
        temperature=temperature,
        num_images=len(labels),
        accuracy=float(np.mean(logits.argmax(axis=1) == labels)),
        before=reliability(logits, labels),
        after=reliability(logits / np.float32(temperature), labels),
    )


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature of the least cross-entropy.

    The loss is convex in the inverse temperature; its derivative's root is
    found by Newton's steps, held inside the bounds by bisection.
    """
    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    if _derivatives(logits, labels, high)[0] <= 0:
        return MIN_TEMPERATURE
    if _derivatives(logits, labels, low)[0] >= 0:
        return MAX_TEMPERATURE
    inverse = 1.0
    for _ in range(_MAX_STEPS):
        slope, curvature = _derivatives(logits, labels, inverse)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else math.inf
        following = step if low < step < high else (low + high) / 2
        if abs(following - inverse) < _TOLERANCE:
            break
        inverse = following
    return 1 / following


def _derivatives(
    logits: np.ndarray, labels: np.ndarray, inverse: float
) -> tuple[float, float]:
    """Return the loss's first and second derivative by the inverse."""
    probabilities, _ = _softmax(logits * np.float32(inverse))
    means = np.einsum("nc,nc->n", probabilities, logits, dtype=np.float64)
    squares = np.einsum(
        "nc,nc,nc->n", probabilities, logits, logits, dtype=np.float64
    )
    own = logits[np.arange(len(labels)), labels]
    return float(np.mean(means - own)), float(np.mean(squares - means**2))


def _softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities [n, classes] and log of the sums [n]."""
    top = logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits - top)
    sums = exponentials.sum(axis=1, keepdims=True)
    return exponentials / sums, (np.log(sums) + top)[:, 0]


def reliability(logits: np.ndarray, labels: np.ndarray) -> Reliability:
    """Compare confidence with accuracy.

    Args:
        logits: float32 [num_images, num_classes].
        labels: int [num_images] in [0, num_classes).
    """
    probabilities, log_sums = _softmax(logits)
    confidences = probabilities.max(axis=1).astype(np.float64)
    is_right = logits.argmax(axis=1) == labels
    bins = np.ceil(confidences * NUM_BINS).astype(int) - 1
    bins = np.clip(bins, 0, NUM_BINS - 1)
    counts = np.bincount(bins, minlength=NUM_BINS)
    right = np.bincount(bins, is_right, minlength=NUM_BINS)
    sure = np.bincount(bins, confidences, minlength=NUM_BINS)
    own = logits[np.arange(len(labels)), labels]
    return Reliability(
        num_images=tuple(counts.tolist()),
        accuracies=_per_bin(right, counts),
        confidences=_per_bin(sure, counts),
        calibration_error=float(np.abs(right - sure).sum() / len(labels)),
        loss=float(np.mean(log_sums - own)),
    )


def _per_bin(
    totals: np.ndarray, counts: np.ndarray
) -> tuple[float | None, ...]:
    return tuple(
        float(total / count) if count else None
        for total, count in zip(totals, counts, strict=True)
    )
