import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.weights import tf1_checkpoint
from tests.weights import golden

EMA = "/ExponentialMovingAverage"
STEM = "stem/conv2d/kernel"


def write(directory, arrays):
    """Write a TensorFlow 1 checkpoint; return its prefix."""
    prefix = str(directory / "model.ckpt")
    tensors = [tf.constant(array) for array in arrays.values()]
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=tensors,
    )
    return prefix


def variables(scope, *suffixes):
    return {
        f"{scope}{STEM}{suffix}": np.zeros([3, 3, 3, 8], np.float32)
        for suffix in suffixes
    }


def open_raw(prefix, scope=""):
    return tf1_checkpoint.open_checkpoint(
        prefix, use_raw_variables=True, scope=scope
    )


@pytest.mark.parametrize(
    "name", ["", "model.ckpt", "model.ckpt.index", "model.ckpt.meta"]
)
def test_every_way_to_name_a_checkpoint(name):
    folder = pathlib.Path(golden.SVHN).parent
    assert tf1_checkpoint.find_prefix(str(folder / name)) == golden.SVHN


def test_data_without_its_index_is_refused(tmp_path):
    path = tmp_path / "model.ckpt.data-00000-of-00001"
    shutil.copy(f"{golden.TPU}.data-00000-of-00001", path)
    with pytest.raises(FileNotFoundError, match=r"model.ckpt.index: missing"):
        tf1_checkpoint.find_prefix(str(path))


def test_truncated_data_names_the_variable(tmp_path):
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy(golden.TPU + suffix, tmp_path / f"model.ckpt{suffix}")
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-5000])
    file = open_raw(str(tmp_path / "model.ckpt"))
    expected = r"efficientnet-b0/\S+ cannot be read .*truncated"
    with pytest.raises(ValueError, match=expected):
        for name in sorted(file.shapes):
            file.read(name)


def test_truncated_index_is_refused(tmp_path):
    content = pathlib.Path(f"{golden.TPU}.index").read_bytes()
    (tmp_path / "model.ckpt.index").write_bytes(content[:3000])
    with pytest.raises(ValueError, match=r"model.ckpt: no readable checkpoint"):
        open_raw(str(tmp_path / "model.ckpt"))


def test_slots_and_counters_are_left_out(tmp_path):
    prefix = write(
        tmp_path,
        {
            **variables("a/", "", "/RMSProp", "/RMSProp_1", "/Momentum", EMA),
            "global_step": np.int64(3),
        },
    )
    assert list(open_raw(prefix).shapes) == [f"a/{STEM}"]


def test_averages_alone_are_enough(tmp_path):
    prefix = write(tmp_path, variables("a/", EMA))
    file = tf1_checkpoint.open_checkpoint(prefix, use_raw_variables=False)
    assert list(file.shapes) == [f"a/{STEM}{EMA}"]
    with pytest.raises(ValueError, match="Leave --use_raw_variables out"):
        open_raw(prefix)


def test_missing_averages_name_the_flag(tmp_path):
    prefix = write(tmp_path, variables("a/", ""))
    with pytest.raises(ValueError, match="--use_raw_variables"):
        tf1_checkpoint.open_checkpoint(prefix, use_raw_variables=False)


def test_one_of_several_models_is_chosen_by_scope(tmp_path):
    prefix = write(
        tmp_path, {**variables("student/", ""), **variables("teacher/", "")}
    )
    with pytest.raises(ValueError, match="--scope=student"):
        open_raw(prefix)
    assert list(open_raw(prefix, "teacher").shapes) == [f"teacher/{STEM}"]


def test_another_network_is_refused(tmp_path):
    prefix = write(tmp_path, {"resnet/conv": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match=r"no EfficientNet.*resnet/conv"):
        open_raw(prefix)


@pytest.mark.parametrize("stage_strides", [(2, 2, 2, 2), (1, 1, 2, 2)])
def test_strides_are_read_from_the_graph(tmp_path, stage_strides):
    prefix = write(tmp_path, variables("efficientnet-b0/", ""))
    with tf.Graph().as_default():
        maps = tf.zeros([1, 8, 8, 1])
        for index, stride in enumerate((1, *stage_strides)):
            with tf.compat.v1.name_scope(f"efficientnet-b0/blocks_{index}/"):
                tf.nn.depthwise_conv2d(
                    maps,
                    tf.zeros([3, 3, 1, 1]),
                    [1, stride, stride, 1],
                    "SAME",
                )
        tf.compat.v1.train.export_meta_graph(f"{prefix}.meta")
    hints = open_raw(prefix).hints
    assert hints.small_image_strides == (stage_strides[0] == 1)
    assert hints.name == "efficientnet-b0"
