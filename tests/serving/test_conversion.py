import sys

import numpy as np
import pytest

from noisy_student_tf.model import architectures
from noisy_student_tf.serving import conversion
from tests.serving import small_exports

IMAGES = np.float32(small_exports.IMAGES[:, :16, :16])


@pytest.fixture(scope="module")
def model():
    return small_exports.make_model()


@pytest.fixture(scope="module")
def folded(model):
    return architectures.fold(model, multiplies=False)


# Shares of the largest logit. int8 has 8 bits, and errors add up by layer.
@pytest.mark.parametrize(
    ("format", "tolerance"),
    [("onnx", 1e-5), ("tflite_float16", 0.02), ("tflite_int8", 0.4)],
)
def test_logits_are_the_models_at_any_batch_size(
    model, folded, format, tolerance
):
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
        scale = np.abs(expected).max()
        assert np.abs(found - expected).max() < tolerance * scale


def test_int8_needs_images(folded):
    with pytest.raises(ValueError, match="needs representative images"):
        conversion.convert(folded, format="tflite_int8", resolution=16)


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[convert\]'"):
        conversion.open_onnx(b"")
