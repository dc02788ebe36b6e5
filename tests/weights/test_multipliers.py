import pytest

from noisy_student_tf.model import architectures, efficientnet_variants
from noisy_student_tf.weights import multipliers

B = efficientnet_variants.EFFICIENTNET
LITE = efficientnet_variants.EFFICIENTNET_LITE
DESIGNS = (B, LITE)
PARTS = ("stem", "head", *map(str, range(7)))


@pytest.mark.parametrize("name", architectures.VARIANTS)
def test_every_variant_is_found_again(name):
    variant = architectures.VARIANTS[name]
    design = variant.design
    channels = multipliers.channels_of(variant.width, PARTS, design)
    repeats = design.repeats(variant.depth)
    assert multipliers.find_width(channels, design) == variant.width
    # B1's and B2's depths give the same blocks.
    found = multipliers.find_depth(repeats, design)
    assert design.repeats(found) == repeats


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("width", [0.05, 0.1, 0.33, 0.717, 1.25, 3.3, 6.0])
def test_odd_widths_give_the_same_channels(width, design):
    channels = multipliers.channels_of(width, PARTS, design)
    found = multipliers.find_width(channels, design)
    assert multipliers.channels_of(found, PARTS, design) == channels


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("depth", [0.1, 0.25, 1 / 3, 0.5, 1.7, 2.05, 6.0])
def test_odd_depths_give_the_same_blocks(depth, design):
    repeats = design.repeats(depth)
    found = multipliers.find_depth(repeats, design)
    assert design.repeats(found) == repeats
    assert multipliers.repeats_of_total(sum(repeats), design) == repeats


def test_the_simplest_depth_is_chosen():
    # ceil(2 * 0.5) = 1 and ceil(3 * 0.5) = 2; 0.4 does the same.
    assert multipliers.find_depth((1, 1, 1, 2, 2, 2, 1), B) == 0.5


def test_channels_and_blocks_of_another_architecture():
    channels = {"stem": 32, "head": 1280, "0": 24}
    assert multipliers.find_width(channels, B) is None
    assert multipliers.find_depth((1, 2, 2, 3, 3, 5, 1), B) is None
    # Lite repeats its first stage once at all depths.
    assert multipliers.find_depth((2, 3, 3, 4, 4, 5, 2), LITE) is None
    # Seven stages have a block each at least.
    assert multipliers.repeats_of_total(6, B) is None
