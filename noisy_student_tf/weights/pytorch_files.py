"""Weights by the names of PyTorch's libraries, `.safetensors` and `.pth`.

The libraries are `efficientnet_pytorch` and its like, and timm with its
`tf_efficientnet` family. Timm's other EfficientNets have the same names and
shapes but pad differently and normalize with another epsilon; only a
`config.json` beside the file tells.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.weights import names, torch_files, weight_file

_FAMILY = "tf_efficientnet_"
_COUNTER = "num_batches_tracked"

# Where training scripts keep the state in a checkpoint, averages first.
_STATES = ("state_dict_ema", "model_ema", "state_dict", "model")

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": tf.bfloat16.as_numpy_dtype,
    "I64": np.int64,
    "I32": np.int32,
}


def is_safetensors(head: bytes) -> bool:
    """Tell by its first 9 bytes whether a file is of safetensors."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32


def open_safetensors(path: str) -> weight_file.WeightFile:
    """Open a `.safetensors` file.

    Raises:
        ValueError: It cannot be read, or is of none of the libraries.
    """
    content = files.read_bytes(path)
    try:
        entries = dict(safetensors.deserialize(content))
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}: no readable safetensors file ({error}). It is truncated "
            "or damaged: copy it again."
        ) from error
    arrays = {
        name: _array(name, entry, path) for name, entry in entries.items()
    }
    text = _metadata(content).get(weight_file.SPEC_KEY)
    return _open(arrays, path, "safetensors", text)


def open_pth(path: str) -> weight_file.WeightFile:
    """Open a `.pth` file of PyTorch, without running what it may hold.

    Raises:
        ValueError: The file is damaged or holds more than tensors, or it is of
            none of the libraries.
    """
    arrays, entry = _find_state(torch_files.load(path), path)
    return _open(arrays, path, f"PyTorch file {entry}".rstrip(), None)


def write(
    path: str, arrays: Mapping[str, np.ndarray], *, spec_text: str
) -> None:
    """Write a `.safetensors` file that PyTorch's library loads strictly.

    Args:
        path: Local or remote.
        arrays: Variables by the library's names, in its order of axes.
        spec_text: The model's specification, kept as metadata.
    """
    counters = {
        name.replace("running_mean", _COUNTER): np.zeros((), np.int64)
        for name in arrays
        if name.endswith(".running_mean")
    }
    content = safetensors.numpy.save(
        {**arrays, **counters},
        metadata={"format": "pt", weight_file.SPEC_KEY: spec_text},
    )
    files.write_bytes(path, content)


def _array(name: str, entry: Mapping[str, Any], path: str) -> np.ndarray:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(
            f"{path}: {name} has the type {entry['dtype']}. Accepted are "
            f"{', '.join(_DTYPES)}."
        )
    flat = np.frombuffer(entry["data"], _DTYPES[entry["dtype"]])
    return flat.reshape(entry["shape"])


def _metadata(content: bytes) -> dict[str, str]:
    header_size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_size])
    return header.get("__metadata__", {})


def _open(
    arrays: Mapping[str, Any],
    path: str,
    format: str,
    spec_text: str | None,
) -> weight_file.WeightFile:
    naming, library = names.TIMM, f"timm's {_FAMILY}*"
    if names.EFFICIENTNET_PYTORCH.name("stem_conv/kernel", []) in arrays:
        naming, library = names.EFFICIENTNET_PYTORCH, "efficientnet_pytorch"
    return weight_file.of_arrays(
        {
            name: array
            for name, array in arrays.items()
            if not name.endswith(_COUNTER)
        },
        path=path,
        format=f"{format} of {library}",
        library="timm or efficientnet_pytorch",
        naming=naming,
        hints=weight_file.hints_of_text(spec_text, path)
        if spec_text
        else _hints_beside(path),
    )


def _hints_beside(path: str) -> weight_file.Hints:
    """Return what a `config.json` beside the file says, as on model hubs.

    Raises:
        ValueError: It names an architecture of another family.
    """
    config_path = files.join(files.directory_name(path), "config.json")
    if not files.exists(config_path):
        return weight_file.Hints()
    content = files.read_json(config_path)
    architecture = content.get("architecture", "")
    if not architecture:
        return weight_file.Hints()
    if not architecture.startswith(_FAMILY):
        raise ValueError(
            f"{config_path}: the architecture is {architecture}. Accepted are "
            f"timm's {_FAMILY}*; its others pad and normalize differently, so "
            "that their weights would give other logits here."
        )
    settings = content.get("pretrained_cfg", content)
    size = settings.get("input_size")
    return weight_file.Hints(
        origin=config_path,
        name=architecture.removeprefix("tf_").replace("_", "-"),
        mean_rgb=_in_pixels(settings.get("mean")),
        std_rgb=_in_pixels(settings.get("std")),
        resolution=int(size[-1]) if size else None,
    )


def _in_pixels(values: Any) -> tuple[float, ...] | None:
    return tuple(255.0 * float(value) for value in values) if values else None


def _find_state(loaded: Any, path: str) -> tuple[dict[str, Any], str]:
    """Return tensors by name, and the checkpoint's entry that they are in.

    The entry is empty where the file is the state itself.
    """
    if not isinstance(loaded, dict):
        raise ValueError(
            f"{path}: holds a {type(loaded).__name__}, not tensors by name. "
            "Save model.state_dict() instead."
        )
    entry = next(
        (name for name in _STATES if isinstance(loaded.get(name), dict)), ""
    )
    state = loaded[entry] if entry else loaded
    return {
        str(name).removeprefix("module."): tensor
        for name, tensor in state.items()
        if isinstance(tensor, torch_files.Tensor)
    }, entry
