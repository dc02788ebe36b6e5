"""What model a file of weights holds, and by what each property is known."""

import dataclasses
from typing import Any

from noisy_student_tf import configs
from noisy_student_tf.model import architectures, specs
from noisy_student_tf.weights import multipliers, weight_file

# The authors' SVHN model: ten classes, images of 32 x 32.
_SVHN_CLASSES = 10
_SVHN_RESOLUTION = 32


@dataclasses.dataclass(frozen=True)
class Detected:
    """A model, and where its properties come from.

    Attributes:
        spec: The model that the file holds; one class where it has no
            classifier.
        origins: Property -> how it is known, for the report.
        has_classifier: Whether the file holds the last layer.
    """

    spec: specs.ModelSpec
    origins: dict[str, str]
    has_classifier: bool


def detect(
    file: weight_file.WeightFile, request: weight_file.Hints
) -> Detected:
    """Find out what model a file holds.

    Args:
        file: Opened.
        request: What the user says about it.

    Raises:
        ValueError: Its blocks are those of no EfficientNet, the variant is
            unknown, or the request is not accepted.
    """
    hints, origins = file.hints, {}
    if request.name:
        variant = architectures.find_variant(request.name)
        name, width, depth = request.name, variant.width, variant.depth
        origins["variant"] = "as --model says"
    else:
        name, width, depth = multipliers.find(file)
        origins["variant"] = "from the shapes"
    num_classes = _num_classes(file)
    strides, origins["strides"] = _strides(file, request, num_classes)
    resolution, origins["resolution"] = _choose("resolution", request, hints)
    mean, origins["mean"] = _choose("mean_rgb", request, hints)
    std, origins["std"] = _choose("std_rgb", request, hints)
    defaults = architectures.find_variant(name)
    if not resolution:
        resolution = _SVHN_RESOLUTION if strides else defaults.resolution
    model = configs.ModelConfig(
        name=name,
        width=width,
        depth=depth,
        resolution=resolution,
        small_image_strides=strides,
        dropout_rate=-1 if hints.dropout_rate is None else hints.dropout_rate,
        mean_rgb=mean or (),
        std_rgb=std or (),
    )
    spec = architectures.make_spec(
        model, num_classes=num_classes or 1, class_names=()
    )
    if hints.class_names and num_classes:
        spec = dataclasses.replace(spec, class_names=hints.class_names)
    return Detected(spec, origins, has_classifier=bool(num_classes))


def _choose(
    field: str, request: weight_file.Hints, hints: weight_file.Hints
) -> tuple[Any, str]:
    """Return a field of the first that has it, and who that was."""
    asked, hinted = getattr(request, field), getattr(hints, field)
    if asked:
        return asked, f"as --{field} says"
    if hinted:
        return hinted, hints.origin
    return None, f"assumed; --{field} changes it"


def _strides(
    file: weight_file.WeightFile, request: weight_file.Hints, num_classes: int
) -> tuple[bool, str]:
    """Decide on the strides, which no weight shows, and say by what."""
    if request.small_image_strides is not None:
        return request.small_image_strides, "as --small_image_strides says"
    hinted = file.hints.small_image_strides
    if hinted is not None:
        return hinted, file.hints.origin
    mend = "weights do not show them, --[no]small_image_strides changes them"
    if not file.is_tf1:
        return False, f"assumed, this format's library has no others; {mend}"
    if request.resolution:
        is_small = request.resolution <= _SVHN_RESOLUTION
        return is_small, f"assumed for {request.resolution} pixels; {mend}"
    is_small = num_classes == _SVHN_CLASSES
    return is_small, f"assumed for {num_classes} classes; {mend}"


def _num_classes(file: weight_file.WeightFile) -> int:
    shape = file.shapes.get(file.naming.name("classifier/bias", []))
    return shape[0] if shape else 0
