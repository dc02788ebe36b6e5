"""A classifier for devices and other runtimes: TFLite and ONNX.

What these formats hold takes the model's images, float32 [batch, resolution,
resolution, 3] in [0, 255], and returns logits: decoding, turning, cropping
and resizing, as `preprocessing.json` beside them says, is their caller's.
"""

import importlib
import logging
import os
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf

# The file that holds each format.
FORMATS = {
    "tflite": "model.tflite",
    "tflite_float16": "model.tflite",
    "tflite_int8": "model.tflite",
    "onnx": "model.onnx",
}

# The newest that both converter and runtimes of some age know.
_ONNX_OPSET = 17

# float32 [batch, resolution, resolution, 3] -> float32 [batch, num_classes].
ConvertedFn = Callable[[np.ndarray], np.ndarray]


def convert(
    model: Callable[[tf.Tensor], tf.Tensor],
    *,
    format: str,
    resolution: int,
    representative_images: Iterable[np.ndarray] = (),
) -> bytes:
    """Return a model as the content of a file.

    Args:
        model: What is converted, of TensorFlow's convolutions and no layers
            of Keras; its variables become constants.
        format: One of `FORMATS`: TFLite in float32, TFLite with float16
            weights, TFLite whose weights and activations are int8 while its
            input and output stay float32, or ONNX in float32.
        resolution: Side of the model's images in pixels.
        representative_images: For int8, what the ranges of activations are
            measured on: float32 [resolution, resolution, 3] each.

    Raises:
        ImportError: A package that converts is missing.
        ValueError: int8 without images.
    """
    shape = tf.TensorSpec(
        [None, resolution, resolution, 3], tf.float32, name="images"
    )
    compiled = tf.function(
        lambda images: {"logits": model(images)},
        input_signature=[shape],
        autograph=False,
    )
    if format == "onnx":
        return _to_onnx(compiled, shape)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [compiled.get_concrete_function()], model
    )
    if format != "tflite":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if format == "tflite_float16":
        converter.target_spec.supported_types = [tf.float16]
    if format == "tflite_int8":
        _measure_ranges(converter, representative_images)
    return converter.convert()


def _measure_ranges(converter: Any, images: Iterable[np.ndarray]) -> None:
    """Make a converter round to int8 what lies in the ranges of images."""
    batches = [[image[np.newaxis]] for image in images]
    if not batches:
        raise ValueError(
            "tflite_int8 needs representative images: give some that the "
            "model was trained on."
        )
    converter.representative_dataset = lambda: iter(batches)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _to_onnx(compiled: Any, shape: tf.TensorSpec) -> bytes:
    tf2onnx = _import("tf2onnx")
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    converted, _ = tf2onnx.convert.from_function(
        compiled, input_signature=[shape], opset=_ONNX_OPSET
    )
    return converted.SerializeToString()


def open_tflite(
    content: bytes, *, num_threads: int | None = None
) -> ConvertedFn:
    """Return a TFLite model as a function.

    Raises:
        ImportError: The runtime is missing.
    """
    runtime = _import("ai_edge_litert.interpreter", package="ai-edge-litert")
    interpreter = runtime.Interpreter(
        model_content=content, num_threads=num_threads
    )
    source = interpreter.get_input_details()[0]
    target = interpreter.get_output_details()[0]["index"]
    allocated: list[tuple[int, ...]] = []

    def logits(images: np.ndarray) -> np.ndarray:
        if allocated != [images.shape]:
            interpreter.resize_tensor_input(source["index"], images.shape)
            interpreter.allocate_tensors()
            allocated[:] = [images.shape]
        interpreter.set_tensor(source["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return logits


def open_onnx(content: bytes, *, num_threads: int = 0) -> ConvertedFn:
    """Return an ONNX model as a function of onnxruntime; 0: all cores.

    Raises:
        ImportError: onnxruntime is missing.
    """
    onnxruntime = _import("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    session = onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run(["logits"], {"images": images})[0]


def open_converted(content: bytes, *, format: str) -> ConvertedFn:
    """Return what `convert` returned as it is served: on all cores.

    TFLite is given one image after the other: it is no faster with several,
    and prepares itself anew for every other size of a batch.

    Raises:
        ImportError: The runtime is missing.
    """
    if format == "onnx":
        return open_onnx(content)
    one = open_tflite(content, num_threads=len(os.sched_getaffinity(0)))
    return lambda images: np.concatenate(
        [one(image[np.newaxis]) for image in images]
    )


def _import(name: str, package: str = "") -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{package or name} is not installed: pip install -e '.[convert]'."
        ) from error
