"""What describes a trained model: enough to build it and to name its classes.

Variants are the published ones; width and depth may be any other numbers.
"""

import dataclasses
import difflib
import json
from typing import Any, NamedTuple

from noisy_student_tf import configs


class Variant(NamedTuple):
    """One row of the family: multipliers, image side and dropout."""

    width: float
    depth: float
    resolution: int
    dropout_rate: float


# B0 to B7: EfficientNet's table. B8: tensorflow/tpu. L0, L1, L2: Noisy
# Student, arXiv v1, Table 7, with the training resolutions. L2's dropout of
# 0.5 is the paper's; that of L0 and L1 is unpublished, 0.5 is our choice.
VARIANTS = {
    "efficientnet-b0": Variant(1.0, 1.0, 224, 0.2),
    "efficientnet-b1": Variant(1.0, 1.1, 240, 0.2),
    "efficientnet-b2": Variant(1.1, 1.2, 260, 0.3),
    "efficientnet-b3": Variant(1.2, 1.4, 300, 0.3),
    "efficientnet-b4": Variant(1.4, 1.8, 380, 0.4),
    "efficientnet-b5": Variant(1.6, 2.2, 456, 0.4),
    "efficientnet-b6": Variant(1.8, 2.6, 528, 0.5),
    "efficientnet-b7": Variant(2.0, 3.1, 600, 0.5),
    "efficientnet-b8": Variant(2.2, 3.6, 672, 0.5),
    "efficientnet-l0": Variant(2.8, 3.7, 380, 0.5),
    "efficientnet-l1": Variant(3.9, 3.7, 380, 0.5),
    "efficientnet-l2": Variant(4.3, 5.3, 475, 0.5),
}


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


def find_variant(name: str) -> Variant:
    """Return a published variant.

    Raises:
        ValueError: There is none of that name; the message has the nearest.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    nearest = difflib.get_close_matches(name, VARIANTS, n=1, cutoff=0.0)
    raise ValueError(
        f"--model.name={name}: there is no such variant. Did you mean "
        f"{nearest[0]}? Accepted is one of {', '.join(VARIANTS)}."
    )


def from_config(
    model: configs.ModelConfig,
    *,
    num_classes: int,
    class_names: tuple[str, ...],
) -> ModelSpec:
    """Resolve what a configuration leaves to the variant.

    Args:
        model: Width and depth 0 and dropout -1 stand for the variant's own.
        num_classes: Number of logits.
        class_names: One name a class, or empty.

    Raises:
        ValueError: The variant is unknown, or the names do not match.
    """
    variant = find_variant(model.name)
    dropout_rate = model.dropout_rate
    if dropout_rate == -1:
        dropout_rate = variant.dropout_rate
    return ModelSpec(
        name=model.name,
        width=model.width or variant.width,
        depth=model.depth or variant.depth,
        resolution=model.resolution,
        num_classes=num_classes,
        class_names=tuple(class_names),
        dropout_rate=dropout_rate,
        stochastic_depth_rate=model.stochastic_depth_rate,
        small_image_strides=model.small_image_strides,
        batch_norm_momentum=model.batch_norm_momentum,
        mean_rgb=tuple(model.mean_rgb),
        std_rgb=tuple(model.std_rgb),
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
