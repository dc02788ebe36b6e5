"""Weights of timm's `tf_efficientnet` family, `.safetensors` and `.pth`.

Its other EfficientNets have the same names and shapes but pad differently and
normalize with another epsilon; only a `config.json` beside the file tells.
"""

import importlib
import io
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.weights import names, weight_file

_FAMILY = "tf_efficientnet_"
_COUNTER = "num_batches_tracked"

# PyTorch's new files are ZIP archives, old ones begin with a pickle.
TORCH_MAGICS = (
    b"PK\x03\x04",
    b"\x80\x02",
    b"\x80\x03",
    b"\x80\x04",
    b"\x80\x05",
)
# What PyTorch says of a name that its restricted unpickler does not know.
_FOREIGN = re.compile(r"GLOBAL (\S+\w)")
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
        ValueError: It cannot be read, or is none of timm's family.
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
        ValueError: PyTorch is not installed, the file is damaged or holds
            more than tensors, or it is none of timm's family.
    """
    arrays, entry = _read_torch(files.read_bytes(path), path)
    return _open(arrays, path, f"PyTorch file {entry}".rstrip(), None)


def write(
    path: str, arrays: Mapping[str, np.ndarray], *, spec_text: str
) -> None:
    """Write a `.safetensors` file that timm loads strictly.

    Args:
        path: Local or remote.
        arrays: Variables by timm's names, in its order of axes.
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
    arrays: Mapping[str, np.ndarray],
    path: str,
    format: str,
    spec_text: str | None,
) -> weight_file.WeightFile:
    return weight_file.of_arrays(
        {
            name: array
            for name, array in arrays.items()
            if not name.endswith(_COUNTER)
        },
        path=path,
        format=f"{format} of timm's tf_efficientnet family",
        library="timm",
        naming=names.TIMM,
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


def _read_torch(content: bytes, path: str) -> tuple[dict[str, np.ndarray], str]:
    """Return tensors by name, float32, and the checkpoint's entry with them.

    The entry is empty where the file is the state itself.
    """
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        raise ValueError(
            f"--source={path}: a file of PyTorch, which is not installed. "
            "Install it with pip install 'noisy-student-tf[torch]', or convert "
            "the file to .safetensors where PyTorch is."
        ) from error
    try:
        # weights_only: the unpickler knows tensors and containers alone.
        loaded = torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=True
        )
    except Exception as error:
        # Of pickle, zipfile, torch and whatever a damaged file trips over.
        raise ValueError(
            f"{path}: refused, and nothing of it was run: {_reason(error)}. "
            "Copy it again, or convert it to .safetensors where it is trusted."
        ) from error
    state, entry = _find_state(loaded, path)
    return {
        name.removeprefix("module."): tensor.detach().float().numpy()
        for name, tensor in state.items()
        if torch.is_tensor(tensor)
    }, entry


def _reason(error: Exception) -> str:
    """Return why a file was refused, without PyTorch's advice to trust it."""
    found = _FOREIGN.search(str(error))
    if found:
        return f"beside tensors it holds {found[1]}, which is code"
    return f"it is damaged, or holds more than tensors ({type(error).__name__})"


def _find_state(loaded: Any, path: str) -> tuple[dict[str, Any], str]:
    """Return the mapping of names to tensors in what was loaded."""
    if isinstance(loaded, dict):
        for entry in _STATES:
            if isinstance(loaded.get(entry), dict):
                return loaded[entry], entry
        return loaded, ""
    raise ValueError(
        f"{path}: holds a {type(loaded).__name__}, not tensors by name. Save "
        "model.state_dict() instead."
    )
