"""The architecture against logits of the published implementations."""

import json
import math
import pathlib
import struct

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.model import architectures
from tests.model import small_specs

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
REPEATS = (1, 2, 2, 3, 3, 4, 1)
NORM_SUFFIXES = {"gamma": "weight", "beta": "bias"}
NORM_SUFFIXES.update(moving_mean="running_mean", moving_variance="running_var")


def read(folder):
    about = json.loads((GOLDEN / folder / "about.json").read_text())
    expected = np.load(GOLDEN / folder / "expected.npz")
    model = architectures.build(
        small_specs.make_spec(
            width=about["width"],
            depth=about["depth"],
            num_classes=about["num_classes"],
            resolution=about["resolution"],
            small_image_strides=about.get("small_image_stride", False),
            mean_rgb=tuple(map(float, expected["mean"])),
            std_rgb=tuple(map(float, expected["std"])),
        )
    )
    return model, expected, about["depth"]


def position(layer, block):
    """Return a block's layer's number among those of its kind, from 0."""
    kind = layer.rpartition("_")[2]
    order = ["depthwise_norm", "project_norm"]
    if kind == "conv":
        order = ["project_conv"]
    if block.expand_ratio != 1:
        order.insert(0, f"expand_{kind}")
    return order.index(layer)


def tf1_name(path, model):
    """Return the authors' name of one of our weights."""
    *parts, weight = path.split("/")
    if parts[0] == "classifier":
        return f"head/dense/{weight}"
    if not parts[0].startswith("block_"):
        part, kind = parts[0].split("_")
        layer = "conv2d" if kind == "conv" else "tpu_batch_normalization"
        return f"{part}/{layer}/{weight}"
    index = int(parts[0].removeprefix("block_"))
    prefix = f"blocks_{index}"
    if parts[1] == "squeeze_excite":
        suffix = "_1" if parts[2] == "expand" else ""
        return f"{prefix}/se/conv2d{suffix}/{weight}"
    if parts[1] == "depthwise_conv":
        return f"{prefix}/depthwise_conv2d/depthwise_kernel"
    number = position(parts[1], model.blocks[index])
    suffix = f"_{number}" if number else ""
    is_conv = parts[1].endswith("conv")
    layer = "conv2d" if is_conv else "tpu_batch_normalization"
    return f"{prefix}/{layer}{suffix}/{weight}"


@pytest.mark.parametrize("weights", ["raw", "ema"])
def test_logits_of_the_authors_svhn_model(weights):
    folder = "tf1_checkpoint_svhn_style"
    model, expected, _ = read(folder)
    checkpoint = tf.train.load_checkpoint(str(GOLDEN / folder / "model.ckpt"))
    suffix = "/ExponentialMovingAverage" if weights == "ema" else ""
    for variable in model.variables:
        name = f"efficientnet-b0/{tf1_name(variable.path, model)}{suffix}"
        variable.assign(checkpoint.get_tensor(name))
    np.testing.assert_allclose(
        model(expected["images"]),
        expected[f"logits_{weights}"],
        rtol=1e-3,
        atol=1e-3,
    )


def timm_name(path, model, block_names):
    """Return timm's name of one of our weights."""
    *parts, weight = path.split("/")
    suffix = NORM_SUFFIXES.get(weight, weight).replace("kernel", "weight")
    outside = {
        "stem_conv": "conv_stem",
        "stem_norm": "bn1",
        "head_conv": "conv_head",
        "head_norm": "bn2",
        "classifier": "classifier",
    }
    if parts[0] in outside:
        return f"{outside[parts[0]]}.{suffix}"
    index = int(parts[0].removeprefix("block_"))
    if parts[1] == "squeeze_excite":
        layer = f"se.conv_{parts[2]}"
    elif parts[1] == "depthwise_conv":
        layer = "conv_dw"
    else:
        number = position(parts[1], model.blocks[index])
        is_conv = parts[1].endswith("conv")
        layer = ("conv_pw", "conv_pwl")[number] if is_conv else None
        layer = layer or f"bn{number + 1}"
    return f"{block_names[index]}.{layer}.{suffix}"


def read_safetensors(path):
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    data = content[8 + size :]
    arrays = {}
    for name, entry in json.loads(content[8 : 8 + size]).items():
        if entry.get("dtype") == "F32":
            begin, end = entry["data_offsets"]
            array = np.frombuffer(data[begin:end], np.float32)
            arrays[name] = array.reshape(entry["shape"])
    return arrays


def test_logits_of_timm():
    folder = "timm_safetensors"
    model, expected, depth = read(folder)
    arrays = read_safetensors(GOLDEN / folder / "model.safetensors")
    block_names = [
        f"blocks.{stage}.{repeat}"
        for stage, repeats in enumerate(REPEATS)
        for repeat in range(math.ceil(repeats * depth))
    ]
    for variable in model.variables:
        array = arrays.pop(timm_name(variable.path, model, block_names))
        if array.ndim == 4:
            is_depthwise = "depthwise" in variable.path
            axes = (2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0)
            array = array.transpose(axes)
        variable.assign(array.T if array.ndim == 2 else array)
    assert not arrays
    np.testing.assert_allclose(
        model(expected["images"]), expected["logits"], rtol=1e-3, atol=1e-4
    )
