import json
import os
import pathlib
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from noisy_student_tf.weights import formats, timm_files
from tests.weights import golden


@pytest.fixture
def path(tmp_path):
    shutil.copy(golden.TIMM, tmp_path / "model.safetensors")
    return str(tmp_path / "model.safetensors")


def write_config(path, **content):
    pathlib.Path(path).with_name("config.json").write_text(json.dumps(content))


def test_half_precision_is_read(tmp_path):
    path = str(tmp_path / "half.safetensors")
    values = np.array([1.5, -2.0], tf.bfloat16.as_numpy_dtype)
    arrays = {"conv_stem.weight": values, "bn1.bias": np.float16([0.25])}
    safetensors.numpy.save_file(arrays, path)
    file = timm_files.open_safetensors(path)
    assert file.read("conv_stem.weight").tolist() == [1.5, -2.0]
    assert file.read("bn1.bias").dtype == np.float32


def test_truncated_file(path):
    content = pathlib.Path(path).read_bytes()
    pathlib.Path(path).write_bytes(content[:-1000])
    with pytest.raises(ValueError, match=r"model.safetensors: no readable"):
        timm_files.open_safetensors(path)


def test_another_network(tmp_path):
    path = str(tmp_path / "other.safetensors")
    safetensors.numpy.save_file({"fc.weight": np.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"no conv_stem.weight, but fc.weight"):
        timm_files.open_safetensors(path)


def test_configuration_beside_the_file_is_read(path):
    write_config(
        path,
        architecture="tf_efficientnet_b8",
        pretrained_cfg={
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.5, 1.0],
            "input_size": [3, 672, 672],
        },
    )
    hints = timm_files.open_safetensors(path).hints
    assert hints.mean_rgb == (127.5, 127.5, 127.5)
    assert hints.std_rgb == (63.75, 127.5, 255.0)
    assert hints.resolution == 672
    assert hints.name == "efficientnet-b8"


def test_a_family_that_pads_differently_is_refused(path):
    write_config(path, architecture="efficientnet_b0")
    with pytest.raises(ValueError, match="tf_efficientnet_"):
        timm_files.open_safetensors(path)


class Code:
    """Makes a directory when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("is_archive", [False, True])
def test_code_in_a_pickle_is_not_run(tmp_path, is_archive):
    """Refused by PyTorch's restricted unpickler, or for want of PyTorch."""
    path, trace = tmp_path / "evil.pth", tmp_path / "was-run"
    content = pickle.dumps({"conv_stem.weight": Code(trace)}, protocol=2)
    path.write_bytes(content)
    if is_archive:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", content)
    with pytest.raises(ValueError) as caught:
        formats.open_file(str(path))
    message = str(caught.value)
    assert "evil.pth" in message
    assert ".safetensors" in message
    assert "nothing of it was run" in message or "not installed" in message
    assert not trace.exists()
