"""EfficientNets in numbers: variants, stages, and what their parts cost.

Nothing is built here. Multiply-adds are those of convolutions and the
classifier, as in the published figures (EfficientNet-B0 at 224 pixels:
0.39 G); normalization, activations and pooling are not counted. Memory is
counted in numbers that the backward pass needs: what goes into convolutions,
normalization and activations.
"""

import math
from typing import Literal, NamedTuple

from noisy_student_tf.model import specs

_RGB = 3
# Kept per output of a convolution: the output, the normalized output and,
# with swish, its sigmoid and its product. ReLU6 goes back by what it put out,
# in the place of what went in.
_KEPT_LINEAR = 2
_KEPT_WITH = {"swish": 4, "relu6": 2}
# The published SVHN model: 32 x 32 images end as 4 x 4 maps, not 1 x 1.
_SMALL_IMAGE_STAGES = (1, 2)


class Stage(NamedTuple):
    """Blocks of one kind, before width and depth scale them."""

    kernel_size: int
    repeats: int
    filters: int
    expand_ratio: int
    strides: int


class Design(NamedTuple):
    """What variants share.

    Attributes:
        stages: First to last.
        stem_filters: Channels of the first convolution.
        head_filters: Channels of the last convolution.
        squeeze_excite_ratio: Of a block's input channels; 0: no gates.
        activation: Behind all convolutions but projections.
        has_fixed_ends: Stem and head do not scale with width, nor do the
            repeats of the first and the last stage with depth.
        mean_rgb: Subtracted from images in [0, 255].
        std_rgb: Divides images in [0, 255].
    """

    stages: tuple[Stage, ...]
    stem_filters: int
    head_filters: int
    squeeze_excite_ratio: float
    activation: Literal["swish", "relu6"]
    has_fixed_ends: bool
    mean_rgb: tuple[float, ...]
    std_rgb: tuple[float, ...]

    def repeats(self, depth: float) -> tuple[int, ...]:
        """Return the number of blocks of each stage."""
        ends = {0, len(self.stages) - 1} if self.has_fixed_ends else set()
        return tuple(
            stage.repeats if index in ends else math.ceil(stage.repeats * depth)
            for index, stage in enumerate(self.stages)
        )

    def channels(self, width: float) -> tuple[int, ...]:
        """Return the channels of the stem, each stage and the head."""
        stages = [round_filters(stage.filters, width) for stage in self.stages]
        width_of_ends = 1.0 if self.has_fixed_ends else width
        stem = round_filters(self.stem_filters, width_of_ends)
        head = round_filters(self.head_filters, width_of_ends)
        return (stem, *stages, head)


# Tan and Le, arXiv 1905.11946, Table 1; ImageNet's mean and deviation.
EFFICIENTNET = Design(
    stages=(
        Stage(3, 1, 16, 1, 1),
        Stage(3, 2, 24, 6, 2),
        Stage(5, 2, 40, 6, 2),
        Stage(3, 3, 80, 6, 2),
        Stage(5, 3, 112, 6, 1),
        Stage(5, 4, 192, 6, 2),
        Stage(3, 1, 320, 6, 1),
    ),
    stem_filters=32,
    head_filters=1280,
    squeeze_excite_ratio=0.25,
    activation="swish",
    has_fixed_ends=False,
    mean_rgb=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    std_rgb=(0.229 * 255, 0.224 * 255, 0.225 * 255),
)

# tensorflow/tpu, models/official/efficientnet/lite.
EFFICIENTNET_LITE = EFFICIENTNET._replace(
    squeeze_excite_ratio=0.0,
    activation="relu6",
    has_fixed_ends=True,
    mean_rgb=(127.0, 127.0, 127.0),
    std_rgb=(128.0, 128.0, 128.0),
)


class Variant(NamedTuple):
    """Multipliers of a design, image side and dropout."""

    width: float
    depth: float
    resolution: int
    dropout_rate: float
    design: Design = EFFICIENTNET


# B0 to B7: EfficientNet's table. B8: tensorflow/tpu. L0, L1, L2: Noisy
# Student, arXiv v1, Table 7, with the training resolutions. L2's dropout of
# 0.5 is the paper's; that of L0 and L1 is unpublished, 0.5 is our choice.
# Lite0 to Lite4: tensorflow/tpu.
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
    "efficientnet-lite0": Variant(1.0, 1.0, 224, 0.2, EFFICIENTNET_LITE),
    "efficientnet-lite1": Variant(1.0, 1.1, 240, 0.2, EFFICIENTNET_LITE),
    "efficientnet-lite2": Variant(1.1, 1.2, 260, 0.3, EFFICIENTNET_LITE),
    "efficientnet-lite3": Variant(1.2, 1.4, 280, 0.3, EFFICIENTNET_LITE),
    "efficientnet-lite4": Variant(1.4, 1.8, 300, 0.3, EFFICIENTNET_LITE),
}


class Block(NamedTuple):
    """One MBConv block; its stage, and its place there, count from 0."""

    stage: int
    repeat: int
    filters: int
    kernel_size: int
    strides: int
    expand_ratio: int


def design_of(spec: specs.ModelSpec) -> Design:
    """Return the design of the variant that a model started as."""
    return VARIANTS[spec.name].design


def blocks(spec: specs.ModelSpec) -> list[Block]:
    """Return a model's blocks, first to last."""
    design = design_of(spec)
    _, *filters, _ = design.channels(spec.width)
    found = []
    for index, repeats in enumerate(design.repeats(spec.depth)):
        stage = design.stages[index]
        is_small = spec.small_image_strides and index in _SMALL_IMAGE_STAGES
        for repeat in range(repeats):
            block = Block(
                stage=index,
                repeat=repeat,
                filters=filters[index],
                kernel_size=stage.kernel_size,
                strides=1 if is_small or repeat else stage.strides,
                expand_ratio=stage.expand_ratio,
            )
            found.append(block)
    return found


def round_filters(filters: int, width: float) -> int:
    """Scale channels to a multiple of 8, never more than 10 % down."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    if rounded < 0.9 * scaled:
        rounded += 8
    return rounded


def squeezed_filters(channels: int, ratio: float) -> int:
    """Return what a gate squeezes to, from a block's input channels."""
    return max(1, int(channels * ratio))


def parts(spec: specs.ModelSpec, resolution: int) -> list[specs.Part]:
    """Return stem, blocks, last convolution and classifier, in their order.

    Args:
        spec: The architecture.
        resolution: Side of the image in pixels.
    """
    design = design_of(spec)
    stem, *_, features = design.channels(spec.width)
    kept = _KEPT_WITH[design.activation]
    part = _convolution(
        "stem", 3, 2, inputs=_RGB, filters=stem, side=resolution, kept=kept
    )
    found = [part]
    for block in blocks(spec):
        part = _block(block, part, design)
        found.append(part)
    head = _convolution(
        "head",
        1,
        1,
        inputs=part.channels,
        filters=features,
        side=part.side,
        kept=kept,
    )
    weights = features * spec.num_classes
    classifier = specs.Part(
        name="classifier",
        kernel_size=1,
        strides=1,
        channels=spec.num_classes,
        side=1,
        parameters=weights + spec.num_classes,
        multiply_adds=weights,
        inputs=features,
        kept=0,
    )
    return [*found, head, classifier]


def _convolution(
    name: str,
    kernel_size: int,
    strides: int,
    *,
    inputs: int,
    filters: int,
    side: int,
    kept: int,
) -> specs.Part:
    """Return what a convolution costs with normalization and activation."""
    side_after = math.ceil(side / strides)
    weights = kernel_size**2 * inputs * filters
    return specs.Part(
        name=name,
        kernel_size=kernel_size,
        strides=strides,
        channels=filters,
        side=side_after,
        parameters=weights + 2 * filters,
        multiply_adds=side_after**2 * weights,
        inputs=side**2 * inputs,
        kept=kept * side_after**2 * filters,
    )


def _block(block: Block, last: specs.Part, design: Design) -> specs.Part:
    """Return what one MBConv block costs behind the last part."""
    channels = last.channels
    expanded = channels * block.expand_ratio
    side = math.ceil(last.side / block.strides)
    before, after = last.side**2, side**2
    expand = channels * expanded if block.expand_ratio != 1 else 0
    depthwise = block.kernel_size**2 * expanded
    project = expanded * block.filters
    normalized = expanded + block.filters + (expanded if expand else 0)
    activated = _KEPT_WITH[design.activation]
    kept = activated * before * expanded if expand else 0
    kept += activated * after * expanded
    gate = gate_biases = 0
    if design.squeeze_excite_ratio:
        squeezed = squeezed_filters(channels, design.squeeze_excite_ratio)
        gate, gate_biases = 2 * expanded * squeezed, squeezed + expanded
        kept += after * expanded  # The gated maps go into the projection.
    return specs.Part(
        name=f"stage {block.stage + 1}",
        kernel_size=block.kernel_size,
        strides=block.strides,
        channels=block.filters,
        side=side,
        parameters=expand
        + depthwise
        + (gate + gate_biases)
        + project
        + 2 * normalized,
        multiply_adds=before * expand + after * (depthwise + project) + gate,
        inputs=before * channels,
        kept=kept + _KEPT_LINEAR * after * block.filters,
    )
