"""EfficientNet and EfficientNet-Lite: images in [0, 255] to logits.

Architecture: Tan and Le, arXiv 1905.11946, Table 1, with the rules of the
published code for rounding, initial weights and stochastic depth. A variant's
design decides on activation and gates.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from noisy_student_tf.model import (
    convolutions,
    efficientnet_variants,
    layers,
    normalization,
    specs,
)


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
        batch_norm_frozen: bool = False,
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
            batch_norm_frozen: Normalize by the moving statistics, always.
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
        self.batch_norm_frozen = batch_norm_frozen
        self.recompute = recompute
        self.seed = seed
        self._make_layers()
        self.built = True

    def _make_layers(self) -> None:
        dtype = self.dtype_policy
        design = efficientnet_variants.design_of(self.spec)
        self.activation = design.activation
        stem, *_, features = design.channels(self.spec.width)
        norm_options: dict[str, Any] = {
            "momentum": self.spec.batch_norm_momentum,
            "synchronized": self.synchronized_batch_norm,
            "group_size": self.batch_norm_group_size,
            "frozen": self.batch_norm_frozen,
        }
        make_conv = functools.partial(
            convolutions.make_conv, seed=self.seed, dtype=dtype
        )
        make_norm = functools.partial(
            normalization.make_norm, dtype=dtype, **norm_options
        )
        self.stem_conv = make_conv(3, stem, 3, strides=2, name="stem_conv")
        self.stem_norm = make_norm(stem, name="stem_norm")
        self._make_blocks(stem, norm_options)
        channels = self.blocks[-1].filters
        self.head_conv = make_conv(channels, features, name="head_conv")
        self.head_norm = make_norm(features, name="head_norm")
        self.classifier = keras.layers.Dense(
            self.spec.num_classes,
            kernel_initializer=convolutions.dense_initializer(
                convolutions.derive_seed(self.seed, "classifier")
            ),
            name="classifier",
            dtype="float32",
        )
        self.classifier.build((None, features))

    def _make_blocks(self, channels: int, norm_options: dict[str, Any]) -> None:
        design = efficientnet_variants.design_of(self.spec)
        numbers = efficientnet_variants.blocks(self.spec)
        blocks = []
        for index, number in enumerate(numbers):
            rate = self.spec.stochastic_depth_rate * index / len(numbers)
            block = layers.MBConvBlock(
                filters=number.filters,
                kernel_size=number.kernel_size,
                strides=number.strides,
                expand_ratio=number.expand_ratio,
                squeeze_excite_ratio=design.squeeze_excite_ratio,
                activation=design.activation,
                stochastic_depth_rate=rate,
                noise_index=index,
                norm_options=norm_options,
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
        x = convolutions.activate(x, self.activation)
        for block in self.blocks:
            call: Callable[..., tf.Tensor] = block
            if self.recompute and training:
                call = functools.partial(layers.recompute, block)
            x = call(x, training=training, noise_seed=noise_seed, noised=noised)
        x = self.head_norm(self.head_conv(x), training=training)
        x = convolutions.activate(x, self.activation)
        x = tf.cast(x, tf.float32)
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
        elif noise_seed is None and (
            self.spec.dropout_rate or self.spec.stochastic_depth_rate
        ):
            raise ValueError(
                "EfficientNet was called with training=True and "
                "noise_seed=None. Give an int32 [2] seed, mixed from the "
                "run's seed, the step and the replica; noised=False for all "
                "examples switches the noise off."
            )
        x = self.features(images, training, noise_seed, noised)
        if noise_seed is not None:
            x = layers.dropout(
                x,
                rate=self.spec.dropout_rate,
                seed=layers.layer_seed(noise_seed, len(self.blocks)),
                noised=noised,
            )
        return self.classifier(x)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = {
            "spec": dataclasses.asdict(self.spec),
            "synchronized_batch_norm": self.synchronized_batch_norm,
            "batch_norm_group_size": self.batch_norm_group_size,
            "batch_norm_frozen": self.batch_norm_frozen,
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
