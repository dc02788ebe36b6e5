import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.model import efficientnet, folding
from tests import rounding
from tests.model import small_specs


@pytest.mark.parametrize(
    ("name", "small_image_strides", "multiplies"),
    [
        ("efficientnet-b0", False, True),
        ("efficientnet-b0", True, True),
        ("efficientnet-b0", True, False),
        ("efficientnet-lite0", False, True),
        ("efficientnet-lite0", False, False),
    ],
)
def test_folded_logits_are_the_models(name, small_image_strides, multiplies):
    spec = small_specs.make_spec(
        name=name, depth=0.3, small_image_strides=small_image_strides
    )
    model = small_specs.make_calibrated(spec)
    generator = np.random.default_rng(0)
    # Weights of a trained model: no norm is at its initial values.
    for variable in model.variables:
        if variable.name in ("gamma", "beta"):
            noise = generator.normal(0, 0.2, variable.shape)
            variable.assign(variable + noise)
    folded = folding.fold(model, multiplies=multiplies)
    images = generator.integers(0, 256, [8, 32, 32, 3], dtype=np.uint8)
    features = tf.function(folded.features)(images)
    logits, expected = folded.classifier(features), model(images)
    tolerance = rounding.of_logits(model, expected)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(folded(images), logits, rtol=0, atol=tolerance)
    expected = model.features(images)
    tolerance = rounding.of_logits(model, expected)
    np.testing.assert_allclose(features, expected, rtol=0, atol=tolerance)


def test_a_network_without_a_twin_is_served_as_it_is(tmp_path):
    class Another(efficientnet.EfficientNet):
        pass

    model = Another(small_specs.make_spec(depth=0.3))
    served = folding.fold(model)
    images = np.random.default_rng(0).integers(
        0, 256, [4, 32, 32, 3], dtype=np.uint8
    )
    expected = model(images)
    np.testing.assert_array_equal(served(images), expected)
    assert len(served.variables) == len(model.variables)
    served.logits = tf.function(
        served.__call__, input_signature=[tf.TensorSpec([None, 32, 32, 3])]
    )
    tf.saved_model.save(served, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(
        loaded.logits(images.astype(np.float32)),
        expected,
        rtol=0,
        atol=rounding.of_logits(model, expected),
    )


def test_nothing_of_normalization_is_left():
    model = small_specs.make_calibrated(small_specs.make_spec())
    folded = folding.fold(model)
    count = sum(np.prod(variable.shape) for variable in folded.variables)
    # A norm's four vectors become one bias.
    total = sum(np.prod(variable.shape) for variable in model.variables)
    norms = sum(
        np.prod(variable.shape)
        for variable in model.variables
        if variable.name == "moving_mean"
    )
    assert count == total - 3 * norms
    graph = tf.function(folded.features).get_concrete_function(
        tf.TensorSpec([None, 32, 32, 3])
    )
    types = {operation.type for operation in graph.graph.get_operations()}
    assert not any("BatchNorm" in name for name in types)
