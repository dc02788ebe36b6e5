import sys

import numpy as np
import pytest

from noisy_student_tf.model import folding
from noisy_student_tf.serving import conversion
from tests import rounding
from tests.serving import small_exports

IMAGES = np.float32(small_exports.IMAGES[:, :16, :16])


@pytest.fixture(scope="module")
def model():
    return small_exports.make_model()


@pytest.fixture(scope="module")
def folded(model):
    return folding.fold(model, multiplies=False)


# Shares of the largest logit by which the rounding of weights may change it,
# the same on every processor: float16 rounds by 2**-11 in each of 40 layers.
# int8 has 8 bits, and rounds activations too. Sums are rounded besides.
@pytest.mark.parametrize(
    ("format", "share"),
    [
        ("onnx", 0.0),
        ("tflite", 0.0),
        ("tflite_float16", 0.02),
        ("tflite_int8", 0.4),
    ],
)
def test_logits_are_the_models_at_any_batch_size(model, folded, format, share):
    content = conversion.convert(
        folded,
        format=format,
        resolution=16,
        representative_images=IMAGES,
    )
    logits_fn = conversion.open_converted(content, format=format)
    for count in (3, 1):
        expected = model(IMAGES[:count]).numpy()
        found = logits_fn(IMAGES[:count])
        assert found.shape == expected.shape
        tolerance = rounding.of_logits(model, expected)
        tolerance += share * np.abs(expected).max()
        assert np.abs(found - expected).max() < tolerance


def test_int8_needs_images(folded):
    with pytest.raises(ValueError, match="needs representative images"):
        conversion.convert(folded, format="tflite_int8", resolution=16)


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[convert\]'"):
        conversion.open_onnx(b"")
