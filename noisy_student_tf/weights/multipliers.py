"""Design, width and depth of an EfficientNet, from names and shapes."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from noisy_student_tf import configs
from noisy_student_tf.model import architectures, efficientnet_variants
from noisy_student_tf.weights import weight_file

Design = efficientnet_variants.Design

_NUM_STAGES = len(efficientnet_variants.EFFICIENTNET.stages)
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
    design = design_of(file)
    repeats = _repeats(file, design)
    depth = find_depth(repeats, design)
    if depth is None:
        raise ValueError(
            f"{file.path}: stages of {', '.join(map(str, repeats))} blocks "
            "are those of no depth multiplier: with depth 1 they have "
            f"{', '.join(map(str, design.repeats(1.0)))}. Blocks "
            "are missing, or it is another architecture."
        )
    channels = _channels(file, depth, design)
    width = find_width(channels, design)
    if width is None:
        part, filters = _widest(design)
        width = channels.get(part, filters) / filters
    published = _variants(design)
    for name, variant in published.items():
        # Several published depths may give the same blocks.
        same_blocks = design.repeats(variant.depth) == repeats
        if same_blocks and variant.width == width:
            return name, width, variant.depth
    hinted = file.hints.name
    if hinted in published:
        return hinted, width, depth
    # The widest published variant that is not wider, for its defaults.
    name = next(iter(published))
    for other, variant in published.items():
        if published[name].width < variant.width <= width:
            name = other
    return name, width, depth


def design_of(file: weight_file.WeightFile) -> Design:
    """Return the design of a file's model: Lite has no gates."""
    naming = file.naming
    gate = f"{naming.plain['squeeze_excite/reduce']}{naming.separator}"
    if any(gate in name for name in file.shapes):
        return efficientnet_variants.EFFICIENTNET
    return efficientnet_variants.EFFICIENTNET_LITE


def _variants(
    design: Design,
) -> dict[str, efficientnet_variants.Variant]:
    """Return a design's published variants by name, the smallest first."""
    return {
        name: variant
        for name, variant in architectures.VARIANTS.items()
        if variant.design == design
    }


def _repeats(file: weight_file.WeightFile, design: Design) -> tuple[int, ...]:
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
        repeats = repeats_of_total(total, design)
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


def _channels(
    file: weight_file.WeightFile, depth: float, design: Design
) -> dict[str, int]:
    """Return the channels of stem, head and stages, those that are there."""
    name = next(iter(_variants(design)))
    spec = architectures.make_spec(
        configs.ModelConfig(name=name, depth=depth),
        num_classes=1,
        class_names=(),
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


def repeats_of_total(num_blocks: int, design: Design) -> tuple[int, ...] | None:
    """Return the blocks of each stage; None if no depth has that many."""
    # Stages repeat 1 to 4 times the depth, so rounding changes at multiples of
    # 1/4 and of 1/3, and each interval includes its upper end.
    ends = {
        step / parts for parts in (3, 4) for step in range(1, _DEEPEST * parts)
    }
    for end in sorted(ends):
        # A hair below, where rounding of floating point does no harm.
        repeats = design.repeats(end - 1e-9)
        if sum(repeats) == num_blocks:
            return repeats
    return None


def find_depth(repeats: tuple[int, ...], design: Design) -> float | None:
    """Return the shortest depth multiplier that gives these blocks.

    Args:
        repeats: Blocks of each stage.
        design: That the multiplier is of.

    Returns:
        A published variant's depth where one fits, or else the number with
        the fewest decimals, the largest of them; None if no depth fits.
    """
    for depth in _depths(repeats, design):
        if design.repeats(depth) == repeats:
            return depth
    return None


def _depths(repeats: tuple[int, ...], design: Design) -> Iterator[float]:
    """Yield depths in the order in which they are preferred."""
    yield from sorted({variant.depth for variant in _variants(design).values()})
    # The second stage scales in all designs.
    blocks, at_depth_1 = repeats[1], design.stages[1].repeats
    low, high = (blocks - 1) / at_depth_1, blocks / at_depth_1
    for digits in range(1, _MOST_DIGITS):
        scale = 10**digits
        for step in range(math.ceil(high * scale), int(low * scale), -1):
            yield step / scale


def find_width(channels: Mapping[str, int], design: Design) -> float | None:
    """Return the shortest width multiplier that gives these channels.

    Args:
        channels: `stem`, `head` and stages `0` to `6`, as many as are known;
            the widest that scales must be.
        design: That the multiplier is of.

    Returns:
        A published variant's width where one fits, or else the number with
        the fewest decimals; None if no width fits.
    """
    for width in _widths(channels, design):
        if width > 0 and channels_of(width, channels, design) == channels:
            return width
    return None


def _widest(design: Design) -> tuple[str, int]:
    """Return the widest part that scales, and its channels at width 1."""
    if design.has_fixed_ends:
        return _PARTS[-2], design.stages[-1].filters
    return "head", design.head_filters


def _widths(channels: Mapping[str, int], design: Design) -> Iterator[float]:
    """Yield widths in the order in which they are preferred."""
    yield from sorted({variant.width for variant in _variants(design).values()})
    # Rounding moves channels by 8, and up to 10 % upwards if there are few.
    part, filters = _widest(design)
    known = channels.get(part, 0)
    low, high = max(0.0, (known - 8) / 1.1 / filters), (known + 8) / filters
    for digits in range(1, _MOST_DIGITS):
        scale = 10**digits
        first, last = math.floor(low * scale), math.ceil(high * scale)
        for step in range(first, last + 1):
            yield step / scale


def channels_of(
    width: float, wanted: Iterable[str], design: Design
) -> dict[str, int]:
    """Return the channels of a model, those that `wanted` names."""
    filters = dict(zip(_PARTS, design.channels(width), strict=True))
    return {name: filters[name] for name in wanted}
