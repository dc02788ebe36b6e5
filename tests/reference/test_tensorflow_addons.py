"""What tensorflow-addons computed, and what takes its place here."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.pipeline.augmentation import operations
from noisy_student_tf.training import state

GOLDEN = np.load(
    pathlib.Path(__file__).parent.parent / "golden" / "tensorflow_addons.npz"
)
GEOMETRIC_OPERATIONS = [
    name
    for name, operation in operations.OPERATIONS.items()
    if operation.draws == "sign"
]
CASES = [name for name in GOLDEN.files if "|" in name]
LEARNING_RATE = 0.1
AVERAGE_DECAY = 0.9
LAMB_WEIGHT_DECAY = 0.01


def _apply(case, image):
    operation, _, argument = case.partition("|")
    if operation in GEOMETRIC_OPERATIONS:
        return operations.geometric(image, operation, float(argument))
    if operation == "equalize":
        return operations.equalize(image)
    if operation == "sharpness":
        return operations.sharpness(image, float(argument))
    # Its offset is the center in pixels, its size the square's side.
    return operations.cutout(image, 4, tf.constant([12 / 24, 10 / 32]))


@pytest.mark.parametrize("case", CASES)
def test_images_equal_those_of_tensorflow_addons(case):
    # It rounds what sharpness blends; the published code cuts the fraction.
    tolerance = 1 if case.startswith("sharpness") else 0
    for image, expected in zip(GOLDEN["images"], GOLDEN[case], strict=True):
        ours = _apply(case, tf.constant(image)).numpy()
        difference = ours.astype(int) - expected.astype(int)
        assert abs(difference).max() <= tolerance


def test_every_operation_is_compared():
    assert {case.partition("|")[0] for case in CASES} == {
        *GEOMETRIC_OPERATIONS,
        "equalize",
        "sharpness",
        "cutout",
    }


def test_the_average_of_the_weights_equals_its_moving_average():
    """Its dynamic decay is the ramp of the published averages."""

    def make_model():
        model = keras.Sequential(
            [keras.Input([1]), keras.layers.Dense(5, use_bias=False)]
        )
        model.set_weights([GOLDEN["initial"][np.newaxis]])
        return model

    model, averages = make_model(), make_model()
    weights = GOLDEN["initial"]
    for step, (gradient, expected) in enumerate(
        zip(GOLDEN["gradients"], GOLDEN["moving_average"], strict=True)
    ):
        weights = weights - LEARNING_RATE * gradient
        model.set_weights([weights[np.newaxis]])
        decay = state.ramped_decay(AVERAGE_DECAY, tf.constant(step))
        state.update_averages(averages, model, decay)
        average = averages.get_weights()[0][0]
        np.testing.assert_allclose(average, expected, atol=1e-6)


def _lamb_weights(weight_decay):
    weights = keras.Variable(GOLDEN["initial"])
    optimizer = keras.optimizers.Lamb(
        LEARNING_RATE, epsilon=1e-6, weight_decay=weight_decay
    )
    optimizer.build([weights])
    rows = []
    for gradient in GOLDEN["gradients"]:
        optimizer.apply([tf.constant(gradient)], [weights])
        rows.append(weights.numpy())
    return np.stack(rows)


def test_keras_lamb_equals_its_lamb_without_decay():
    np.testing.assert_allclose(
        _lamb_weights(None), GOLDEN["lamb"], rtol=1e-5, atol=1e-6
    )


def test_keras_lamb_decays_weights_beside_the_trust_ratio_not_within_it():
    """Theirs adds the decay to the update that the ratio scales."""
    difference = abs(
        _lamb_weights(LAMB_WEIGHT_DECAY) - GOLDEN["decaying_lamb"]
    ).max()
    assert 1e-3 < difference < 0.05
