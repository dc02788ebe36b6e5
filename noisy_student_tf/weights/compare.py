"""Whether a file has exactly the variables of a model."""

from collections.abc import Mapping

from noisy_student_tf.model import architectures, efficientnet_variants, specs
from noisy_student_tf.weights import names, weight_file

Shapes = Mapping[str, tuple[int, ...]]

_SHOWN = 3


def match(
    file: weight_file.WeightFile,
    spec: specs.ModelSpec,
    *,
    with_classifier: bool,
) -> dict[str, str]:
    """Pair a model's variables with a file's.

    Args:
        file: Opened.
        spec: The model, with as many classes as the file has.
        with_classifier: False for a file that lacks the last layer.

    Returns:
        Path of our variable -> name in the file.

    Raises:
        ValueError: Variables are missing, unknown or of another shape; the
            message names the first of each kind.
    """
    blocks = efficientnet_variants.blocks(spec)
    wanted = {}
    pairs = {}
    for path, shape in architectures.variable_shapes(spec).items():
        if path.startswith(f"{names.CLASSIFIER}/") and not with_classifier:
            continue
        name = file.naming.name(path, blocks)
        pairs[path] = name
        wanted[name] = file.naming.file_shape(path, shape)
    problems = _differences(file.shapes, wanted)
    if problems:
        raise ValueError(
            f"{file.path} does not hold {describe_body(spec)} for "
            f"{spec.num_classes} classes. {' '.join(problems)} "
            "If it is another variant, leave --model out or name the right "
            "one; otherwise the file is incomplete or of another architecture."
        )
    return pairs


def describe_body(spec: specs.ModelSpec) -> str:
    """Return a model without its classes in words."""
    variant = architectures.VARIANTS[spec.name]
    if (spec.width, spec.depth) == (variant.width, variant.depth):
        return spec.name
    return f"{spec.name} with width {spec.width:g} and depth {spec.depth:g}"


def _differences(found: Shapes, wanted: Shapes) -> list[str]:
    """Return a sentence for each kind of difference."""
    shapes = [
        f"{name} {list(found[name])} in the file, {list(wanted[name])} in "
        "the model"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    missing = [
        f"{name} {list(shape)}"
        for name, shape in wanted.items()
        if name not in found
    ]
    unknown = [
        f"{name} {list(shape)}"
        for name, shape in found.items()
        if name not in wanted
    ]
    return [
        f"{len(lines)} variables {kind}: {_first(lines)}."
        for kind, lines in (
            ("have another shape", shapes),
            ("of the model are missing from the file", missing),
            ("of the file are unknown to the model", sorted(unknown)),
        )
        if lines
    ]


def _first(lines: list[str]) -> str:
    more = "; ..." if len(lines) > _SHOWN else ""
    return "; ".join(lines[:_SHOWN]) + more
