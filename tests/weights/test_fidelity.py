"""Imported weights give the published implementations' logits."""

import pathlib

import keras
import pytest

from noisy_student_tf.model import saved
from tests.weights import golden

FLOAT32_BAR = 1e-3
BFLOAT16_BAR = 5e-2


@pytest.fixture(scope="module", params=golden.ALL, ids=golden.folder_of)
def imported(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("weights") / "model"
    report = golden.import_to(directory, request.param)
    return request.param, str(directory), report


def error(source, directory, weights):
    expected = golden.expected(source)
    model, _ = saved.load(directory, weights=weights)
    logits = model(expected.arrays["images"], training=False)
    return golden.relative_error(logits, expected.logits(weights))


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_logits_in_float32(imported, weights):
    source, directory, _ = imported
    assert error(source, directory, weights) < FLOAT32_BAR


@pytest.fixture
def bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


def test_logits_under_bfloat16(imported, bfloat16):
    source, directory, _ = imported
    assert error(source, directory, "ema") < BFLOAT16_BAR


def test_report_says_what_was_found(imported):
    source, directory, report = imported
    about = golden.expected(source).about
    assert "efficientnet-b0 with width 0.25 and depth 0.5" in report
    assert f"{about['num_classes']}  " in report
    is_small = about.get("small_image_stride", False)
    assert ("small images' (SVHN)" in report) == is_small
    assert f"{about['resolution']} pixels" in report
    assert pathlib.Path(directory, "manifest.json").exists()
