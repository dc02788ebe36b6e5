import importlib.util
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.model import folding
from noisy_student_tf.serving import conversion, exported, runtimes
from tests.serving import small_exports

FINGERPRINT = "0123abcd4567efgh"
PICTURES = [small_exports.encode(each) for each in small_exports.IMAGES]
PICTURES.insert(1, b"no picture")


@pytest.fixture(scope="module")
def contents(small_export):
    """Return the converted files of the small export, by format."""
    folded = folding.fold(small_export.model, multiplies=False)
    return {
        name: conversion.convert(
            folded,
            format=name,
            resolution=small_exports.RESOLUTION,
            representative_images=np.float32(small_exports.IMAGES[:, :16, :16]),
        )
        for name in conversion.FORMATS
    }


@pytest.fixture
def place(small_export, contents, tmp_path):
    """Return an `export` folder that has all formats."""
    root = tmp_path / "export"
    shutil.copytree(small_export.directory, root / "saved_model")
    write_manifest(root, "saved_model", 4.0)
    for milliseconds, (name, content) in enumerate(contents.items(), 1):
        write_manifest(root, name, milliseconds)
        (root / name / conversion.FORMATS[name]).write_bytes(content)
    return root


def write_manifest(root: pathlib.Path, name: str, milliseconds, **changes):
    manifest = {
        "fingerprint": FINGERPRINT,
        "agreement": 1.0,
        "largest_difference": 1e-6,
        "milliseconds": {"1": milliseconds, "8": 8 * milliseconds},
        **changes,
    }
    (root / name).mkdir(exist_ok=True)
    (root / name / "manifest.json").write_text(json.dumps(manifest))


def opened_as(place, runtime: str) -> str:
    """Return what is opened, without loading the SavedModel."""
    opened = runtimes.open_runtime(
        runtime,
        directory=f"{place}/saved_model",
        fingerprint=FINGERPRINT,
        signatures={"serving_default": None, "preprocess": None},
    )
    return opened.name


@pytest.mark.parametrize("name", runtimes.FORMATS)
def test_every_runtime_answers_the_same_pictures(name, place, small_export):
    opened = exported.open_export(str(place), runtime=name)
    assert opened.runtime.name == name
    found = list(exported.classify(opened, PICTURES))
    assert [each.is_valid for each in found] == [True, False, True, True]
    assert found[1].class_index == -1
    assert not found[1].probabilities.any()
    assert found[1].energy == 0
    expected = small_exports.probabilities(
        small_export.model, small_exports.IMAGES
    )
    # Rounded weights change an untrained network's answers.
    tolerance = {"tflite_float16": 0.02, "tflite_int8": 0.5}.get(
        name, small_exports.tolerance(small_export.model)
    )
    valid = [each for each in found if each.is_valid]
    np.testing.assert_allclose(
        [each.probabilities for each in valid], expected, atol=tolerance
    )
    for each in valid:
        assert each.class_index == each.probabilities.argmax()
        assert each.class_name == small_exports.CLASS_NAMES[each.class_index]


def test_energies_are_those_of_logits():
    logits = np.array([[1.0, 2.0], [3.0, -4.0]], np.float32)
    images, valid = np.zeros((2, 4, 4, 3)), np.array([True, False])
    outputs = {"images": tf.constant(images), "valid": tf.constant(valid)}
    answered = runtimes.of_converted(
        "tflite",
        {"preprocess": lambda image_bytes: outputs},
        lambda images: logits,
    ).answer([b"a", b"b"])
    np.testing.assert_allclose(
        answered.energies, [-np.log(np.exp(1) + np.exp(2)), 0], rtol=1e-6
    )
    assert answered.energies.dtype == answered.probabilities.dtype == np.float32


def test_auto_is_the_fastest_that_is_equal_and_installed(place, monkeypatch):
    assert opened_as(place, "auto") == "tflite"
    write_manifest(place, "tflite", 1.0, largest_difference=0.002)
    assert opened_as(place, "auto") == "tflite_float16"
    write_manifest(place, "tflite_float16", 2.0, agreement=0.99)
    assert opened_as(place, "auto") == "tflite_int8"
    write_manifest(place, "tflite_int8", 5.0)
    write_manifest(place, "onnx", 3.0)
    assert opened_as(place, "auto") == "onnxruntime"
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "onnxruntime" else find_spec(name),
    )
    assert opened_as(place, "auto") == "saved_model"


def test_auto_leaves_out_what_is_of_other_weights(place):
    for name in conversion.FORMATS:
        write_manifest(place, name, 1.0, fingerprint="of another model")
    assert opened_as(place, "auto") == "saved_model"
    with pytest.raises(ValueError, match="weights of another model"):
        opened_as(place, "tflite")


def test_auto_takes_a_saved_model_that_lies_alone(place, tmp_path):
    shutil.copytree(place / "saved_model", tmp_path / "saved_model")
    assert opened_as(tmp_path, "auto") == "saved_model"
    # Nobody knows how fast it is.
    (place / "saved_model" / "manifest.json").unlink()
    assert opened_as(place, "auto") == "saved_model"


def test_a_link_to_a_saved_model_leads_to_what_lies_beside_it(place, tmp_path):
    (tmp_path / "saved_model").symlink_to(place / "saved_model")
    assert opened_as(tmp_path, "auto") == "tflite"


def test_a_format_that_was_not_exported_is_named(place):
    shutil.rmtree(place / "onnx")
    with pytest.raises(FileNotFoundError, match="--formats=saved_model,onnx"):
        opened_as(place, "onnxruntime")


def test_a_runtime_that_is_not_installed_is_named(place, monkeypatch):
    for module, runtime in (
        ("onnxruntime", "onnxruntime"),
        ("ai_edge_litert.interpreter", "tflite"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=r"is not installed: pip install"):
            opened_as(place, runtime)


def test_an_unknown_runtime_is_refused(place):
    with pytest.raises(ValueError, match="--runtime=torch: accepted are auto"):
        opened_as(place, "torch")


def test_what_is_not_equal_is_said(place, caplog):
    write_manifest(place, "tflite_int8", 1.0, agreement=0.9465)
    assert opened_as(place, "tflite_int8") == "tflite_int8"
    assert "94.65 % have the same class" in caplog.text


def test_batches_are_timed():
    sizes = []

    def logits_fn(images):
        sizes.append(tuple(images.shape))
        return np.zeros((len(images), 3))

    pixels = np.zeros((3, 4, 5, 3), np.uint8)
    milliseconds = runtimes.time_batches(logits_fn, pixels)
    assert list(milliseconds) == ["1", "8"]
    assert all(each > 0 for each in milliseconds.values())
    assert {size for size in sizes} == {(1, 4, 5, 3), (8, 4, 5, 3)}
