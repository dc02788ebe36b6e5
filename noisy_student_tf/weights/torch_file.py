"""PyTorch's own files, read without running what they may hold.

Imports nothing of TensorFlow, so that it works where only PyTorch is.
"""

import importlib
import io
import re
from typing import Any

import numpy as np

# New files are ZIP archives, old ones begin with a pickle.
MAGICS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

# What PyTorch says of a name that its restricted unpickler does not know.
_FOREIGN = re.compile(r"GLOBAL (\S+\w)")

# Where training scripts keep the state in a checkpoint, averages first.
_STATES = ("state_dict_ema", "model_ema", "state_dict", "model")


def read(content: bytes, path: str) -> tuple[dict[str, np.ndarray], str]:
    """Read the tensors of a `.pth` file.

    Args:
        content: The whole file.
        path: Its path, for errors.

    Returns:
        Tensors by name, float32, and the entry of the checkpoint that held
        them; empty where the file is the state itself.

    Raises:
        ValueError: PyTorch is not installed, or the file is damaged or holds
            more than tensors.
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
