"""Width and depth multipliers from channels and numbers of blocks."""

import math
from collections.abc import Iterator, Mapping

from noisy_student_tf.model import efficientnet, layers

_MOST_DIGITS = 5
# Deeper than twice L2.
_DEEPEST = 12


def _depths() -> Iterator[float]:
    """Yield one depth for every way of rounding repeats, shallow to deep.

    Stages repeat 1 to 4 times the depth, so rounding changes at multiples of
    1/4 and of 1/3, and each interval includes its upper end.
    """
    ends = {
        step / parts for parts in (3, 4) for step in range(1, _DEEPEST * parts)
    }
    # A hair below, where rounding of floating point does no harm.
    yield from (end - 1e-9 for end in sorted(ends))


def repeats_of_total(num_blocks: int) -> tuple[int, ...] | None:
    """Return the blocks of each stage; None if no depth has that many."""
    for depth in _depths():
        repeats = efficientnet.stage_repeats(depth)
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
    candidates = sorted(
        {variant.depth for variant in efficientnet.VARIANTS.values()}
    )
    for digits in range(1, _MOST_DIGITS):
        scale = 10**digits
        # The first and the last stage have one block per unit of depth.
        lowest = (repeats[0] - 1) * scale
        candidates += [
            step / scale
            for step in range(repeats[0] * scale, max(lowest, 0), -1)
        ]
        for depth in candidates:
            if efficientnet.stage_repeats(depth) == repeats:
                return depth
        candidates = []
    return None


def find_width(channels: Mapping[str, int]) -> float | None:
    """Return the shortest width multiplier that gives these channels.

    Args:
        channels: `stem`, `head` and stages `0` to `6`, as many as are known;
            `head` must be.

    Returns:
        A published variant's width where one fits, or else the number with
        the fewest decimals; None if no width fits.
    """
    published = sorted(
        {variant.width for variant in efficientnet.VARIANTS.values()}
    )
    # Rounding moves channels by 8, and up to 10 % upwards if there are few.
    head = channels["head"]
    low = max(0.0, (head - 8) / 1.1 / efficientnet.HEAD_FILTERS)
    high = (head + 8) / efficientnet.HEAD_FILTERS
    candidates = published
    for digits in range(1, _MOST_DIGITS + 1):
        for width in candidates:
            if width > 0 and channels_of(width, channels) == channels:
                return width
        scale = 10**digits
        candidates = [
            step / scale
            for step in range(
                math.floor(low * scale), math.ceil(high * scale) + 1
            )
        ]
    return None


def channels_of(width: float, wanted: Mapping[str, int]) -> dict[str, int]:
    """Return the channels of a model, those that `wanted` has."""
    filters = {
        "stem": layers.round_filters(efficientnet.STEM_FILTERS, width),
        "head": layers.round_filters(efficientnet.HEAD_FILTERS, width),
    }
    for stage, count in enumerate(efficientnet.stage_filters(width)):
        filters[str(stage)] = count
    return {name: filters[name] for name in wanted}
