"""Every architecture: its variants, and what builds and counts it.

Another architecture is a module and one entry here. All else reaches a model
through these functions, and through what every network has: `spec`, `blocks`,
`head_norm`, `classifier` and `features`.
"""

import difflib
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import keras
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.model import (
    convolutions,
    efficientnet,
    efficientnet_variants,
    specs,
)

HeadInitializer = Literal["published", "fan_in", "zeros"]
INITIALIZERS: tuple[str, ...] = get_args(HeadInitializer)


class Architecture(NamedTuple):
    """A family of variants.

    Attributes:
        variants: Name -> multipliers, image side and dropout.
        network: A keras.Model of a specification and the options of `build`.
        parts: What a specification's parts cost at a resolution.
    """

    variants: Mapping[str, efficientnet_variants.Variant]
    network: Callable[..., keras.Model]
    parts: Callable[[specs.ModelSpec, int], list[specs.Part]]


ARCHITECTURES = (
    Architecture(
        variants=efficientnet_variants.VARIANTS,
        network=efficientnet.EfficientNet,
        parts=efficientnet_variants.parts,
    ),
)

VARIANTS = {
    name: variant
    for architecture in ARCHITECTURES
    for name, variant in architecture.variants.items()
}


def find_variant(name: str) -> efficientnet_variants.Variant:
    """Return a published variant.

    Raises:
        ValueError: There is none of that name; the message has the nearest.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    nearest = difflib.get_close_matches(name, VARIANTS, n=1, cutoff=0.0)
    raise ValueError(
        f"--model.name={name}: there is no such variant. Did you mean "
        f"{nearest[0]}? Accepted is one of {', '.join(VARIANTS)}."
    )


def make_spec(
    model: configs.ModelConfig,
    *,
    num_classes: int,
    class_names: tuple[str, ...],
) -> specs.ModelSpec:
    """Resolve what a configuration leaves to the variant.

    Args:
        model: Width and depth 0, dropout -1, and no mean or deviation stand
            for the variant's own.
        num_classes: Number of logits.
        class_names: One name a class, or empty.

    Raises:
        ValueError: The variant is unknown, or the names do not match.
    """
    variant = find_variant(model.name)
    dropout_rate = model.dropout_rate
    if dropout_rate == -1:
        dropout_rate = variant.dropout_rate
    return specs.ModelSpec(
        name=model.name,
        width=model.width or variant.width,
        depth=model.depth or variant.depth,
        resolution=model.resolution,
        num_classes=num_classes,
        class_names=tuple(class_names),
        dropout_rate=dropout_rate,
        stochastic_depth_rate=model.stochastic_depth_rate,
        small_image_strides=model.small_image_strides,
        batch_norm_momentum=model.batch_norm_momentum,
        mean_rgb=tuple(model.mean_rgb or variant.design.mean_rgb),
        std_rgb=tuple(model.std_rgb or variant.design.std_rgb),
    )


def _find(spec: specs.ModelSpec) -> Architecture:
    find_variant(spec.name)
    return next(each for each in ARCHITECTURES if spec.name in each.variants)


def build(spec: specs.ModelSpec, **options: Any) -> keras.Model:
    """Build a model with all its variables; the same seed, the same weights.

    Args:
        spec: Architecture and normalization of images.
        **options: `synchronized_batch_norm`, `batch_norm_group_size`,
            `batch_norm_frozen`, `recompute`, `seed` and `dtype`; see
            `efficientnet.EfficientNet`.
    """
    return _find(spec).network(spec, **options)


def build_without_weights(spec: specs.ModelSpec) -> keras.Model:
    """Build a model whose variables have names and shapes, but no memory."""
    with tf.variable_creator_scope(_create_placeholder):
        return build(spec)


@functools.cache
def variable_shapes(spec: specs.ModelSpec) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of all variables of a model by their paths."""
    variables = build_without_weights(spec).variables
    return {variable.path: tuple(variable.shape) for variable in variables}


def _create_placeholder(next_creator: Any, **options: Any) -> tf.Variable:
    """Create a scalar where a weight is asked for; Keras keeps the shape."""
    options.update(initial_value=0.0, shape=tf.TensorShape(None))
    return next_creator(**options)


def parts(
    spec: specs.ModelSpec, resolution: int | None = None
) -> list[specs.Part]:
    """Return what a model's parts cost: stem, blocks, head and classifier.

    Args:
        spec: The architecture.
        resolution: Side of the image in pixels; None: the spec's own.
    """
    return _find(spec).parts(spec, resolution or spec.resolution)


def initialize(model: keras.Model, name: HeadInitializer, *, seed: int) -> None:
    """Give a model a fresh classifier.

    The published initializer is uniform within 1 / sqrt(num_classes): right
    for a thousand classes, over-confident with two. `fan_in`, uniform within
    1 / sqrt(num_features), does not depend on the number of classes.

    Args:
        model: Whose classifier is set; its bias becomes zero.
        name: Which initializer.
        seed: Of the weights.
    """
    classifier = model.classifier
    initializers: dict[str, keras.initializers.Initializer] = {
        "published": convolutions.dense_initializer(seed),
        "fan_in": keras.initializers.VarianceScaling(
            scale=1 / 3, mode="fan_in", distribution="uniform", seed=seed
        ),
        "zeros": keras.initializers.Zeros(),
    }
    kernel = classifier.kernel
    kernel.assign(initializers[name](tuple(kernel.shape)))
    classifier.bias.assign(keras.ops.zeros_like(classifier.bias))
