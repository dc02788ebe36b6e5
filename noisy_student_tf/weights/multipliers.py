"""Width and depth multipliers of an EfficientNet, from names and shapes."""

import math
import re
from collections.abc import Iterator, Mapping

from noisy_student_tf import configs
from noisy_student_tf.model import architectures, efficientnet_variants
from noisy_student_tf.weights import weight_file

_DESIGN = efficientnet_variants.EFFICIENTNET
_NUM_STAGES = len(_DESIGN.stages)
_PARTS = ("stem", *map(str, range(_NUM_STAGES)), "head")
_MOST_DIGITS = 5
# Deeper than twice L2.
_DEEPEST = 12


def find(file: weight_file.WeightFile) -> tuple[str, float, float]:
    """Return variant, width and depth from names and shapes.

    Where no width fits the channels, that of the last convolution does best:
    comparing then names the variables that differ.

    Raises:
        ValueError: Its blocks are those of no depth.
    """
    repeats = _repeats(file)
    depth = find_depth(repeats)
    if depth is None:
        raise ValueError(
            f"{file.path}: stages of {', '.join(map(str, repeats))} blocks "
            "are those of no depth multiplier: with depth 1 they have "
            f"{', '.join(map(str, _DESIGN.repeats(1.0)))}. Blocks "
            "are missing, or it is another architecture."
        )
    channels = _channels(file, depth)
    width = find_width(channels)
    if width is None:
        width = channels["head"] / _DESIGN.head_filters
    for name, variant in architectures.VARIANTS.items():
        # Several published depths may give the same blocks.
        same_blocks = _DESIGN.repeats(variant.depth) == repeats
        if same_blocks and variant.width == width:
            return name, width, variant.depth
    hinted = file.hints.name
    if hinted in architectures.VARIANTS:
        return hinted, width, depth
    # The widest published variant that is not wider, for its defaults.
    name = "efficientnet-b0"
    for other, variant in architectures.VARIANTS.items():
        if architectures.VARIANTS[name].width < variant.width <= width:
            name = other
    return name, width, depth


def _repeats(file: weight_file.WeightFile) -> tuple[int, ...]:
    """Return the blocks of each stage that the file's names speak of."""
    # The fields of a block's prefix, as groups of a regular expression.
    pattern = re.escape(file.naming.prefix) + file.naming.block.replace(
        ".", r"\."
    ).format(
        index=r"(?P<index>\d+)",
        stage=r"(?P<stage>\d+)",
        number=r"(?P<number>\d)",
        repeat=r"(?P<repeat>\d+)",
        letter="(?P<letter>.)",
    )
    matches = (re.match(pattern, name) for name in file.shapes)
    found = [match.groupdict() for match in matches if match]
    if found and "index" in found[0]:
        total = 1 + max(int(block["index"]) for block in found)
        repeats = repeats_of_total(total)
        if repeats is None:
            raise ValueError(
                f"{file.path}: {total} blocks are those of no depth "
                "multiplier: depth 1 has 16. Blocks are missing, or it is "
                "another architecture."
            )
        return repeats
    stages = [0] * _NUM_STAGES
    for block in found:
        stage = int(block.get("stage") or int(block["number"]) - 1)
        repeat = block.get("repeat") or ord(block["letter"]) - ord("a")
        if 0 <= stage < len(stages):
            stages[stage] = max(stages[stage], int(repeat) + 1)
    return tuple(stages)


def _channels(file: weight_file.WeightFile, depth: float) -> dict[str, int]:
    """Return the channels of stem, head and stages, those that are there."""
    spec = architectures.make_spec(
        configs.ModelConfig(depth=depth), num_classes=1, class_names=()
    )
    blocks = efficientnet_variants.blocks(spec)
    paths = {"stem": "stem_norm/gamma", "head": "head_norm/gamma"}
    for index, block in enumerate(blocks):
        if not block.repeat:
            paths[str(block.stage)] = f"block_{index}/project_norm/gamma"
    channels = {}
    for name, path in paths.items():
        shape = file.shapes.get(file.naming.name(path, blocks))
        if shape:
            channels[name] = shape[0]
    if "head" not in channels:
        missing = file.naming.name(paths["head"], blocks)
        raise ValueError(f"{file.path}: {missing} is missing.")
    return channels


def repeats_of_total(num_blocks: int) -> tuple[int, ...] | None:
    """Return the blocks of each stage; None if no depth has that many."""
    # Stages repeat 1 to 4 times the depth, so rounding changes at multiples of
    # 1/4 and of 1/3, and each interval includes its upper end.
    ends = {
        step / parts for parts in (3, 4) for step in range(1, _DEEPEST * parts)
    }
    for end in sorted(ends):
        # A hair below, where rounding of floating point does no harm.
        repeats = _DESIGN.repeats(end - 1e-9)
        if sum(repeats) == num_blocks:
            return repeats
    return None


def find_depth(repeats: tuple[int, ...]) -> float | None:
    """Return the shortest depth multiplier that gives these blocks.

    Args:
        repeats: Blocks of each stage.

    Returns:
        A published variant's depth where one fits, or else the number with
        the fewest decimals, the largest of them; None if no depth fits.
    """
    for depth in _depths(repeats[0]):
        if _DESIGN.repeats(depth) == repeats:
            return depth
    return None


def _depths(first_repeats: int) -> Iterator[float]:
    """Yield depths in the order in which they are preferred."""
    yield from sorted(
        {variant.depth for variant in architectures.VARIANTS.values()}
    )
    for digits in range(1, _MOST_DIGITS):
        scale = 10**digits
        # The first and the last stage have one block per unit of depth.
        lowest = max((first_repeats - 1) * scale, 0)
        for step in range(first_repeats * scale, lowest, -1):
            yield step / scale


def find_width(channels: Mapping[str, int]) -> float | None:
    """Return the shortest width multiplier that gives these channels.

    Args:
        channels: `stem`, `head` and stages `0` to `6`, as many as are known;
            `head` must be.

    Returns:
        A published variant's width where one fits, or else the number with
        the fewest decimals; None if no width fits.
    """
    for width in _widths(channels["head"]):
        if width > 0 and channels_of(width, channels) == channels:
            return width
    return None


def _widths(head: int) -> Iterator[float]:
    """Yield widths in the order in which they are preferred."""
    yield from sorted(
        {variant.width for variant in architectures.VARIANTS.values()}
    )
    # Rounding moves channels by 8, and up to 10 % upwards if there are few.
    low = max(0.0, (head - 8) / 1.1 / _DESIGN.head_filters)
    high = (head + 8) / _DESIGN.head_filters
    for digits in range(1, _MOST_DIGITS):
        scale = 10**digits
        first, last = math.floor(low * scale), math.ceil(high * scale)
        for step in range(first, last + 1):
            yield step / scale


def channels_of(width: float, wanted: Mapping[str, int]) -> dict[str, int]:
    """Return the channels of a model, those that `wanted` has."""
    filters = dict(zip(_PARTS, _DESIGN.channels(width), strict=True))
    return {name: filters[name] for name in wanted}
