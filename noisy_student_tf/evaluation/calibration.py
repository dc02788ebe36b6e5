"""Temperature calibration: confidences that mean what they say.

One number divides the logits, so that the order of classes stays (Guo et al.,
On Calibration of Modern Neural Networks, ICML 2017). It is fitted on held-out
labeled images that no choice is reported on: the validation split.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from scipy import optimize, special

from noisy_student_tf.evaluation import evaluate, metrics

# More images hardly change the fit; of 1000 classes they take 200 MB.
MAX_IMAGES = 50_000

# A fit at a bound says that the images do not tell.
MIN_TEMPERATURE = 0.1
MAX_TEMPERATURE = 10.0

_TOLERANCE = 1e-7
_CHUNK = 1000


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


def collect(
    logits_fn: evaluate.LogitsFn, stream: tf.data.Dataset
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

    The loss is convex in the inverse temperature: the root of its derivative
    is sought between the bounds.
    """
    own = logits[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        """Return the loss's derivative by the inverse temperature."""
        probabilities = special.softmax(logits * np.float32(inverse), axis=1)
        means = np.einsum("nc,nc->n", probabilities, logits, dtype=np.float64)
        return float(np.mean(means - own))

    low, high = 1 / MAX_TEMPERATURE, 1 / MIN_TEMPERATURE
    if slope(high) <= 0:
        return MIN_TEMPERATURE
    if slope(low) >= 0:
        return MAX_TEMPERATURE
    return 1 / optimize.brentq(slope, low, high, xtol=_TOLERANCE)


def reliability(logits: np.ndarray, labels: np.ndarray) -> Reliability:
    """Compare confidence with accuracy.

    Args:
        logits: float32 [num_images, num_classes].
        labels: int [num_images] in [0, num_classes).
    """
    totals = functools.reduce(metrics.merge, _totals(logits, labels))
    measured = metrics.result(totals)
    bins = iter(measured["reliability"])
    found = [next(bins) if count else None for count in totals.bin_counts]
    return Reliability(
        num_images=tuple(totals.bin_counts.tolist()),
        accuracies=tuple(each and each[2] for each in found),
        confidences=tuple(each and each[1] for each in found),
        calibration_error=measured["calibration_error"],
        loss=measured["loss"],
    )


def _totals(logits: np.ndarray, labels: np.ndarray) -> Iterator[metrics.Totals]:
    """Yield the totals of a few images each: they take memory for a while."""
    for start in range(0, len(labels), _CHUNK):
        part = slice(start, start + _CHUNK)
        yield metrics.of_batch(logits[part], labels[part])
