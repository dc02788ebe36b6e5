import dataclasses

import pytest

from noisy_student_tf import config
from noisy_student_tf.model import cost
from noisy_student_tf.model import spec as specs


def make_spec(name: str, resolution: int) -> specs.ModelSpec:
    return specs.from_config(
        config.ModelConfig(name=name, resolution=resolution),
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
