"""A trained model on disk: its specification and two sets of weights.

`raw.weights.h5` holds what the optimizer left, `ema.weights.h5` the averages
that are evaluated, label images and are exported. Each is an HDF5 file with
one dataset a weight, named as in the model (`block_3/expand_conv/kernel`).
`model.json`, the specification, is written last. Other models may begin with
the averages; the classifier is theirs only where the classes are the same.
"""

import hashlib
import io
from collections.abc import Callable
from typing import Literal, get_args

import h5py
import keras
import numpy as np
from absl import logging

from noisy_student_tf import configs, files
from noisy_student_tf.model import architectures, specs
from noisy_student_tf.records import parquet_files

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


def check_starts(config: configs.Config, initial_directory: str) -> None:
    """Check the given models before anything is built.

    Args:
        config: Of the run.
        initial_directory: Where `--model.initial_weights` lie; empty: none
            are given.

    Raises:
        FileNotFoundError: There is no model in a directory that is named, or
            no table of a teacher's probabilities.
        ValueError: A model does not fit what is to begin with it, or nothing
            begins with it.
    """
    given = config.self_training.teacher_directory
    teacher = load_spec(given) if given else None
    table = config.self_training.teacher_predictions
    if table:
        parquet_files.find(table, flag="--self_training.teacher_predictions")
    is_given = teacher or table
    initial = config.model.initial_weights
    students_from = config.self_training.initialize_students_from
    flag = f"--self_training.initialize_students_from={students_from}"
    if students_from == "initial_weights" and not initial:
        raise ValueError(
            f"{flag}: name the model with --model.initial_weights=DIR."
        )
    if initial:
        if is_given and students_from != "initial_weights":
            raise ValueError(
                f"--model.initial_weights={initial}: nothing begins with it, "
                "because --self_training."
                + (
                    f"teacher_directory={given}"
                    if given
                    else "teacher_predictions"
                )
                + " gives a teacher. Leave one out, or add "
                "--self_training.initialize_students_from=initial_weights."
            )
        source = load_spec(initial_directory)
        named = f"--model.initial_weights={initial}"
        if not is_given:
            teacher_model = config.teacher_model
            check_same_body(_like(teacher_model), source, flag=named)
        if students_from == "initial_weights":
            check_same_body(_like(config.model), source, flag=named)
    if students_from == "teacher":
        teacher = teacher or _like(config.teacher_model)
        check_same_body(_like(config.model), teacher, flag=flag)


def _like(model: configs.ModelConfig) -> specs.ModelSpec:
    """Return a specification; classes do not matter here."""
    return architectures.make_spec(model, num_classes=1, class_names=())


def start_from(
    directory: str, spec: specs.ModelSpec
) -> Callable[[keras.Model], None]:
    """Return a function that lets a model begin with another's averages.

    Args:
        directory: Of the other.
        spec: Of the model.

    Raises:
        FileNotFoundError: There is no model in the directory.
        ValueError: The two do not fit.
    """
    check_same_body(
        spec,
        load_spec(directory),
        flag=f"initial weights of {directory}",
    )
    source, _ = load(directory)
    return lambda model: copy_weights(model, source)


def can_keep_head(mine: specs.ModelSpec, theirs: specs.ModelSpec) -> bool:
    """Tell whether two models classify the same classes.

    Where one has no names for its classes, their number decides.
    """
    if mine.num_classes != theirs.num_classes:
        return False
    are_known = bool(mine.class_names and theirs.class_names)
    return not are_known or mine.class_names == theirs.class_names


def check_same_body(
    mine: specs.ModelSpec, theirs: specs.ModelSpec, *, flag: str
) -> None:
    """Check that a model can begin with another's weights.

    Resolution, strides, noise and classes may differ.

    Args:
        mine: The model that is to begin.
        theirs: The model that has the weights.
        flag: Flag and value that ask for it, for errors.

    Raises:
        ValueError: Variant, width or depth differ, or the images'
            normalization does.
    """
    if _body(mine) != _body(theirs):
        raise ValueError(
            f"{flag}: the weights are those of {theirs.name}, width "
            f"{theirs.width:g}, depth {theirs.depth:g}; the model is "
            f"{mine.name}, width {mine.width:g}, depth {mine.depth:g}. Give "
            f"--model.name={theirs.name} "
            f"--model.width={theirs.width:g} --model.depth={theirs.depth:g}, "
            "or other weights."
        )
    for field in ("mean_rgb", "std_rgb"):
        wanted, given = getattr(theirs, field), getattr(mine, field)
        if not np.allclose(wanted, given, atol=1e-3):
            text = ",".join(f"{value:g}" for value in wanted)
            raise ValueError(
                f"{flag}: the weights were trained with another "
                f"--model.{field} than {given}. Give --model.{field}={text}."
            )


def _body(spec: specs.ModelSpec) -> list[tuple[int, ...]]:
    """Return all that decides on the shapes of weights before the head."""
    return [
        (part.kernel_size, part.channels, part.parameters)
        for part in architectures.parts(spec)[:-1]
    ]


def copy_weights(model: keras.Model, source: keras.Model) -> None:
    """Copy all weights; the classifier's only where the classes are the same.

    Args:
        model: Keeps its own classifier otherwise.
        source: Of the same body; see `check_same_body`.
    """
    keeps_head = can_keep_head(model.spec, source.spec)
    mine = {variable.path: variable for variable in model.variables}
    taken = [
        variable
        for variable in source.variables
        if keeps_head or not variable.path.startswith("classifier/")
    ]
    for variable in taken:
        mine[variable.path].assign(variable)
    logging.info(
        "initial weights: %d of %d variables taken%s",
        len(taken),
        len(mine),
        "" if keeps_head else "; the classifier is fresh, its classes differ",
    )
