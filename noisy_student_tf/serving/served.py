"""A model's functions that are served: pictures or pixels in, classes out.

Signatures:
    serving_default: `image_bytes`, string [batch], encoded images of any size
        -> `probabilities` float32 [batch, num_classes], `classes` int64
        [batch], `class_names` string [batch], `valid` bool [batch], `energies`
        float32 [batch], minus the logarithm of the sum of the logits'
        exponentials: high for what is like none of the classes. Decoded are
        JPEG, PNG, still WebP and BMP of 24 bits, turned upright as EXIF says,
        and laid on white where they are transparent: the pixels that training
        saw. An image that cannot be decoded has `valid` false, probabilities of
        zero, class -1 and an empty name; the others of its batch are not
        affected. Other formats are made one of these before, as
        `records.pictures.to_decodable` does for the scripts.
    preprocess: `image_bytes` as before -> `images` float32 [batch, resolution,
        resolution, 3] in [0, 255], as the model sees them, and `valid`; for
        other runtimes.
    images: `images`, float32 [batch, height, width, 3] in [0, 255], any height
        and width -> `logits` float32 [batch, num_classes].
    images_uint8: the same from uint8.
    features: `images` as in `images` -> `features` float32 [batch, features].
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from noisy_student_tf.serving import exported, runtimes


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
        decode: string [] -> uint8 [height, width, 3], upright and opaque;
            fails where the picture is damaged.
        prepare: That image -> float32 [resolution, resolution, 3] in
            [0, 255]. It is not called on what could not be decoded, and never
            fails.
    """

    decode: Callable[[tf.Tensor], tf.Tensor]
    prepare: Callable[[tf.Tensor], tf.Tensor]

    def __call__(self, encoded: tf.Tensor) -> tf.Tensor:
        """Do both."""
        return self.prepare(self.decode(encoded))


def in_memory(
    *, model: Model, spec: Mapping[str, Any], preprocess: Preprocess
) -> exported.Exported:
    """Return what a SavedModel of a model would do, without writing one.

    Args:
        model: As given to `export`, as are the others.
        spec: What the model was made from, a specification's fields.
        preprocess: Makes one image of an encoded picture.
    """
    class_names = class_names_of(spec)
    module = ServedModel(
        model,
        class_names=class_names,
        preprocess=preprocess,
        resolution=spec["resolution"],
        asset_paths=[],
    )
    signatures = module.functions()
    return exported.Exported(
        directory="",
        class_names=class_names,
        model=dict(spec),
        preprocessing={},
        signatures=signatures,
        runtime=runtimes.of_tensorflow(signatures),
        loaded=module,
    )


def class_names_of(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one name a class; their numbers, where none are known."""
    return spec["class_names"] or tuple(map(str, range(spec["num_classes"])))


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
        """Wrap a model; `export` says what the arguments are."""
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

    def functions(self) -> dict[str, Any]:
        """Return the functions by the names of their signatures."""
        pixels = [None, None, None, 3]
        images = tf.TensorSpec(pixels, tf.float32, name="images")
        images_uint8 = tf.TensorSpec(pixels, tf.uint8, name="images")
        encoded = tf.TensorSpec([None], tf.string, name="image_bytes")
        inputs = {
            "serving_default": (self._serve_bytes, encoded),
            "preprocess": (self._serve_images, encoded),
            "images": (self._serve_logits, images),
            "images_uint8": (self._serve_logits, images_uint8),
            "features": (self._serve_features, images),
        }
        return {
            name: tf.function(serve, input_signature=[spec], autograph=False)
            for name, (serve, spec) in inputs.items()
        }

    def _serve_images(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        side = self._resolution
        images, valid = tf.map_fn(
            lambda encoded: _preprocess_or_mark(
                encoded, self._preprocess, side
            ),
            image_bytes,
            fn_output_signature=(
                tf.TensorSpec([side, side, 3], tf.float32),
                tf.TensorSpec([], tf.bool),
            ),
        )
        return {"images": images, "valid": valid}

    def _serve_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        decoded = self._serve_images(image_bytes)
        valid = decoded["valid"]
        logits = self._classify(decoded["images"])
        probabilities = tf.nn.softmax(logits)
        best = tf.argmax(probabilities, axis=-1)
        names = tf.gather(self.class_names, best)
        energies = -tf.reduce_logsumexp(logits, axis=-1)
        return {
            "probabilities": tf.where(valid[:, None], probabilities, 0.0),
            "classes": tf.where(valid, best, -1),
            "class_names": tf.where(valid, names, ""),
            "energies": tf.where(valid, energies, 0.0),
            "valid": valid,
        }

    def _serve_logits(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": self._classify(self._resize(images))}

    def _serve_features(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
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


def _preprocess_or_mark(
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
        lambda: tf.ensure_shape(preprocess.prepare(picture), shape),
        lambda: tf.zeros(shape),
    )
    return image, is_valid
