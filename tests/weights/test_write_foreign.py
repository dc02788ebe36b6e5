import os

import keras
import numpy as np
import pytest
import safetensors.numpy

from noisy_student_tf.model import saved
from noisy_student_tf.weights import read_foreign, write_foreign
from tests.model import small_specs
from tests.weights import golden

SUFFIXES = (".safetensors", ".weights.h5", ".h5")


@pytest.fixture(scope="module")
def svhn(tmp_path_factory):
    directory = tmp_path_factory.mktemp("svhn") / "model"
    golden.import_to(directory, golden.SVHN)
    return str(directory)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exported_weights_come_back_whole(svhn, tmp_path, suffix):
    path = str(tmp_path / f"exported{suffix}")
    report = write_foreign.export_weights(svhn, path)
    assert "would give other logits" in report
    back = str(tmp_path / "back")
    read_foreign.import_weights(path, back, read_foreign.Options())
    assert saved.load_spec(back) == saved.load_spec(svhn)
    assert saved.fingerprint(back) == saved.fingerprint(svhn)


def test_raw_weights_are_exported_on_request(svhn, tmp_path):
    path, back = str(tmp_path / "raw.safetensors"), str(tmp_path / "back")
    write_foreign.export_weights(svhn, path, weights="raw")
    read_foreign.import_weights(path, back, read_foreign.Options())
    raw, _ = saved.load(svhn, weights="raw")
    found, _ = saved.load(back)
    np.testing.assert_array_equal(found.head_norm.beta, raw.head_norm.beta)


def test_the_published_names_are_written(tmp_path):
    """Of the same variant, the file holds what the golden file holds."""
    source, path = tmp_path / "source", str(tmp_path / "model.safetensors")
    golden.import_to(source, golden.TIMM)
    write_foreign.export_weights(str(source), path)
    arrays, wanted = map(safetensors.numpy.load_file, (path, golden.TIMM))
    assert arrays.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_keras_applications_load_both_files_and_agree(tmp_path):
    spec = small_specs.make_spec(width=1.0, depth=1.0, resolution=32)
    model = small_specs.make_calibrated(spec)
    directory = str(tmp_path / "model")
    saved.save(directory, model=model, ema_model=model, spec=spec)
    images = np.random.default_rng(0).uniform(0, 255, [4, 32, 32, 3])
    logits = model(images.astype(np.float32)).numpy()
    theirs = keras.applications.EfficientNetB0(
        weights=None,
        classes=3,
        input_shape=(32, 32, 3),
        classifier_activation=None,
    )
    for name in ("b0.weights.h5", "b0.h5"):
        write_foreign.export_weights(directory, str(tmp_path / name))
        theirs.load_weights(str(tmp_path / name))
        found = theirs(images.astype(np.float32), training=False)
        assert golden.relative_error(found, logits) < 1e-3


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    spec = small_specs.make_spec(name="efficientnet-lite0", resolution=32)
    model = small_specs.make_calibrated(spec)
    directory = str(tmp_path_factory.mktemp("lite") / "model")
    saved.save(directory, model=model, ema_model=model, spec=spec)
    return directory


@pytest.mark.parametrize(
    "library, stem",
    [
        ("timm", "conv_stem.weight"),
        ("efficientnet_pytorch", "_conv_stem.weight"),
    ],
)
def test_lite_is_written_for_both_libraries(lite, tmp_path, library, stem):
    path, back = str(tmp_path / "lite.safetensors"), str(tmp_path / "back")
    write_foreign.export_weights(lite, path, library=library)
    assert stem in safetensors.numpy.load_file(path)
    read_foreign.import_weights(path, back, read_foreign.Options())
    assert saved.load_spec(back).std_rgb == saved.load_spec(lite).std_rgb
    assert saved.fingerprint(back) == saved.fingerprint(lite)


def test_keras_applications_has_no_lite(lite, tmp_path):
    with pytest.raises(ValueError, match="has no efficientnet-lite0"):
        write_foreign.export_weights(lite, str(tmp_path / "lite.h5"))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name", ["model.pth", "model"])
def test_unknown_suffix(svhn, tmp_path, name):
    with pytest.raises(ValueError, match=r"end in .safetensors, .weights.h5"):
        write_foreign.export_weights(svhn, str(tmp_path / name))
    assert not os.listdir(tmp_path)


def test_existing_output_is_kept(svhn, tmp_path):
    (tmp_path / "model.h5").write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        write_foreign.export_weights(svhn, str(tmp_path / "model.h5"))
    assert (tmp_path / "model.h5").read_text() == "mine"
