import json
import os
import pathlib
import pickle
import shutil

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from noisy_student_tf.model import efficientnet_variants, saved
from noisy_student_tf.weights import (
    formats,
    names,
    pytorch_files,
    read_foreign,
)
from tests.model import small_specs
from tests.weights import golden, torch_writer


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
    file = pytorch_files.open_safetensors(path)
    assert file.read("conv_stem.weight").tolist() == [1.5, -2.0]
    assert file.read("bn1.bias").dtype == np.float32


def test_truncated_file(path):
    content = pathlib.Path(path).read_bytes()
    pathlib.Path(path).write_bytes(content[:-1000])
    with pytest.raises(ValueError, match=r"model.safetensors: no readable"):
        pytorch_files.open_safetensors(path)


def test_another_network(tmp_path):
    path = str(tmp_path / "other.safetensors")
    safetensors.numpy.save_file({"fc.weight": np.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"no conv_stem.weight, but fc.weight"):
        pytorch_files.open_safetensors(path)


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
    hints = pytorch_files.open_safetensors(path).hints
    assert hints.mean_rgb == (127.5, 127.5, 127.5)
    assert hints.std_rgb == (63.75, 127.5, 255.0)
    assert hints.resolution == 672
    assert hints.name == "efficientnet-b8"


def test_a_family_that_pads_differently_is_refused(path):
    write_config(path, architecture="efficientnet_b0")
    with pytest.raises(ValueError, match="tf_efficientnet_"):
        pytorch_files.open_safetensors(path)


def lite_state():
    """Return a small Lite by the names of efficientnet_pytorch."""
    spec = small_specs.make_spec(name="efficientnet-lite0", mean_rgb=())
    model = small_specs.make_calibrated(spec)
    blocks = efficientnet_variants.blocks(spec)
    family = names.EFFICIENTNET_PYTORCH
    state = {
        family.name(variable.path, blocks): family.to_file(
            variable.path, variable.numpy()
        )
        for variable in model.variables
    }
    state["_bn0.num_batches_tracked"] = np.array(7, np.int64)
    return model, state


@pytest.mark.parametrize("write", [torch_writer.archive, torch_writer.stream])
@pytest.mark.parametrize(
    "nest",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {f"module.{name}": w for name, w in state.items()},
    ],
)
def test_states_of_efficientnet_pytorch_are_imported(tmp_path, write, nest):
    model, state = lite_state()
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(write(nest(state)))
    report = read_foreign.import_weights(
        str(path), str(tmp_path / "model"), read_foreign.Options()
    )
    assert "of efficientnet_pytorch" in report
    assert "efficientnet-lite0 with width" in report
    found, spec = saved.load(str(tmp_path / "model"))
    assert spec.mean_rgb == (127, 127, 127)
    for mine, theirs in zip(model.variables, found.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs, mine.path)


def test_averages_are_preferred(tmp_path):
    path = tmp_path / "checkpoint.pth"
    array = np.ones([8, 3, 3, 3], np.float32)
    states = {
        "state_dict": {"conv_stem.weight": array},
        "state_dict_ema": {"module.conv_stem.weight": 2 * array},
    }
    path.write_bytes(torch_writer.archive(states))
    file = formats.open_file(str(path))
    assert "PyTorch file state_dict_ema of timm's" in file.format
    assert (file.read("conv_stem.weight") == 2).all()


def test_a_list_is_no_state(tmp_path):
    (tmp_path / "list.pth").write_bytes(torch_writer.archive([1]))
    with pytest.raises(ValueError, match="holds a list, not tensors by name"):
        formats.open_file(str(tmp_path / "list.pth"))


class Code:
    """Makes a directory when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("write", [torch_writer.archive, pickle.dumps])
def test_code_in_a_pickle_is_not_run(tmp_path, write):
    path, trace = tmp_path / "evil.pth", tmp_path / "was-run"
    path.write_bytes(write({"conv_stem.weight": Code(trace)}, protocol=2))
    with pytest.raises(ValueError, match="nothing of it was run") as caught:
        formats.open_file(str(path))
    assert "evil.pth" in str(caught.value)
    assert "mkdir, which is code" in str(caught.value)
    assert not trace.exists()


def test_the_content_decides_and_not_the_name(tmp_path):
    shutil.copy(golden.KERAS, tmp_path / "model.pth")
    file = formats.open_file(str(tmp_path / "model.pth"))
    assert file.format == "HDF5 of Keras 2"
