"""What a model costs, from its shapes alone: nothing is built.

Multiply-adds are those of convolutions and the classifier, as in the
published figures (EfficientNet-B0 at 224 pixels: 0.39 G); normalization,
activations and pooling are not counted.

Memory is counted in numbers that the backward pass needs: what goes into
convolutions, normalization and activations. With recomputation, only the
inputs of blocks are kept.
"""

import dataclasses
import math
from collections.abc import Iterator

from noisy_student_tf.model import efficientnet, layers, specs

_RGB = 3
_STEM_KERNEL = 3
# Kept per output of a convolution: the output, the normalized output and,
# with swish, its sigmoid and its product.
_KEPT_LINEAR = 2
_KEPT_WITH_SWISH = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Stem, one block, the last convolution, or the classifier.

    Attributes:
        kernel_size: Of the depthwise or only convolution.
        strides: Of the same.
        channels: That it puts out.
        side: Of the square map that it puts out, in pixels.
        parameters: Trainable ones.
        multiply_adds: Of one image.
        inputs: Numbers that go in.
        kept: Numbers that training keeps of one image, inputs aside.
    """

    kernel_size: int
    strides: int
    channels: int
    side: int
    parameters: int
    multiply_adds: int
    inputs: int
    kept: int


def multiply_adds(
    spec: specs.ModelSpec, resolution: int | None = None
) -> float:
    """Return the multiply-adds of classifying one image.

    Args:
        spec: The architecture.
        resolution: Side of the image in pixels; None: the spec's own.
    """
    return sum(part.multiply_adds for part in parts(spec, resolution))


def parts(
    spec: specs.ModelSpec, resolution: int | None = None
) -> Iterator[Part]:
    """Yield stem, blocks, last convolution and classifier, in their order.

    Args:
        spec: The architecture.
        resolution: Side of the image in pixels; None: the spec's own.
    """
    part = _stem(spec, resolution or spec.resolution)
    yield part
    for arguments in efficientnet.block_arguments(spec):
        part = _block(part.channels, part.side, **arguments)
        yield part
    part = _last_convolution(spec, part.channels, part.side)
    yield part
    weights = part.channels * spec.num_classes
    yield Part(
        kernel_size=1,
        strides=1,
        channels=spec.num_classes,
        side=1,
        parameters=weights + spec.num_classes,
        multiply_adds=weights,
        inputs=part.channels,
        kept=0,
    )


def _stem(spec: specs.ModelSpec, resolution: int) -> Part:
    channels = layers.round_filters(efficientnet.STEM_FILTERS, spec.width)
    side = math.ceil(resolution / 2)
    weights = _STEM_KERNEL**2 * _RGB * channels
    return Part(
        kernel_size=_STEM_KERNEL,
        strides=2,
        channels=channels,
        side=side,
        parameters=weights + _norm(channels),
        multiply_adds=side**2 * weights,
        inputs=resolution**2 * _RGB,
        kept=_KEPT_WITH_SWISH * side**2 * channels,
    )


def _last_convolution(spec: specs.ModelSpec, channels: int, side: int) -> Part:
    features = layers.round_filters(efficientnet.HEAD_FILTERS, spec.width)
    weights = channels * features
    return Part(
        kernel_size=1,
        strides=1,
        channels=features,
        side=side,
        parameters=weights + _norm(features),
        multiply_adds=side**2 * weights,
        inputs=side**2 * channels,
        kept=_KEPT_WITH_SWISH * side**2 * features,
    )


def _block(
    channels: int,
    side: int,
    *,
    filters: int,
    kernel_size: int,
    strides: int,
    expand_ratio: int,
) -> Part:
    """Return what one MBConv block costs."""
    expanded = channels * expand_ratio
    squeezed = max(1, int(channels * layers.SQUEEZE_EXCITE_RATIO))
    side_after = math.ceil(side / strides)
    before, after = side**2, side_after**2
    expand = channels * expanded if expand_ratio != 1 else 0
    depthwise = kernel_size**2 * expanded
    gate = 2 * expanded * squeezed
    project = expanded * filters
    kept = _KEPT_WITH_SWISH * before * expanded if expand else 0
    # The gated maps go into the projection.
    kept += (_KEPT_WITH_SWISH + 1) * after * expanded
    return Part(
        kernel_size=kernel_size,
        strides=strides,
        channels=filters,
        side=side_after,
        parameters=expand
        + depthwise
        + (gate + squeezed + expanded)
        + project
        + (_norm(expanded) if expand else 0)
        + _norm(expanded)
        + _norm(filters),
        multiply_adds=before * expand + after * (depthwise + project) + gate,
        inputs=before * channels,
        kept=kept + _KEPT_LINEAR * after * filters,
    )


def _norm(channels: int) -> int:
    """Return the trainable parameters of batch normalization."""
    return 2 * channels


def kept_numbers(
    spec: specs.ModelSpec,
    resolution: int | None = None,
    *,
    recompute: bool = False,
) -> int:
    """Return how many numbers training keeps of one image.

    Args:
        spec: The architecture.
        resolution: Side of the image in pixels; None: the spec's own.
        recompute: Blocks keep their inputs alone; the largest of them is
            computed again when its turn comes.
    """
    listed = list(parts(spec, resolution))
    if not recompute:
        return listed[0].inputs + sum(part.kept for part in listed)
    stem, *blocks, last, _ = listed
    inputs = sum(part.inputs for part in (stem, *blocks, last))
    largest = max(part.kept for part in blocks)
    return inputs + stem.kept + last.kept + largest
