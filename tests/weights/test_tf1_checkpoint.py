import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.model import efficientnet_variants, saved
from noisy_student_tf.weights import (
    names,
    read_foreign,
    tf1_checkpoint,
    weight_file,
)
from tests.model import small_specs
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


def test_a_released_lite_checkpoint_is_imported(tmp_path):
    """Scope and names are those of tensorflow/tpu; there is no `se`."""
    spec = small_specs.make_spec(
        name="efficientnet-lite0", mean_rgb=(), std_rgb=()
    )
    model = small_specs.make_calibrated(spec)
    blocks = efficientnet_variants.blocks(spec)
    naming = names.tf1(
        scope="efficientnet-lite0/", norm="tpu_batch_normalization", suffix=""
    )
    arrays = {
        naming.name(variable.path, blocks): variable.numpy()
        for variable in model.variables
    }
    assert not any("/se/" in name for name in arrays)
    for name in (
        "efficientnet-lite0/stem/tpu_batch_normalization/moving_mean",
        "efficientnet-lite0/blocks_0/conv2d/kernel",
        "efficientnet-lite0/blocks_1/depthwise_conv2d/depthwise_kernel",
        "efficientnet-lite0/blocks_1/tpu_batch_normalization_2/gamma",
        "efficientnet-lite0/head/dense/bias",
    ):
        assert name in arrays
    averages = {f"{name}{EMA}": array for name, array in arrays.items()}
    prefix = write(tmp_path, {**arrays, **averages, "global_step": np.int64(1)})
    report = read_foreign.import_weights(
        prefix,
        str(tmp_path / "model"),
        read_foreign.Options(request=weight_file.Hints(resolution=64)),
    )
    assert "efficientnet-lite0 with width" in report
    found, found_spec = saved.load(str(tmp_path / "model"))
    assert found_spec.std_rgb == (128, 128, 128)
    images = np.random.default_rng(0).uniform(0, 255, [2, 64, 64, 3])
    images = images.astype(np.float32)
    np.testing.assert_array_equal(found(images), model(images))


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
