"""What describes a model: enough to build it and to name its classes."""

import dataclasses
import json
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model's architecture, input and classes; nothing is left to default.

    Attributes:
        name: Variant that the model started as.
        width: Channel multiplier.
        depth: Repeat multiplier.
        resolution: Side of the training images in pixels.
        num_classes: Number of logits.
        class_names: One name a class, or empty if they are unknown.
        dropout_rate: Before the classifier, in [0, 1).
        stochastic_depth_rate: r; block i of n drops with r * i / n.
        small_image_strides: Stages 2 and 3 at stride 1.
        batch_norm_momentum: Of the moving statistics.
        mean_rgb: Subtracted from images in [0, 255].
        std_rgb: Divides images in [0, 255].
    """

    name: str
    width: float
    depth: float
    resolution: int
    num_classes: int
    class_names: tuple[str, ...]
    dropout_rate: float
    stochastic_depth_rate: float
    small_image_strides: bool
    batch_norm_momentum: float
    mean_rgb: tuple[float, ...]
    std_rgb: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ValueError(
                f"num_classes={self.num_classes}: accepted is 1 or more."
            )
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ValueError(
                f"class_names has {len(self.class_names)} names for "
                f"num_classes={self.num_classes}: give one name a class, or "
                "none."
            )
        for field in ("width", "depth"):
            if getattr(self, field) <= 0:
                raise ValueError(
                    f"{field}={getattr(self, field)}: accepted is a positive "
                    "number."
                )


def to_json(spec: ModelSpec) -> str:
    """Return a specification as indented JSON."""
    return json.dumps(dataclasses.asdict(spec), indent=2) + "\n"


def from_json(text: str) -> ModelSpec:
    """Read what `to_json` wrote.

    Raises:
        ValueError: The text is no JSON, or a field is missing or unknown.
    """
    return from_dict(json.loads(text))


def from_dict(values: dict[str, Any]) -> ModelSpec:
    """Build a specification from its fields, lists in the place of tuples.

    Raises:
        ValueError: A field is missing or unknown.
    """
    names = {field.name for field in dataclasses.fields(ModelSpec)}
    if names != set(values):
        raise ValueError(
            "A model's specification has the fields "
            f"{sorted(names)}; missing: {sorted(names - set(values))}, "
            f"unknown: {sorted(set(values) - names)}."
        )
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
    }
    return ModelSpec(**arguments)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Stem, one block, the last convolution, or the classifier.

    Attributes:
        name: `stem`, `stage 1` and so on, `head` or `classifier`.
        kernel_size: Of the depthwise or only convolution.
        strides: Of the same.
        channels: That it puts out.
        side: Of the square map that it puts out, in pixels.
        parameters: Trainable ones.
        multiply_adds: Of one image.
        inputs: Numbers that go in.
        kept: Numbers that training keeps of one image, inputs aside.
    """

    name: str
    kernel_size: int
    strides: int
    channels: int
    side: int
    parameters: int
    multiply_adds: int
    inputs: int
    kept: int
