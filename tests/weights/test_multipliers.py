import pytest

from noisy_student_tf.model import architectures, efficientnet_variants
from noisy_student_tf.weights import multipliers

PARTS = ("stem", "head", *map(str, range(7)))


@pytest.mark.parametrize("name", architectures.VARIANTS)
def test_every_variant_is_found_again(name):
    variant = architectures.VARIANTS[name]
    channels = multipliers.channels_of(variant.width, PARTS)
    repeats = efficientnet_variants.EFFICIENTNET.repeats(variant.depth)
    assert multipliers.find_width(channels) == variant.width
    # B1's and B2's depths give the same blocks.
    found = multipliers.find_depth(repeats)
    assert efficientnet_variants.EFFICIENTNET.repeats(found) == repeats


@pytest.mark.parametrize("width", [0.05, 0.1, 0.33, 0.717, 1.25, 3.3, 6.0])
def test_odd_widths_give_the_same_channels(width):
    channels = multipliers.channels_of(width, PARTS)
    found = multipliers.find_width(channels)
    assert multipliers.channels_of(found, PARTS) == channels


@pytest.mark.parametrize("depth", [0.1, 0.25, 1 / 3, 0.5, 1.7, 2.05, 6.0])
def test_odd_depths_give_the_same_blocks(depth):
    repeats = efficientnet_variants.EFFICIENTNET.repeats(depth)
    found = multipliers.find_depth(repeats)
    assert efficientnet_variants.EFFICIENTNET.repeats(found) == repeats
    assert multipliers.repeats_of_total(sum(repeats)) == repeats


def test_the_simplest_depth_is_chosen():
    # ceil(2 * 0.5) = 1 and ceil(3 * 0.5) = 2; 0.4 does the same.
    assert multipliers.find_depth((1, 1, 1, 2, 2, 2, 1)) == 0.5


def test_channels_and_blocks_of_another_architecture():
    assert multipliers.find_width({"stem": 32, "head": 1280, "0": 24}) is None
    assert multipliers.find_depth((1, 2, 2, 3, 3, 5, 1)) is None
    # Seven stages have a block each at least.
    assert multipliers.repeats_of_total(6) is None
