"""What models begin with: a fresh classifier, or another model's weights."""

from collections.abc import Callable
from typing import Literal, get_args

import keras
import numpy as np
from absl import logging

from noisy_student_tf import configs
from noisy_student_tf.model import architectures, convolutions, saved, specs

HeadInitializer = Literal["published", "fan_in", "zeros"]
INITIALIZERS: tuple[str, ...] = get_args(HeadInitializer)


def check(config: configs.Config, initial_directory: str) -> None:
    """Check the given models before anything is built.

    Args:
        config: Of the run.
        initial_directory: Where `--model.initial_weights` lie; empty: none
            are given.

    Raises:
        FileNotFoundError: There is no model in a directory that is named.
        ValueError: A model does not fit what is to begin with it, or nothing
            begins with it.
    """
    given = config.self_training.teacher_directory
    teacher = saved.load_spec(given) if given else None
    initial = config.model.initial_weights
    students_from = config.self_training.initialize_students_from
    flag = f"--self_training.initialize_students_from={students_from}"
    if students_from == "initial_weights" and not initial:
        raise ValueError(
            f"{flag}: name the model with --model.initial_weights=DIR."
        )
    if initial:
        if teacher and students_from != "initial_weights":
            raise ValueError(
                f"--model.initial_weights={initial}: nothing begins with it, "
                f"because --self_training.teacher_directory={given} gives a "
                "trained teacher. Leave one out, or add "
                "--self_training.initialize_students_from=initial_weights."
            )
        source = saved.load_spec(initial_directory)
        named = f"--model.initial_weights={initial}"
        if not teacher:
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


def load(
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
        saved.load_spec(directory),
        flag=f"initial weights of {directory}",
    )
    source, _ = saved.load(directory)
    return lambda model: copy_weights(model, source)


def initialize(model: keras.Model, name: HeadInitializer, *, seed: int) -> None:
    """Give a model a fresh classifier.

    The published initializer is uniform within 1 / sqrt(num_classes): right
    for a thousand classes, over-confident with two. `fan_in`, uniform within
    1 / sqrt(num_features), does not depend on the number of classes.

    Args:
        model: Whose classifier is set; its bias becomes zero.
        name: Which initializer.
        seed: Of the weights.
    """
    classifier = model.classifier
    initializers: dict[str, keras.initializers.Initializer] = {
        "published": convolutions.dense_initializer(seed),
        "fan_in": keras.initializers.VarianceScaling(
            scale=1 / 3, mode="fan_in", distribution="uniform", seed=seed
        ),
        "zeros": keras.initializers.Zeros(),
    }
    kernel = classifier.kernel
    kernel.assign(initializers[name](tuple(kernel.shape)))
    classifier.bias.assign(keras.ops.zeros_like(classifier.bias))


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
