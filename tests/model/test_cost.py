import dataclasses

import pytest

from noisy_student_tf import configs
from noisy_student_tf.model import architectures, cost, specs


def make_spec(name: str, resolution: int) -> specs.ModelSpec:
    return architectures.make_spec(
        configs.ModelConfig(name=name, resolution=resolution),
        num_classes=1000,
        class_names=(),
    )


# EfficientNet paper, Table 2: 0.39 G and 37 G.
@pytest.mark.parametrize(
    "name, resolution, published",
    [("efficientnet-b0", 224, 0.39e9), ("efficientnet-b7", 600, 37e9)],
)
def test_multiply_adds_are_the_published_ones(name, resolution, published):
    counted = cost.multiply_adds(make_spec(name, resolution))
    assert counted == pytest.approx(published, rel=0.03)


def test_resolution_of_the_argument_wins():
    spec = make_spec("efficientnet-b0", 224)
    doubled = cost.multiply_adds(spec, 448)
    assert doubled == pytest.approx(4 * cost.multiply_adds(spec), rel=0.01)


def test_small_image_strides_cost_more():
    spec = make_spec("efficientnet-b0", 32)
    small = dataclasses.replace(spec, small_image_strides=True)
    assert cost.multiply_adds(small) > 5 * cost.multiply_adds(spec)


# The table's figures of Lite count normalization, too.
@pytest.mark.parametrize(
    "name, published",
    [("efficientnet-lite0", 407e6), ("efficientnet-lite4", 2.64e9)],
)
def test_multiply_adds_of_lite_are_near_the_published_ones(name, published):
    side = architectures.find_variant(name).resolution
    counted = cost.multiply_adds(make_spec(name, side))
    assert 0.94 * published < counted < published


def test_what_a_block_of_lite_keeps_is_worked_out_by_hand():
    """The same block: two numbers a ReLU6, and no gated maps."""
    block = list(architectures.parts(make_spec("efficientnet-lite0", 224)))[2]
    assert block.inputs == 112**2 * 16
    assert block.kept == 2 * 112**2 * 96 + 2 * 56**2 * 96 + 2 * 56**2 * 24
    assert block.multiply_adds == (
        112**2 * 16 * 96 + 56**2 * (9 * 96 + 96 * 24)
    )


# Published trainable parameters; the first is EfficientNet's table's 5.3 M.
@pytest.mark.parametrize(
    "name, published",
    [("efficientnet-b0", 5_288_548), ("efficientnet-l2", 480_309_308)],
)
def test_parameters_are_the_published_ones(name, published):
    parts = architectures.parts(make_spec(name, 224))
    assert sum(part.parameters for part in parts) == published


def test_what_a_block_keeps_is_worked_out_by_hand():
    """B0's second block: 112 pixels, 16 channels, 96 expanded, stride 2.

    Expansion 4 * 112^2 * 96; depthwise and gated 5 * 56^2 * 96; projection
    2 * 56^2 * 24.
    """
    block = list(architectures.parts(make_spec("efficientnet-b0", 224)))[2]
    assert block.inputs == 112**2 * 16
    assert block.kept == 4_816_896 + 1_505_280 + 150_528


def test_recomputation_keeps_inputs_and_one_block():
    spec = make_spec("efficientnet-b0", 224)
    stem, *blocks, last, _ = architectures.parts(spec)
    everything = cost.kept_numbers(spec)
    assert everything == 224**2 * 3 + sum(
        part.kept for part in (stem, *blocks, last)
    )
    # The second block is the largest.
    inputs = sum(part.inputs for part in (stem, *blocks, last))
    again = cost.kept_numbers(spec, recompute=True)
    assert again == inputs + stem.kept + last.kept + blocks[1].kept
