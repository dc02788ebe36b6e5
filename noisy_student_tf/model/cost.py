"""What a model costs: multiply-adds, from its shapes alone."""

import math

from noisy_student_tf.model import efficientnet, layers
from noisy_student_tf.model import spec as specs

_RGB = 3
_STEM_KERNEL = 3


def multiply_adds(
    spec: specs.ModelSpec, resolution: int | None = None
) -> float:
    """Return the multiply-adds of classifying one image.

    Convolutions and the classifier are counted, as in the published figures
    (EfficientNet-B0 at 224 pixels: 0.39 G); normalization, activations and
    pooling are not.

    Args:
        spec: The architecture.
        resolution: Side of the image in pixels; None: the spec's own.
    """
    side = math.ceil((resolution or spec.resolution) / 2)
    channels = layers.round_filters(efficientnet.STEM_FILTERS, spec.width)
    total = side**2 * _STEM_KERNEL**2 * _RGB * channels
    for block in efficientnet.block_arguments(spec):
        expanded = channels * block["expand_ratio"]
        if block["expand_ratio"] != 1:
            total += side**2 * channels * expanded
        side = math.ceil(side / block["strides"])
        total += side**2 * block["kernel_size"] ** 2 * expanded
        squeezed = max(1, int(channels * layers.SQUEEZE_EXCITE_RATIO))
        total += 2 * expanded * squeezed
        channels = block["filters"]
        total += side**2 * expanded * channels
    features = layers.round_filters(efficientnet.HEAD_FILTERS, spec.width)
    total += side**2 * channels * features
    return total + features * spec.num_classes
