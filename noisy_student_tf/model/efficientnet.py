"""EfficientNet: images in [0, 255] to logits.

Architecture: Tan and Le, arXiv 1905.11946, Table 1, with the rules of the
published code for rounding, initial weights and stochastic depth.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from noisy_student_tf.model import (
    convolutions,
    layers,
    noise,
    normalization,
    recomputation,
    specs,
)

VARIANTS = specs.VARIANTS

STEM_FILTERS = 32
HEAD_FILTERS = 1280


class _Stage(NamedTuple):
    kernel_size: int
    repeats: int
    filters: int
    expand_ratio: int
    strides: int


_STAGES = (
    _Stage(3, 1, 16, 1, 1),
    _Stage(3, 2, 24, 6, 2),
    _Stage(5, 2, 40, 6, 2),
    _Stage(3, 3, 80, 6, 2),
    _Stage(5, 3, 112, 6, 1),
    _Stage(5, 4, 192, 6, 2),
    _Stage(3, 1, 320, 6, 1),
)
# The published SVHN model: 32 x 32 images end as 4 x 4 maps, not 1 x 1.
_SMALL_IMAGE_STAGES = (1, 2)


def stage_repeats(depth: float) -> tuple[int, ...]:
    """Return the number of blocks of each stage."""
    return tuple(
        layers.round_repeats(stage.repeats, depth) for stage in _STAGES
    )


def stage_filters(width: float) -> tuple[int, ...]:
    """Return the channels that each stage puts out."""
    return tuple(
        layers.round_filters(stage.filters, width) for stage in _STAGES
    )


def block_arguments(spec: specs.ModelSpec) -> Iterator[dict[str, int]]:
    """Yield what differs between the blocks, in their order."""
    for index, stage in enumerate(_STAGES):
        strides = stage.strides
        if spec.small_image_strides and index in _SMALL_IMAGE_STAGES:
            strides = 1
        for repeat in range(layers.round_repeats(stage.repeats, spec.depth)):
            yield {
                "filters": layers.round_filters(stage.filters, spec.width),
                "kernel_size": stage.kernel_size,
                "strides": strides if repeat == 0 else 1,
                "expand_ratio": stage.expand_ratio,
            }


@keras.saving.register_keras_serializable("noisy_student_tf")
class EfficientNet(keras.Model):
    """A classifier of images, complete with all its variables when made.

    Attributes:
        spec: What it was made from.
        stem_conv, stem_norm: The first convolution.
        blocks: MBConv blocks, first to last.
        head_conv, head_norm: The last convolution.
        classifier: The dense layer that gives logits.
    """

    def __init__(
        self,
        spec: specs.ModelSpec,
        *,
        synchronized_batch_norm: bool = False,
        batch_norm_group_size: int = 0,
        recompute: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        """Make the model.

        Args:
            spec: Architecture and normalization of images.
            synchronized_batch_norm: Normalize by the batch of a group of
                replicas, not by each replica's own.
            batch_norm_group_size: Replicas of a group; 0: as published.
            recompute: Keep no activations inside of blocks for the gradient,
                but compute them a second time.
            seed: Of the initial weights.
            **kwargs: `name` and `dtype` of keras.Model.
        """
        # Images stay float32 until they are normalized: bfloat16 has 8 bits.
        super().__init__(**{"autocast": False, **kwargs})
        self.spec = spec
        self.synchronized_batch_norm = synchronized_batch_norm
        self.batch_norm_group_size = batch_norm_group_size
        self.recompute = recompute
        self.seed = seed
        self._make_stem()
        self._make_blocks()
        self._make_head()
        self.built = True

    def _make_norm(self, name: str) -> normalization.BatchNormalization:
        return normalization.make_norm(
            name=name,
            momentum=self.spec.batch_norm_momentum,
            synchronized=self.synchronized_batch_norm,
            group_size=self.batch_norm_group_size,
            dtype=self.dtype_policy,
        )

    def _make_stem(self) -> None:
        filters = layers.round_filters(STEM_FILTERS, self.spec.width)
        self.stem_conv = convolutions.make_conv(
            filters,
            3,
            strides=2,
            name="stem_conv",
            seed=self.seed,
            dtype=self.dtype_policy,
        )
        self.stem_conv.build((None, None, None, 3))
        self.stem_norm = self._make_norm("stem_norm")
        self.stem_norm.build((None, None, None, filters))

    def _make_blocks(self) -> None:
        channels = self.stem_conv.filters
        arguments = list(block_arguments(self.spec))
        blocks = []
        for index, differing in enumerate(arguments):
            rate = self.spec.stochastic_depth_rate * index / len(arguments)
            block = layers.MBConvBlock(
                **differing,
                stochastic_depth_rate=rate,
                noise_index=index,
                batch_norm_momentum=self.spec.batch_norm_momentum,
                synchronized_batch_norm=self.synchronized_batch_norm,
                batch_norm_group_size=self.batch_norm_group_size,
                seed=self.seed,
                name=f"block_{index}",
                dtype=self.dtype_policy,
            )
            block.build((None, None, None, channels))
            channels = block.filters
            blocks.append(block)
            # tf.train.Checkpoint does not look into Keras' lists.
            setattr(self, block.name, block)
        self.blocks = blocks

    def _make_head(self) -> None:
        filters = layers.round_filters(HEAD_FILTERS, self.spec.width)
        self.head_conv = convolutions.make_conv(
            filters,
            1,
            name="head_conv",
            seed=self.seed,
            dtype=self.dtype_policy,
        )
        self.head_conv.build((None, None, None, self.blocks[-1].filters))
        self.head_norm = self._make_norm("head_norm")
        self.head_norm.build((None, None, None, filters))
        self.classifier = keras.layers.Dense(
            self.spec.num_classes,
            kernel_initializer=convolutions.dense_initializer(
                convolutions.derive_seed(self.seed, "classifier")
            ),
            name="classifier",
            dtype="float32",
        )
        self.classifier.build((None, filters))

    def features(
        self,
        images: tf.Tensor,
        training: bool = False,
        noise_seed: tf.Tensor | None = None,
        noised: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Return what the classifier sees, before dropout.

        Training computes in the type of the policy. Inference computes in
        float32: eight bits between all layers can change a label, and matrix
        units round the factors of float32 products by themselves.

        Args:
            images: float32 or uint8 [batch, height, width, 3] in [0, 255].
            training: Normalize by the batch's statistics.
            noise_seed: int32 [2], or None for no stochastic depth.
            noised: bool [batch], which examples get noise; None: all.

        Returns:
            float32 [batch, features], means over the last map.
        """
        x = normalize_images(images, self.spec)
        x = tf.cast(x, self.compute_dtype if training else tf.float32)
        x = self.stem_norm(self.stem_conv(x), training=training)
        x = convolutions.swish(x)
        for block in self.blocks:
            call: Callable[..., tf.Tensor] = block
            if self.recompute and training:
                call = functools.partial(recomputation.call, block)
            x = call(x, training=training, noise_seed=noise_seed, noised=noised)
        x = self.head_norm(self.head_conv(x), training=training)
        x = tf.cast(convolutions.swish(x), tf.float32)
        return tf.reduce_mean(x, axis=[1, 2])

    def call(
        self,
        images: tf.Tensor,
        training: bool = False,
        noise_seed: tf.Tensor | None = None,
        noised: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Classify images.

        Args:
            images: float32 or uint8 [batch, height, width, 3] in [0, 255].
            training: Normalize by the batch's statistics and apply noise.
            noise_seed: int32 [2], mixed from the run's seed, the step and the
                replica. Needed for training, unless both rates are 0.
            noised: bool [batch], which examples get noise; None: all.

        Returns:
            Logits, float32 [batch, num_classes].

        Raises:
            ValueError: Training without a seed.
        """
        if not training:
            noise_seed = None
        elif noise_seed is None and self._is_noisy():
            raise ValueError(
                "EfficientNet was called with training=True and "
                "noise_seed=None. Give an int32 [2] seed, mixed from the "
                "run's seed, the step and the replica; noised=False for all "
                "examples switches the noise off."
            )
        x = self.features(images, training, noise_seed, noised)
        if noise_seed is not None:
            x = noise.dropout(
                x,
                rate=self.spec.dropout_rate,
                seed=noise.layer_seed(noise_seed, len(self.blocks)),
                noised=noised,
            )
        return self.classifier(x)

    def _is_noisy(self) -> bool:
        return bool(self.spec.dropout_rate or self.spec.stochastic_depth_rate)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = {
            "spec": dataclasses.asdict(self.spec),
            "synchronized_batch_norm": self.synchronized_batch_norm,
            "batch_norm_group_size": self.batch_norm_group_size,
            "recompute": self.recompute,
            "seed": self.seed,
        }
        return {**super().get_config(), **config}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> "EfficientNet":
        """Make a model from what `get_config` returned."""
        del custom_objects  # All layers are registered.
        spec = specs.from_dict(config["spec"])
        return cls(**{**config, "spec": spec})


def normalize_images(images: tf.Tensor, spec: specs.ModelSpec) -> tf.Tensor:
    """Return (images - mean) / std, float32, whatever the images' type."""
    images = tf.cast(images, tf.float32)
    mean = tf.constant(spec.mean_rgb, tf.float32)
    std = tf.constant(spec.std_rgb, tf.float32)
    return (images - mean) / std


def build(
    spec: specs.ModelSpec,
    *,
    synchronized_batch_norm: bool = False,
    batch_norm_group_size: int = 0,
    recompute: bool = False,
    seed: int = 0,
) -> EfficientNet:
    """Build a model with all its variables; the same seed, the same weights.

    Args:
        spec: Architecture and normalization of images.
        synchronized_batch_norm: Normalize by the batch of a group of replicas.
        batch_norm_group_size: Replicas of a group; 0: as published.
        recompute: Trade time for memory; see `recomputation`.
        seed: Of the initial weights.
    """
    return EfficientNet(
        spec,
        synchronized_batch_norm=synchronized_batch_norm,
        batch_norm_group_size=batch_norm_group_size,
        recompute=recompute,
        seed=seed,
    )


def build_without_weights(spec: specs.ModelSpec) -> EfficientNet:
    """Build a model whose variables have names and shapes, but no memory."""
    with tf.variable_creator_scope(_create_placeholder):
        return build(spec)


def count_parameters(spec: specs.ModelSpec) -> int:
    """Count trainable parameters without memory for them."""
    return sum(
        int(np.prod(variable.shape))
        for variable in build_without_weights(spec).trainable_variables
    )


def _create_placeholder(next_creator: Any, **options: Any) -> tf.Variable:
    """Create a scalar where a weight is asked for; Keras keeps the shape."""
    options.update(initial_value=0.0, shape=tf.TensorShape(None))
    return next_creator(**options)
