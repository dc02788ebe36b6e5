"""The functions that a SavedModel keeps."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import tensorflow as tf


class Model(Protocol):
    """What is served of a model."""

    @property
    def variables(self) -> Sequence[Any]:
        """Of Keras or of TensorFlow."""

    def features(self, images: tf.Tensor) -> tf.Tensor:
        """Return what the classifier sees, float32 [batch, features]."""

    def classifier(self, features: tf.Tensor) -> tf.Tensor:
        """Return logits, float32 [batch, num_classes]."""


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """What makes a model's image of an encoded picture, in the graph.

    Attributes:
        decode: string [] -> uint8 [height, width, 3]; fails where the picture
            is damaged.
        prepare: That image and the string -> float32 [resolution, resolution,
            3] in [0, 255]. It is not called on what could not be decoded, and
            never fails.
    """

    decode: Callable[[tf.Tensor], tf.Tensor]
    prepare: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Do both."""
        return self.prepare(self.decode(encoded), encoded)


class ServedModel(tf.Module):
    """The functions that a SavedModel keeps, and what they need."""

    def __init__(
        self,
        model: Model,
        *,
        class_names: tuple[str, ...],
        preprocess: Preprocess,
        resolution: int,
        asset_paths: list[str],
    ) -> None:
        """Wrap a model; `export.export` says what the arguments are."""
        super().__init__()
        # Traced once, however many signatures call it.
        shape = tf.TensorSpec([None, resolution, resolution, 3], tf.float32)
        self._extract = tf.function(
            model.features, input_signature=[shape], autograph=False
        )
        self._classify = lambda images: model.classifier(self._extract(images))
        self._preprocess = preprocess
        self._resolution = resolution
        self.class_names = tf.constant(class_names)
        # What is tracked is saved. The model itself would bring Keras along.
        self.weights = [
            variable if isinstance(variable, tf.Variable) else variable.value
            for variable in model.variables
        ]
        self.assets = [tf.saved_model.Asset(path) for path in asset_paths]

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")],
        autograph=False,
    )
    def serve_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classify encoded images; `image_bytes`: string [batch]."""
        side = self._resolution
        images, valid = tf.map_fn(
            lambda encoded: preprocess_or_mark(encoded, self._preprocess, side),
            image_bytes,
            fn_output_signature=(
                tf.TensorSpec([side, side, 3], tf.float32),
                tf.TensorSpec([], tf.bool),
            ),
        )
        probabilities = tf.nn.softmax(self._classify(images))
        best = tf.argmax(probabilities, axis=-1)
        names = tf.gather(self.class_names, best)
        return {
            "probabilities": tf.where(valid[:, None], probabilities, 0.0),
            "classes": tf.where(valid, best, -1),
            "class_names": tf.where(valid, names, ""),
            "valid": valid,
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
        ],
        autograph=False,
    )
    def serve_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classify pixels: float32 [batch, height, width, 3] in [0, 255]."""
        return {"logits": self._classify(self._resize(images))}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
        ],
        autograph=False,
    )
    def serve_images_uint8(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classify pixels: uint8 [batch, height, width, 3]."""
        return {"logits": self._classify(self._resize(images))}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
        ],
        autograph=False,
    )
    def serve_features(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return features: float32 [batch, height, width, 3] in [0, 255]."""
        return {"features": self._extract(self._resize(images))}

    def _resize(self, images: tf.Tensor) -> tf.Tensor:
        """Return float32 images of the model's size."""
        side = self._resolution
        resized = tf.cond(
            tf.reduce_all(tf.equal(tf.shape(images)[1:3], side)),
            # Resizing would give the same, in a twentieth of the model's time.
            lambda: tf.cast(images, tf.float32),
            lambda: tf.raw_ops.ResizeBicubic(images=images, size=[side, side]),
        )
        return tf.ensure_shape(resized, [None, side, side, 3])


def preprocess_or_mark(
    encoded: tf.Tensor, preprocess: Preprocess, resolution: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Preprocess an image, or return a black one marked as invalid.

    A graph cannot catch errors, but a tf.data pipeline can drop what failed:
    the first element of what is left and a default is the answer. Only what
    may fail is in the pipeline, which is set up anew for every image.

    Args:
        encoded: string [].
        preprocess: What makes the model's image of it.
        resolution: Side of the image in pixels.

    Returns:
        image: float32 [resolution, resolution, 3] in [0, 255].
        is_valid: bool [].
    """

    def attempt(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return preprocess.decode(encoded), tf.constant(True)

    black = tf.zeros([1, 1, 3], tf.uint8)
    default = tf.data.Dataset.from_tensors((black, False))
    attempted = tf.data.Dataset.from_tensors(encoded).map(attempt)
    attempted = attempted.ignore_errors()
    outcomes = attempted.concatenate(default).take(1)
    picture, is_valid = outcomes.get_single_element()
    shape = [resolution, resolution, 3]
    image = tf.cond(
        is_valid,
        lambda: tf.ensure_shape(preprocess.prepare(picture, encoded), shape),
        lambda: tf.zeros(shape),
    )
    return image, is_valid
