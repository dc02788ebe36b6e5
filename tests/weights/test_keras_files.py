import pathlib
import shutil

import h5py
import numpy as np
import pytest

from noisy_student_tf.weights import keras_files
from tests.weights import golden


@pytest.fixture
def path(tmp_path):
    shutil.copy(golden.KERAS, tmp_path / "model.h5")
    return str(tmp_path / "model.h5")


def replace(path, name, array):
    with h5py.File(path, "a") as file:
        del file[name]
        file.create_dataset(name, data=np.asarray(array, np.float32))


def test_normalization_becomes_mean_and_std(path):
    replace(path, "normalization/normalization/mean:0", [0.5, 0.4, 0.2])
    replace(path, "normalization/normalization/variance:0", [0.25, 0.04, 1])
    hints = keras_files.open_file(path).hints
    assert hints.mean_rgb == pytest.approx((127.5, 102, 51))
    assert hints.std_rgb == pytest.approx((127.5, 51, 255))


def test_released_files_hold_the_deviation_as_variance(path):
    deviation = [0.229, 0.224, 0.225]
    replace(path, "normalization/normalization/variance:0", deviation)
    hints = keras_files.open_file(path).hints
    assert hints.std_rgb == pytest.approx([255 * value for value in deviation])
    assert "deviation" in hints.origin


def test_the_only_dense_layer_is_the_classifier(path):
    with h5py.File(path, "a") as file:
        file.move("predictions/predictions", "predictions/my_head")
        file.move("predictions", "my_head")
    assert keras_files.open_file(path).shapes["predictions/bias"] == (7,)


def test_truncated_file(path):
    content = pathlib.Path(path).read_bytes()
    pathlib.Path(path).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"model.h5: no readable HDF5 file"):
        keras_files.open_file(path)


def test_another_network(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("dense/dense/kernel:0", data=np.zeros([2, 2]))
    with pytest.raises(ValueError, match="no stem_conv/kernel, but"):
        keras_files.open_file(path)


def test_a_file_of_this_project_is_named_as_such(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("classifier/kernel", data=np.zeros([2, 2]))
        file.create_dataset("head_norm/gamma", data=np.zeros(2))
    with pytest.raises(ValueError, match="of this project already"):
        keras_files.open_file(path)
