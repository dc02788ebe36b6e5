"""A trained model on disk: its specification and two sets of weights.

`raw.weights.h5` holds what the optimizer left, `ema.weights.h5` the averages
that are evaluated, label images and are exported. Each is an HDF5 file with
one dataset a weight, named as in the model (`block_3/expand_conv/kernel`).
`model.json`, the specification, is written last.
"""

import hashlib
import io
from typing import Literal, get_args

import h5py
import keras
import numpy as np

from noisy_student_tf import files
from noisy_student_tf.model import architectures, specs

SPEC_FILE = "model.json"
Weights = Literal["ema", "raw"]
_ADVICE = (
    "Train one with python -m run_scripts.noisy_student --preset=... "
    "--workdir=..., or name the directory of a trained teacher or student."
)


def weights_path(directory: str, weights: Weights) -> str:
    """Return the path of one set of weights."""
    return files.join(directory, f"{weights}.weights.h5")


def save(
    directory: str,
    *,
    model: keras.Model,
    ema_model: keras.Model,
    spec: specs.ModelSpec,
) -> None:
    """Write a trained model.

    Args:
        directory: Local or remote; made if it is missing.
        model: Weights as the optimizer left them.
        ema_model: The same architecture with the averaged weights.
        spec: What both were made from.
    """
    files.make_directories(directory)
    write_weights(weights_path(directory, "raw"), model)
    write_weights(weights_path(directory, "ema"), ema_model)
    files.write_text(files.join(directory, SPEC_FILE), specs.to_json(spec))


def copy(source: str, destination: str) -> None:
    """Copy a trained model's files to another directory."""
    for weights in get_args(Weights):
        path = weights_path(destination, weights)
        files.copy(weights_path(source, weights), path)
    files.copy(
        files.join(source, SPEC_FILE), files.join(destination, SPEC_FILE)
    )


def load(
    directory: str, *, weights: Weights = "ema"
) -> tuple[keras.Model, specs.ModelSpec]:
    """Read a trained model; every weight must be there and fit.

    Args:
        directory: What `save` wrote.
        weights: The averages, or what the optimizer left.

    Raises:
        FileNotFoundError: There is no trained model.
        ValueError: The file lacks a weight, has another one or another shape.
    """
    spec = load_spec(directory)
    model = architectures.build(spec)
    read_weights(weights_path(directory, weights), model)
    return model, spec


def load_spec(directory: str) -> specs.ModelSpec:
    """Read a trained model's specification alone.

    Raises:
        FileNotFoundError: There is no trained model.
        ValueError: The specification has other fields.
    """
    path = files.join(directory, SPEC_FILE)
    _check_exists(path)
    try:
        return specs.from_json(files.read_text(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def fingerprint(directory: str) -> str:
    """Return the SHA-256, in hex, of the averaged weights' names and values.

    Raises:
        FileNotFoundError: There is no trained model.
    """
    digest = hashlib.sha256()
    arrays = _read_arrays(weights_path(directory, "ema"))
    for name, array in sorted(arrays.items()):
        array = np.ascontiguousarray(array)
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_weights(path: str, model: keras.Model) -> None:
    """Write all variables of a model, complete or not at all."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for variable in model.variables:
            file.create_dataset(variable.path, data=variable.numpy())
    files.write_bytes(path, buffer.getvalue())


def read_weights(path: str, model: keras.Model) -> None:
    """Set all variables of a model to what `write_weights` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file lacks a weight, has another one or another shape;
            the model is left as it was.
    """
    arrays = _read_arrays(path)
    variables = {variable.path: variable for variable in model.variables}
    problems = [
        f"{name} is missing" for name in variables if name not in arrays
    ]
    problems += [
        f"{name} is unknown to the model"
        for name in arrays
        if name not in variables
    ]
    problems += [
        f"{name} has shape {array.shape}, not {tuple(variables[name].shape)}"
        for name, array in arrays.items()
        if name in variables and array.shape != tuple(variables[name].shape)
    ]
    if problems:
        shown = "; ".join(problems[:3])
        raise ValueError(
            f"{path}: {len(problems)} weights do not fit the model: {shown}. "
            f"Load it with the {SPEC_FILE} that was written beside it."
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _read_arrays(path: str) -> dict[str, np.ndarray]:
    _check_exists(path)
    arrays: dict[str, np.ndarray] = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    try:
        with h5py.File(io.BytesIO(files.read_bytes(path)), "r") as file:
            file.visititems(visit)
    except OSError as error:
        raise ValueError(
            f"{path}: not a readable HDF5 file ({error}). {_ADVICE}"
        ) from error
    return arrays


def _check_exists(path: str) -> None:
    parent = files.directory_name(path)
    if files.exists(parent) and not files.is_directory(parent):
        raise ValueError(
            f"{parent}: this is a file, and no directory of a model. Bring "
            "weights of others in with python -m run_scripts.import_weights "
            f"--source={parent} --output=runs/weights/mine, and name that "
            "directory."
        )
    if not files.exists(path):
        raise FileNotFoundError(f"{path}: no trained model here. {_ADVICE}")
