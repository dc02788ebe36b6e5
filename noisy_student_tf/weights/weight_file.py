"""What is read from a file of weights, whatever its format."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from noisy_student_tf.model import specs
from noisy_student_tf.weights import names

# Under this key our exports carry the model's specification.
SPEC_KEY = "noisy_student_tf"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hints:
    """What a file, its neighbor or the user says about a model.

    Each field is None where nothing is said.

    Attributes:
        origin: Where this is from, for the report.
        name: Variant.
        mean_rgb: Subtracted from images in [0, 255].
        std_rgb: Divides images in [0, 255].
        resolution: Side of the test images in pixels.
        small_image_strides: Stages 2 and 3 at stride 1.
        class_names: One name a class.
        dropout_rate: Before the classifier.
    """

    origin: str = ""
    name: str | None = None
    mean_rgb: tuple[float, ...] | None = None
    std_rgb: tuple[float, ...] | None = None
    resolution: int | None = None
    small_image_strides: bool | None = None
    class_names: tuple[str, ...] | None = None
    dropout_rate: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightFile:
    """An opened file of weights.

    Attributes:
        path: As given.
        format: In words, for the report.
        naming: How the file names variables and orders axes.
        shapes: Every variable of the model, by the file's name and in its
            order of axes; counters, optimizer slots and the like left out.
        read: Reads one of them.
        hints: What the file says about the model.
        is_tf1: Whether published code may have trained it with SVHN strides.
    """

    path: str
    format: str
    naming: names.Naming
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]
    hints: Hints = Hints()
    is_tf1: bool = False


def of_arrays(
    arrays: Mapping[str, Any],
    *,
    path: str,
    format: str,
    library: str,
    naming: names.Naming,
    hints: Hints,
) -> WeightFile:
    """Return a file whose variables have names and shapes already.

    Args:
        arrays: What numpy makes arrays of, with their shapes.
        path: Of the file.
        format: In words, for the report.
        library: In words, for errors.
        naming: How the file names variables and orders axes.
        hints: What the file says about the model.

    Raises:
        ValueError: They are those of no EfficientNet of the library.
    """
    stem = naming.name("stem_conv/kernel", [])
    if stem not in arrays:
        some = ", ".join(sorted(arrays)[:3]) or "no arrays at all"
        raise ValueError(
            f"{path}: no EfficientNet of {library}: there is no {stem}, but "
            f"{some}."
        )
    return WeightFile(
        path=path,
        format=format,
        naming=naming,
        shapes={name: array.shape for name, array in arrays.items()},
        read=lambda name: np.asarray(arrays[name], np.float32),
        hints=hints,
    )


def spec_to_text(spec: specs.ModelSpec) -> str:
    """Return a specification as our exports carry it."""
    return json.dumps(dataclasses.asdict(spec))


def hints_of_text(text: str, path: str) -> Hints:
    """Read what `spec_to_text` wrote.

    Raises:
        ValueError: The text is no specification.
    """
    try:
        spec = specs.from_json(text)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}: the entry {SPEC_KEY} is no specification of a model "
            f"({error}). Export the model again."
        ) from error
    return Hints(
        origin=f"{path}, written by this project",
        name=spec.name,
        mean_rgb=spec.mean_rgb,
        std_rgb=spec.std_rgb,
        resolution=spec.resolution,
        small_image_strides=spec.small_image_strides,
        class_names=spec.class_names,
        dropout_rate=spec.dropout_rate,
    )
