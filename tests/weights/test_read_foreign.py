import os
import pathlib
import shutil

import numpy as np
import pytest
import safetensors.numpy

from noisy_student_tf.model import architectures, saved
from noisy_student_tf.records import shards
from noisy_student_tf.weights import read_foreign, weight_file
from tests.weights import golden


def weights_of(directory):
    model, _ = saved.load(str(directory))
    return {variable.path: variable.numpy() for variable in model.variables}


def test_another_number_of_classes_gets_a_fresh_head(tmp_path):
    golden.import_to(tmp_path / "whole", golden.TIMM)
    report = golden.import_to(
        tmp_path / "fresh",
        golden.TIMM,
        num_classes=3,
        head_initializer="fan_in",
    )
    whole, fresh = map(weights_of, (tmp_path / "whole", tmp_path / "fresh"))
    assert "a fresh classifier; 7 classes in the file" in report
    kernel = fresh.pop("classifier/kernel")
    assert kernel.shape == (320, 3)
    assert 0.9 / 320**0.5 < np.abs(kernel).max() <= 1 / 320**0.5
    assert not fresh.pop("classifier/bias").any()
    for path, array in fresh.items():
        np.testing.assert_array_equal(array, whole[path])


def test_raw_variables_on_request(tmp_path):
    golden.import_to(tmp_path / "both", golden.TPU)
    golden.import_to(tmp_path / "raw", golden.TPU, use_raw_variables=True)
    both, raw = tmp_path / "both", tmp_path / "raw"
    raw_model, _ = saved.load(str(both), weights="raw")
    assert saved.fingerprint(str(both)) != saved.fingerprint(str(raw))
    expected = weights_of(raw)
    for variable in raw_model.variables:
        np.testing.assert_array_equal(variable, expected[variable.path])


def test_preprocessing_is_written(tmp_path):
    names = tuple("abcdefg")
    options = read_foreign.Options(
        request=weight_file.Hints(
            resolution=96,
            mean_rgb=(1.0, 2.0, 3.0),
            std_rgb=(4.0, 5.0, 6.0),
            class_names=names,
        )
    )
    read_foreign.import_weights(golden.TIMM, str(tmp_path / "model"), options)
    spec = saved.load_spec(str(tmp_path / "model"))
    manifest = shards.read_manifest(str(tmp_path / "model"))
    assert spec.mean_rgb == (1.0, 2.0, 3.0)
    assert spec.std_rgb == (4.0, 5.0, 6.0)
    assert spec.class_names == names
    assert manifest["resolution"] == 96
    assert manifest["crop"] == "center, 0.750 of the short side"


def damaged(tmp_path, edit):
    arrays = safetensors.numpy.load_file(golden.TIMM)
    edit(arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "model.safetensors")
    return str(tmp_path / "model.safetensors")


def spoil(arrays):
    arrays["bn1.bias"][3] = np.nan


def without_head(arrays):
    del arrays["classifier.weight"], arrays["classifier.bias"]


@pytest.mark.parametrize(
    "edit, message",
    [
        (spoil, r"bn1.bias holds numbers that are not finite"),
        (without_head, r"has no classifier. Give --num_classes"),
        (lambda arrays: arrays.pop("bn2.weight"), r"bn2.weight"),
        (
            lambda arrays: arrays.update(extra=np.zeros(2, np.float32)),
            r"unknown to the model: extra \[2\]",
        ),
    ],
)
def test_what_cannot_be_imported_leaves_nothing(tmp_path, edit, message):
    source = damaged(tmp_path, edit)
    with pytest.raises(ValueError, match=message):
        read_foreign.import_weights(
            source, str(tmp_path / "output"), read_foreign.Options()
        )
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_a_file_without_head_gets_one(tmp_path):
    source = damaged(tmp_path, without_head)
    read_foreign.import_weights(
        source, str(tmp_path / "output"), read_foreign.Options(num_classes=2)
    )
    assert saved.load_spec(str(tmp_path / "output")).num_classes == 2


@pytest.mark.parametrize("num_classes", [None, 7])
def test_class_names_of_another_number(tmp_path, num_classes):
    options = read_foreign.Options(
        request=weight_file.Hints(class_names=("a", "b")),
        num_classes=num_classes,
    )
    with pytest.raises(ValueError, match="2 names for 7 classes"):
        read_foreign.import_weights(
            golden.TIMM, str(tmp_path / "output"), options
        )


@pytest.mark.parametrize(
    "options",
    [
        read_foreign.Options(use_raw_variables=True),
        read_foreign.Options(scope="teacher"),
    ],
)
def test_choices_that_a_file_does_not_have(tmp_path, options):
    with pytest.raises(ValueError, match="is for TensorFlow 1 checkpoints"):
        read_foreign.import_weights(
            golden.TIMM, str(tmp_path / "output"), options
        )


def test_existing_output_is_kept(tmp_path):
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        golden.import_to(tmp_path, golden.TIMM)
    assert os.listdir(tmp_path) == ["kept"]


def test_failed_round_trip_leaves_nothing(tmp_path, monkeypatch):
    write = saved.write_weights

    def write_wrongly(path, model):
        model.head_norm.beta.assign_add(model.head_norm.gamma)
        write(path, model)

    monkeypatch.setattr(saved, "write_weights", write_wrongly)
    with pytest.raises(ValueError, match=r"head_norm/beta differs from bn2"):
        golden.import_to(tmp_path / "output", golden.TIMM)
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    "content, message",
    [(b"\x1f\x8b an archive", "archives must be unpacked"), (b"", "cut off")],
)
def test_unknown_content(tmp_path, content, message):
    (tmp_path / "weights.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_foreign.import_weights(
            str(tmp_path / "weights.tar.gz"),
            str(tmp_path / "output"),
            read_foreign.Options(),
        )


def test_missing_source_lists_the_formats(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not found.*safetensors"):
        read_foreign.import_weights(
            str(tmp_path / "nothing"),
            str(tmp_path / "o"),
            read_foreign.Options(),
        )


def test_a_directory_with_one_file_will_do(tmp_path):
    shutil.copy(golden.TIMM, tmp_path / "model.safetensors")
    read_foreign.import_weights(
        str(tmp_path), str(tmp_path / "output"), read_foreign.Options()
    )
    assert pathlib.Path(tmp_path, "output", "manifest.json").exists()


def test_initializers_are_those_of_the_configuration():
    assert architectures.INITIALIZERS == ("published", "fan_in", "zeros")
