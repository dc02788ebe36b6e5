"""How our variables are called elsewhere, and how their axes are ordered.

Ours are paths of Keras: `stem_conv/kernel`, `block_3/expand_norm/gamma`.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from noisy_student_tf.model import efficientnet_variants

# PyTorch's [outputs, inputs, height, width] of our [height, width, inputs,
# outputs], and of our depthwise [height, width, channels, 1].
_TORCH_AXES = (3, 2, 0, 1)
_TORCH_DEPTHWISE_AXES = (2, 3, 0, 1)

CLASSIFIER = "classifier"

Blocks = Sequence[efficientnet_variants.Block]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Naming:
    """One family of names.

    Attributes:
        outside: Our layers outside of blocks -> the family's.
        plain: Layers of blocks without expansion -> the family's.
        expanding: Layers of blocks with expansion -> the family's.
        block: Format of a block's prefix with the fields `index`, `stage`
            (from 0), `number` (the stage from 1), `repeat` and `letter`.
        weights: Our weights -> the family's, where those differ.
        depthwise_kernel: A depthwise convolution's kernel.
        separator: Between a layer and its weight.
        prefix: Before all names.
        suffix: Behind all names.
        is_torch: Axes are in PyTorch's order.
    """

    outside: Mapping[str, str]
    plain: Mapping[str, str]
    expanding: Mapping[str, str]
    block: str
    separator: str
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    depthwise_kernel: str = "depthwise_kernel"
    prefix: str = ""
    suffix: str = ""
    is_torch: bool = False

    def name(self, path: str, blocks: Blocks) -> str:
        """Return the family's name of one of our variables."""
        layer, _, weight = path.rpartition("/")
        name = self.weights.get(weight, weight)
        if layer.endswith("/depthwise_conv"):
            name = self.depthwise_kernel
        return (
            f"{self.prefix}{self._layer(layer, blocks)}{self.separator}{name}"
            f"{self.suffix}"
        )

    def _layer(self, layer: str, blocks: Blocks) -> str:
        if layer in self.outside:
            return self.outside[layer]
        block_name, _, inner = layer.partition("/")
        index = int(block_name.removeprefix("block_"))
        block = blocks[index]
        prefix = self.block.format(
            index=index,
            stage=block.stage,
            number=block.stage + 1,
            repeat=block.repeat,
            letter=chr(ord("a") + block.repeat),
        )
        table = self.plain if block.expand_ratio == 1 else self.expanding
        return prefix + table[inner]

    def to_file(self, path: str, array: np.ndarray) -> np.ndarray:
        """Order the axes of one of our variables as the family does."""
        axes = self._axes(path, array.ndim)
        return np.ascontiguousarray(array.transpose(axes))

    def from_file(self, path: str, array: np.ndarray) -> np.ndarray:
        """Order the axes of the family's variable as ours."""
        axes = np.argsort(self._axes(path, array.ndim))
        return np.ascontiguousarray(array.transpose(axes))

    def file_shape(self, path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that one of our variables has in the family."""
        return tuple(shape[axis] for axis in self._axes(path, len(shape)))

    def _axes(self, path: str, rank: int) -> tuple[int, ...]:
        """Return which of our axes are the family's."""
        if not self.is_torch or rank == 1:
            return tuple(range(rank))
        if rank == 2:
            return (1, 0)
        is_depthwise = path.endswith("/depthwise_conv/kernel")
        return _TORCH_DEPTHWISE_AXES if is_depthwise else _TORCH_AXES


def tf1(*, scope: str, norm: str, suffix: str) -> Naming:
    """Return the names of tensorflow/tpu's and of the authors' code.

    Args:
        scope: The model's, such as `efficientnet-b0/`, or empty.
        norm: `tpu_batch_normalization` or `batch_normalization`.
        suffix: `/ExponentialMovingAverage`, or empty.
    """
    return Naming(
        prefix=scope,
        suffix=suffix,
        separator="/",
        outside={
            "stem_conv": "stem/conv2d",
            "stem_norm": f"stem/{norm}",
            "head_conv": "head/conv2d",
            "head_norm": f"head/{norm}",
            CLASSIFIER: "head/dense",
        },
        block="blocks_{index}/",
        plain={
            "depthwise_conv": "depthwise_conv2d",
            "depthwise_norm": norm,
            "squeeze_excite/reduce": "se/conv2d",
            "squeeze_excite/expand": "se/conv2d_1",
            "project_conv": "conv2d",
            "project_norm": f"{norm}_1",
        },
        expanding={
            "expand_conv": "conv2d",
            "expand_norm": norm,
            "depthwise_conv": "depthwise_conv2d",
            "depthwise_norm": f"{norm}_1",
            "squeeze_excite/reduce": "se/conv2d",
            "squeeze_excite/expand": "se/conv2d_1",
            "project_conv": "conv2d_1",
            "project_norm": f"{norm}_2",
        },
    )


_KERAS_BLOCK = {
    "expand_conv": "expand_conv",
    "expand_norm": "expand_bn",
    "depthwise_conv": "dwconv",
    "depthwise_norm": "bn",
    "squeeze_excite/reduce": "se_reduce",
    "squeeze_excite/expand": "se_expand",
    "project_conv": "project_conv",
    "project_norm": "project_bn",
}

# keras.applications; the classifier may have any name in a file.
KERAS = Naming(
    separator="/",
    outside={
        "stem_conv": "stem_conv",
        "stem_norm": "stem_bn",
        "head_conv": "top_conv",
        "head_norm": "top_bn",
        CLASSIFIER: "predictions",
    },
    block="block{number}{letter}_",
    plain=_KERAS_BLOCK,
    expanding=_KERAS_BLOCK,
)

_TORCH_WEIGHTS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

TIMM = Naming(
    separator=".",
    outside={
        "stem_conv": "conv_stem",
        "stem_norm": "bn1",
        "head_conv": "conv_head",
        "head_norm": "bn2",
        CLASSIFIER: "classifier",
    },
    block="blocks.{stage}.{repeat}.",
    plain={
        "depthwise_conv": "conv_dw",
        "depthwise_norm": "bn1",
        "squeeze_excite/reduce": "se.conv_reduce",
        "squeeze_excite/expand": "se.conv_expand",
        "project_conv": "conv_pw",
        "project_norm": "bn2",
    },
    expanding={
        "expand_conv": "conv_pw",
        "expand_norm": "bn1",
        "depthwise_conv": "conv_dw",
        "depthwise_norm": "bn2",
        "squeeze_excite/reduce": "se.conv_reduce",
        "squeeze_excite/expand": "se.conv_expand",
        "project_conv": "conv_pwl",
        "project_norm": "bn3",
    },
    weights=_TORCH_WEIGHTS,
    depthwise_kernel="weight",
    is_torch=True,
)

_EFFICIENTNET_PYTORCH_BLOCK = {
    "expand_conv": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "squeeze_excite/reduce": "_se_reduce",
    "squeeze_excite/expand": "_se_expand",
    "project_conv": "_project_conv",
    "project_norm": "_bn2",
}

# The package of that name, and efficientnet_lite_pytorch.
EFFICIENTNET_PYTORCH = Naming(
    separator=".",
    outside={
        "stem_conv": "_conv_stem",
        "stem_norm": "_bn0",
        "head_conv": "_conv_head",
        "head_norm": "_bn1",
        CLASSIFIER: "_fc",
    },
    block="_blocks.{index}.",
    plain=_EFFICIENTNET_PYTORCH_BLOCK,
    expanding=_EFFICIENTNET_PYTORCH_BLOCK,
    weights=_TORCH_WEIGHTS,
    depthwise_kernel="weight",
    is_torch=True,
)
