import h5py
import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.model import architectures, saved
from tests.model import small_specs

IMAGES = tf.cast(
    tf.reshape(tf.range(2 * 16 * 16 * 3) % 256, [2, 16, 16, 3]), "uint8"
)


@pytest.fixture(scope="module")
def models():
    spec = small_specs.make_spec()
    return [small_specs.make_calibrated(spec, seed) for seed in (1, 2)]


@pytest.fixture
def directory(models, tmp_path):
    model, ema_model = models
    path = str(tmp_path / "teacher")
    saved.save(path, model=model, ema_model=ema_model, spec=model.spec)
    return path


@pytest.mark.parametrize("path", ["local", "ram://saved/teacher"])
def test_round_trip_keeps_the_outputs(models, path, tmp_path):
    path = str(tmp_path / path) if path == "local" else path
    model, ema_model = models
    saved.save(path, model=model, ema_model=ema_model, spec=model.spec)
    for weights, original in (("raw", model), ("ema", ema_model)):
        loaded, spec = saved.load(path, weights=weights)
        assert spec == model.spec
        np.testing.assert_array_equal(loaded(IMAGES), original(IMAGES))
    assert (model(IMAGES).numpy() != ema_model(IMAGES).numpy()).any()


def test_fingerprint_follows_the_averaged_weights(models, directory, tmp_path):
    model, ema_model = models
    other = str(tmp_path / "other")
    saved.save(other, model=ema_model, ema_model=ema_model, spec=model.spec)
    assert saved.fingerprint(other) == saved.fingerprint(directory)
    saved.save(other, model=model, ema_model=model, spec=model.spec)
    assert saved.fingerprint(other) != saved.fingerprint(directory)


def test_missing_model_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run_scripts.noisy_student"):
        saved.load(str(tmp_path))


def test_file_of_weights_is_answered_with_the_importer(tmp_path):
    path = tmp_path / "b0.safetensors"
    path.write_bytes(b"weights")
    with pytest.raises(ValueError, match=rf"import_weights --source={path} "):
        saved.load_spec(str(path))


def test_missing_weights_file(directory):
    files.remove(saved.weights_path(directory, "ema"))
    with pytest.raises(FileNotFoundError, match=r"ema.weights.h5"):
        saved.load(directory)


def change(directory, edit):
    with h5py.File(saved.weights_path(directory, "ema"), "a") as file:
        edit(file)


def test_missing_weight_is_named_with_the_file(directory):
    def edit(file):
        del file["block_1/expand_conv/kernel"]

    change(directory, edit)
    with pytest.raises(
        ValueError,
        match=r"ema.weights.h5: 1 .*block_1/expand_conv/kernel is missing",
    ):
        saved.load(directory)


def test_unknown_weight_is_named(directory):
    change(directory, lambda file: file.create_dataset("extra/bias", data=1.0))
    with pytest.raises(ValueError, match="extra/bias is unknown"):
        saved.load(directory)


def test_wrong_shape_is_named(directory):
    def edit(file):
        del file["classifier/bias"]
        file.create_dataset("classifier/bias", data=np.zeros(5, np.float32))

    change(directory, edit)
    with pytest.raises(
        ValueError, match=r"classifier/bias has shape \(5,\), not \(3,\)"
    ):
        saved.load(directory)


def test_truncated_file(directory):
    path = saved.weights_path(directory, "ema")
    files.write_bytes(path, files.read_bytes(path)[:1000])
    with pytest.raises(ValueError, match=r"ema.weights.h5: not a readable"):
        saved.load(directory)


def test_tensorflow_checkpoint_keeps_the_outputs(models, tmp_path):
    model, _ = models
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    restored = architectures.build(model.spec, seed=9)
    assert (restored(IMAGES).numpy() != model(IMAGES).numpy()).any()
    status = tf.train.Checkpoint(model=restored).read(path)
    status.assert_consumed()
    np.testing.assert_array_equal(restored(IMAGES), model(IMAGES))
