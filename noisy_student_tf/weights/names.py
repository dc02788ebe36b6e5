"""How our variables are called elsewhere, and how their axes are ordered.

Ours are paths of Keras: `stem_conv/kernel`, `block_3/expand_norm/gamma`.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from noisy_student_tf.model import efficientnet, specs

# PyTorch's [outputs, inputs, height, width] of our [height, width, inputs,
# outputs], and of our depthwise [height, width, channels, 1].
_TORCH_AXES = (3, 2, 0, 1)
_TORCH_DEPTHWISE_AXES = (2, 3, 0, 1)

CLASSIFIER = "classifier"


@dataclasses.dataclass(frozen=True)
class Block:
    """Where an MBConv block stands.

    Attributes:
        index: Among all blocks, from 0.
        stage: Its stage, from 0.
        repeat: Among the blocks of its stage, from 0.
        expands: Whether it has the first, expanding convolution.
    """

    index: int
    stage: int
    repeat: int
    expands: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Naming:
    """One family of names.

    Attributes:
        outside: Our layers outside of blocks -> the family's.
        plain: Layers of blocks without expansion -> the family's.
        expanding: Layers of blocks with expansion -> the family's.
        block: Format of a block's prefix with the fields `index`, `stage`
            (from 0), `number` (the stage from 1), `repeat` and `letter`.
        weights: Our weights -> the family's.
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
    weights: Mapping[str, str]
    depthwise_kernel: str
    separator: str
    prefix: str = ""
    suffix: str = ""
    is_torch: bool = False

    def name(self, path: str, blocks: list[Block]) -> str:
        """Return the family's name of one of our variables."""
        layer, _, weight = path.rpartition("/")
        name = self.weights[weight]
        if layer.endswith("/depthwise_conv"):
            name = self.depthwise_kernel
        return (
            f"{self.prefix}{self._layer(layer, blocks)}{self.separator}{name}"
            f"{self.suffix}"
        )

    def _layer(self, layer: str, blocks: list[Block]) -> str:
        if layer in self.outside:
            return self.outside[layer]
        block_name, _, inner = layer.partition("/")
        block = blocks[int(block_name.removeprefix("block_"))]
        prefix = self.block.format(
            index=block.index,
            stage=block.stage,
            number=block.stage + 1,
            repeat=block.repeat,
            letter=chr(ord("a") + block.repeat),
        )
        table = self.expanding if block.expands else self.plain
        return prefix + table[inner]

    def to_file(self, path: str, array: np.ndarray) -> np.ndarray:
        """Order the axes of one of our variables as the family does."""
        if not self.is_torch or array.ndim == 1:
            return array
        if array.ndim == 2:
            return np.ascontiguousarray(array.T)
        return np.ascontiguousarray(array.transpose(_torch_axes(path)))

    def from_file(self, path: str, array: np.ndarray) -> np.ndarray:
        """Order the axes of the family's variable as ours."""
        if not self.is_torch or array.ndim == 1:
            return array
        if array.ndim == 2:
            return np.ascontiguousarray(array.T)
        axes = np.argsort(_torch_axes(path))
        return np.ascontiguousarray(array.transpose(axes))

    def file_shape(self, path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that one of our variables has in the family."""
        if not self.is_torch or len(shape) == 1:
            return shape
        if len(shape) == 2:
            return shape[::-1]
        return tuple(shape[axis] for axis in _torch_axes(path))


def _torch_axes(path: str) -> tuple[int, ...]:
    is_depthwise = path.endswith("/depthwise_conv/kernel")
    return _TORCH_DEPTHWISE_AXES if is_depthwise else _TORCH_AXES


def blocks_of(spec: specs.ModelSpec) -> list[Block]:
    """Return where each block of a model stands."""
    blocks: list[Block] = []
    expands = [
        arguments["expand_ratio"] != 1
        for arguments in efficientnet.block_arguments(spec)
    ]
    for stage, repeats in enumerate(efficientnet.stage_repeats(spec.depth)):
        for repeat in range(repeats):
            index = len(blocks)
            blocks.append(Block(index, stage, repeat, expands[index]))
    return blocks


_OUR_WEIGHTS = (
    "kernel",
    "bias",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
)


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
        weights={name: name for name in _OUR_WEIGHTS},
        depthwise_kernel="depthwise_kernel",
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
    weights={name: name for name in _OUR_WEIGHTS},
    depthwise_kernel="depthwise_kernel",
)

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
    weights={
        "kernel": "weight",
        "bias": "bias",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    },
    depthwise_kernel="weight",
    is_torch=True,
)
