"""TensorFlow 1 checkpoints of tensorflow/tpu's and of the authors' code.

A checkpoint is a prefix: `model.ckpt` stands for `model.ckpt.index`,
`model.ckpt.data-00000-of-00001` and, sometimes, the graph in
`model.ckpt.meta`. Strides are not in the weights; the graph has them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.model import architectures
from noisy_student_tf.weights import names, weight_file

_EMA = "/ExponentialMovingAverage"
_STEM = "stem/conv2d/kernel"
# What optimizers keep beside a variable, and the counters of a training run.
_SLOT = re.compile(r"/(RMSProp(_\d+)?|Momentum|Adam(_\d+)?)$")
_COUNTER = re.compile(r"(^|/)(global_step|beta[12]_power)$")
_FILE = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")
# The reader raises what its C++ errors are called in Python.
_UNREADABLE = (tf.errors.OpError, ValueError, RuntimeError, LookupError)
_BLOCK = re.compile(r"\bblocks_(\d+)/")
# Of an ImageNet model, whatever its depth; two fewer at SVHN's strides.
_STRIDED_BLOCKS = 4


def find_prefix(path: str) -> str | None:
    """Return the checkpoint that a path names, or None if it names none.

    Args:
        path: A prefix, one of its files, or a directory that holds one.

    Raises:
        ValueError: A directory holds several checkpoints and prefers none.
    """
    if files.is_directory(path):
        latest = tf.train.latest_checkpoint(path)
        if latest:
            return latest
        found = files.glob(files.join(path, "*.index"))
        if len(found) > 1:
            raise ValueError(
                f"--source={path}: {len(found)} checkpoints, such as "
                f"{found[0]} and {found[1]}. Name one of them."
            )
        return found[0].removesuffix(".index") if found else None
    prefix = _FILE.sub("", path)
    if files.exists(f"{prefix}.index"):
        return prefix
    if prefix != path:
        raise FileNotFoundError(
            f"{prefix}.index: missing, and without it no checkpoint can be "
            f"read (--source={path}). Copy all files of the checkpoint."
        )
    return None


def open_checkpoint(
    prefix: str, *, use_raw_variables: bool, scope: str = ""
) -> weight_file.WeightFile:
    """Open a checkpoint.

    Args:
        prefix: Path without `.index`.
        use_raw_variables: What the optimizer left, not its moving averages.
        scope: The model's, where a checkpoint holds several.

    Raises:
        ValueError: It cannot be read, or holds no model, several, or no
            moving averages.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
        all_shapes = reader.get_variable_to_shape_map()
    except _UNREADABLE as error:
        raise ValueError(
            f"{prefix}: no readable checkpoint ({_first_line(error)}). Copy "
            "all of its files again."
        ) from error
    scope = _find_scope(prefix, all_shapes, scope)
    suffix, kind = _EMA, "moving averages"
    if use_raw_variables:
        suffix, kind = "", "raw variables"
    shapes = _of_model(all_shapes, scope, suffix)
    if not shapes:
        raise ValueError(
            f"{prefix}: all variables of {scope} are averages. Leave "
            "--use_raw_variables out."
            if use_raw_variables
            else f"{prefix}: no variable of {scope} ends in {_EMA}. Import "
            "what the optimizer left with --use_raw_variables."
        )
    norm = "batch_normalization"
    if any(f"/tpu_{norm}" in name for name in shapes):
        norm = f"tpu_{norm}"
    return weight_file.WeightFile(
        path=prefix,
        format=f"TensorFlow 1 checkpoint, {kind}",
        naming=names.tf1(scope=scope, norm=norm, suffix=suffix),
        shapes=shapes,
        read=lambda name: _read(reader, prefix, name),
        hints=_hints(f"{prefix}.meta", scope),
        is_tf1=True,
    )


def _hints(graph: str, scope: str) -> weight_file.Hints:
    """Return what a scope and the graph beside a checkpoint say."""
    parts = scope.split("/")
    variants = [part for part in parts if part in architectures.VARIANTS]
    return weight_file.Hints(
        origin=f"{graph}, the graph",
        name=variants[0] if variants else None,
        small_image_strides=_strides_of_graph(graph),
    )


def _of_model(
    shapes: Mapping[str, Iterable[int]], scope: str, suffix: str
) -> dict[str, tuple[int, ...]]:
    """Return the model's variables of one kind, averages or raw."""
    return {
        name: tuple(shape)
        for name, shape in shapes.items()
        if name.startswith(scope)
        and name.endswith(_EMA) == bool(suffix)
        and not _SLOT.search(name)
        and not _COUNTER.search(name)
    }


def _read(reader: Any, prefix: str, name: str) -> np.ndarray:
    try:
        return np.asarray(reader.get_tensor(name), np.float32)
    except _UNREADABLE as error:
        raise ValueError(
            f"{prefix}: {name} cannot be read ({_first_line(error)}). The "
            "data file is truncated or damaged: copy it again."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _find_scope(prefix: str, variables: Mapping[str, Any], scope: str) -> str:
    """Return what stands before all names of a model's variables."""
    plain = {name.removesuffix(_EMA) for name in variables}
    scopes = sorted(
        name.removesuffix(_STEM)
        for name in plain
        if name == _STEM or name.endswith(f"/{_STEM}")
    )
    if scope:
        scopes = [found for found in scopes if found == f"{scope}/"]
    if not scopes:
        some = ", ".join(sorted(variables)[:3])
        raise ValueError(
            f"{prefix}: no EfficientNet: there is no variable "
            f"{scope + '/' if scope else ''}{_STEM}, only such as {some}."
        )
    if len(scopes) > 1:
        raise ValueError(
            f"{prefix}: {len(scopes)} models, {', '.join(scopes)}. Choose one "
            f"with --scope={scopes[0].rstrip('/')}."
        )
    return scopes[0]


def _strides_of_graph(path: str) -> bool | None:
    """Tell whether a saved graph has SVHN's strides; None without a graph."""
    if not files.exists(path):
        return None
    graph = tf.compat.v1.MetaGraphDef()
    try:
        graph.ParseFromString(files.read_bytes(path))
    except Exception:  # protobuf's own error class is private.
        return None
    functions = graph.graph_def.library.function
    nodes = list(graph.graph_def.node)
    nodes += [node for function in functions for node in function.node_def]
    strides: dict[str, int] = {}
    for node in nodes:
        block = _BLOCK.search(node.name)
        if node.op == "DepthwiseConv2dNative" and block:
            strides[block[1]] = max(node.attr["strides"].list.i)
    if not strides:
        return None
    return sum(stride == 2 for stride in strides.values()) < _STRIDED_BLOCKS
