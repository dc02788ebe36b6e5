import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.evaluation import calibration


def drawn(scale, num_images=4000):
    """Logits, and labels drawn by the softmax of the logits over `scale`."""
    generator = np.random.default_rng(0)
    logits = 3 * generator.normal(size=(num_images, 4))
    gumbel = generator.gumbel(size=logits.shape)
    labels = (logits / scale + gumbel).argmax(axis=1)
    return logits.astype(np.float32), labels


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_the_temperature_of_the_draw_is_found(scale):
    logits, labels = drawn(scale)
    found = calibration.fit_temperature(logits, labels)
    assert found == pytest.approx(scale, rel=0.08)
    here, below, above = (
        calibration.reliability(logits / np.float32(t), labels).loss
        for t in (found, 0.97 * found, 1.03 * found)
    )
    assert here < min(below, above)


def test_calibration_lowers_the_error_and_keeps_the_accuracy():
    logits, labels = drawn(2.5)
    fitted = calibration.calibrate(logits, labels)
    assert fitted.after.calibration_error < 0.3 * (
        fitted.before.calibration_error
    )
    assert fitted.accuracy == np.mean(logits.argmax(axis=1) == labels)
    assert not fitted.is_at_bound
    kept = json.loads(json.dumps(dataclasses.asdict(fitted)))
    assert kept["temperature"] == fitted.temperature
    assert tuple(kept["after"]["accuracies"]) == fitted.after.accuracies


def test_reliability_by_hand():
    # Confidences 0.8, 0.8 and 0.5 (of two equal classes, the first wins).
    logits = np.log(np.array([[0.8, 0.2], [0.8, 0.2], [0.5, 0.5]], np.float32))
    found = calibration.reliability(logits, np.array([0, 1, 0]))
    assert sum(found.num_images) == 3
    bins = [i for i, count in enumerate(found.num_images) if count]
    assert [found.num_images[i] for i in bins] == [1, 2]
    assert [found.accuracies[i] for i in bins] == [1.0, 0.5]
    assert found.confidences[bins[1]] == pytest.approx(0.8)
    # (|1 - 0.5| + |1 - 1.6|) / 3.
    assert found.calibration_error == pytest.approx(1.1 / 3)
    assert found.loss == pytest.approx(-np.log(0.8 * 0.2 * 0.5) / 3, rel=1e-5)


def test_a_teacher_without_mistakes_is_at_the_bound():
    logits = np.array([[2.0, 0.0], [0.0, 2.0]], np.float32)
    fitted = calibration.calibrate(logits, np.array([0, 1]))
    assert fitted.temperature == calibration.MIN_TEMPERATURE
    assert fitted.is_at_bound
    wrong = calibration.fit_temperature(logits, np.array([1, 0]))
    assert wrong == calibration.MAX_TEMPERATURE


def test_no_image_is_named_with_the_mend():
    with pytest.raises(ValueError, match=r"--data\.validation_fraction"):
        calibration.calibrate(np.zeros((0, 3), np.float32), np.zeros(0, int))


def test_padding_is_not_collected():
    stream = tf.data.Dataset.from_tensors(
        {
            "images": tf.zeros([3, 1, 1, 3]),
            "labels": [1, 0, -1],
            "is_valid": [True, True, False],
        }
    )
    logits, labels = calibration.collect(lambda images: images[:, 0, 0], stream)
    assert logits.shape == (2, 3)
    assert labels.tolist() == [1, 0]
