"""Which EfficientNet a file holds, from its names and shapes."""

import re

from noisy_student_tf import configs
from noisy_student_tf.model import efficientnet, specs
from noisy_student_tf.weights import depths, names, weight_file


def find(file: weight_file.WeightFile) -> tuple[str, float, float]:
    """Return variant, width and depth from names and shapes.

    Where no width fits the channels, that of the last convolution does best:
    comparing then names the variables that differ.

    Raises:
        ValueError: Its blocks are those of no depth.
    """
    repeats = _repeats(file)
    depth = depths.find_depth(repeats)
    if depth is None:
        raise ValueError(
            f"{file.path}: stages of {', '.join(map(str, repeats))} blocks "
            "are those of no depth multiplier: with depth 1 they have "
            f"{', '.join(map(str, efficientnet.stage_repeats(1.0)))}. Blocks "
            "are missing, or it is another architecture."
        )
    channels = _channels(file, depth)
    width = depths.find_width(channels)
    if width is None:
        width = channels["head"] / efficientnet.HEAD_FILTERS
    for name, variant in specs.VARIANTS.items():
        # Several published depths may give the same blocks.
        same_blocks = efficientnet.stage_repeats(variant.depth) == repeats
        if same_blocks and variant.width == width:
            return name, width, variant.depth
    hinted = file.hints.name
    if hinted in specs.VARIANTS:
        return hinted, width, depth
    # The widest published variant that is not wider, for its defaults.
    name = "efficientnet-b0"
    for other, variant in specs.VARIANTS.items():
        if specs.VARIANTS[name].width < variant.width <= width:
            name = other
    return name, width, depth


def _repeats(file: weight_file.WeightFile) -> tuple[int, ...]:
    """Return the blocks of each stage that the file's names speak of."""
    pattern = re.escape(file.naming.prefix) + _block_pattern(file.naming)
    found = [
        match.groupdict()
        for match in (re.match(pattern, name) for name in file.shapes)
        if match
    ]
    if found and "index" in found[0]:
        total = 1 + max(int(block["index"]) for block in found)
        repeats = depths.repeats_of_total(total)
        if repeats is None:
            raise ValueError(
                f"{file.path}: {total} blocks are those of no depth "
                "multiplier: depth 1 has 16. Blocks are missing, or it is "
                "another architecture."
            )
        return repeats
    stages = [0] * len(efficientnet.stage_repeats(1.0))
    for block in found:
        stage = int(block.get("stage") or int(block["number"]) - 1)
        repeat = block.get("repeat") or ord(block["letter"]) - ord("a")
        if 0 <= stage < len(stages):
            stages[stage] = max(stages[stage], int(repeat) + 1)
    return tuple(stages)


def _block_pattern(naming: names.Naming) -> str:
    """Return a regular expression for the prefix of a block's names."""
    return naming.block.replace(".", r"\.").format(
        index=r"(?P<index>\d+)",
        stage=r"(?P<stage>\d+)",
        number=r"(?P<number>\d)",
        repeat=r"(?P<repeat>\d+)",
        letter="(?P<letter>.)",
    )


def _channels(file: weight_file.WeightFile, depth: float) -> dict[str, int]:
    """Return the channels of stem, head and stages, those that are there."""
    spec = specs.from_config(
        configs.ModelConfig(depth=depth), num_classes=1, class_names=()
    )
    blocks = names.blocks_of(spec)
    paths = {"stem": "stem_norm/gamma", "head": "head_norm/gamma"}
    for block in blocks:
        if not block.repeat:
            path = f"block_{block.index}/project_norm/gamma"
            paths[str(block.stage)] = path
    channels = {}
    for name, path in paths.items():
        shape = file.shapes.get(file.naming.name(path, blocks))
        if shape:
            channels[name] = shape[0]
    if "head" not in channels:
        missing = file.naming.name(paths["head"], blocks)
        raise ValueError(f"{file.path}: {missing} is missing.")
    return channels
