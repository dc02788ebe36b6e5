"""Layers of keras.applications in the order in which Keras 3 numbers them."""

import re
from collections.abc import Iterator

from noisy_student_tf.weights import depths, names


def layers_in_order(repeats: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """Yield (class, name) of every layer with weights, first to last.

    Args:
        repeats: Blocks of each stage.
    """
    table = names.KERAS.plain
    yield "normalization", "normalization"
    yield "conv2d", "stem_conv"
    yield "batch_normalization", "stem_bn"
    for stage, count in enumerate(repeats):
        for repeat in range(count):
            prefix = names.KERAS.block.format(
                number=stage + 1, letter=chr(ord("a") + repeat)
            )
            for layer, name in table.items():
                if stage or not layer.startswith("expand_"):
                    yield _class_of(layer), prefix + name
    yield "conv2d", "top_conv"
    yield "batch_normalization", "top_bn"
    yield "dense", "predictions"


def _class_of(layer: str) -> str:
    if layer == "depthwise_conv":
        return "depthwise_conv2d"
    return "batch_normalization" if layer.endswith("norm") else "conv2d"


def name_layers(layers: list[str], path: str) -> dict[str, str]:
    """Name layers that older versions of Keras 3 only numbered.

    Args:
        layers: `layers/conv2d_3` and its like, all that have weights.
        path: Of their file, for errors.

    Returns:
        Layer -> its name in keras.applications.

    Raises:
        ValueError: Their numbers are those of no EfficientNet.
    """
    numbered: dict[str, list[tuple[int, str]]] = {}
    for layer in layers:
        name = layer.rpartition("/")[2]
        number = re.search(r"_(\d+)$", name)
        kind = name.removesuffix(number[0]) if number else name
        position = int(number[1]) if number else 0
        numbered.setdefault(kind, []).append((position, layer))
    num_blocks = len(numbered.get("depthwise_conv2d", ()))
    repeats = depths.repeats_of_total(num_blocks)
    if repeats is None:
        raise ValueError(
            f"{path}: no EfficientNet of keras.applications: layers have no "
            f"names, and {num_blocks} depthwise convolutions are those of no "
            "depth."
        )
    found = {kind: iter(sorted(pairs)) for kind, pairs in numbered.items()}
    result = {}
    for kind, name in layers_in_order(repeats):
        for _, layer in found.get(kind, iter(())):
            result[layer] = name
            break
    return result
