"""A trained model as a SavedModel that serves encoded images.

Signatures:
    serving_default: `image_bytes`, string [batch], encoded images of any size
        -> `probabilities` float32 [batch, num_classes], `classes` int64
        [batch], `class_names` string [batch], `valid` bool [batch]. An image
        that cannot be decoded has `valid` false, probabilities of zero, class
        -1 and an empty name; the others of its batch are not affected.
    images: `images`, float32 [batch, height, width, 3] in [0, 255], any height
        and width -> `logits` float32 [batch, num_classes].
    images_uint8: the same from uint8.
    features: `images` as in `images` -> `features` float32 [batch, features].

Assets: `class_names.txt`, a line a class; `preprocessing.json`; `model.json`,
what the model is and the fingerprint of its weights.
"""

import dataclasses
import functools
import json
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Protocol

import keras
import numpy as np
import tensorflow as tf

from noisy_student_tf import files

# string [] -> float32 [resolution, resolution, 3] in [0, 255].
Preprocess = Callable[[tf.Tensor], tf.Tensor]


class Model(Protocol):
    """What is served of a model."""

    @property
    def variables(self) -> Sequence[Any]:
        """Of Keras or of TensorFlow."""

    def features(self, images: tf.Tensor) -> tf.Tensor:
        """Return what the classifier sees, float32 [batch, features]."""

    def classifier(self, features: tf.Tensor) -> tf.Tensor:
        """Return logits, float32 [batch, num_classes]."""


class Spec(Protocol):
    """What is read of a model's specification, a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class, or empty: then the classes' numbers serve."""

    @property
    def num_classes(self) -> int:
        """Number of logits."""

    @property
    def resolution(self) -> int:
        """Side of the training images in pixels."""

    @property
    def mean_rgb(self) -> tuple[float, ...]:
        """Subtracted from images in [0, 255]."""

    @property
    def std_rgb(self) -> tuple[float, ...]:
        """Divides images in [0, 255]."""


def export(
    *,
    model: Model,
    spec: Spec,
    directory: str,
    training_fingerprint: str,
    preprocess: Preprocess,
    crop: Literal["center", "whole"],
    resolution: int | None = None,
) -> None:
    """Write a SavedModel; an earlier one in its place is replaced.

    Args:
        model: What is served: an EfficientNet, or what has its `features`,
            `classifier` and `variables`.
        spec: What the model was made from.
        directory: Appears when the SavedModel in it is complete, unless it is
            remote: there the manifest of the stage tells.
        training_fingerprint: Of the weights, kept in the assets.
        preprocess: Decodes, crops and resizes one encoded image, in the graph:
            string [] -> float32 [resolution, resolution, 3] in [0, 255].
        crop: Which crop that is; kept in the assets.
        resolution: Side of the model's images in pixels, where it is not the
            specification's, as after fine-tuning at a higher one.
    """
    resolution = resolution or spec.resolution
    compiled = tf.function(
        preprocess, input_signature=[tf.TensorSpec([], tf.string)]
    )
    # Should it fail, it fails here: an error while tf.map_fn is traced leaves
    # the process in a state in which no strategy's scope can be entered.
    compiled.get_concrete_function()
    assets = {
        "class_names.txt": "".join(f"{name}\n" for name in _class_names(spec)),
        "preprocessing.json": _describe_preprocessing(spec, crop, resolution),
        "model.json": _to_json(
            {
                **dataclasses.asdict(spec),
                "training_fingerprint": training_fingerprint,
            }
        ),
    }
    with tempfile.TemporaryDirectory() as asset_directory:
        for name, content in assets.items():
            files.write_text(files.join(asset_directory, name), content)
        paths = [files.join(asset_directory, name) for name in assets]
        module = ServedModel(
            model,
            class_names=_class_names(spec),
            preprocess=compiled,
            resolution=resolution,
            asset_paths=paths,
        )
        _write(module, directory)


def _write(module: "ServedModel", directory: str) -> None:
    signatures = {
        "serving_default": module.serve_bytes,
        "images": module.serve_images,
        "images_uint8": module.serve_images_uint8,
        "features": module.serve_features,
    }
    directory = directory.rstrip("/")
    parent = directory.rpartition("/")[0] or "."
    files.make_directories(parent)
    if files.is_remote(directory):
        # Object stores copy what they rename, one object at a time: nothing
        # is gained by a temporary name.
        files.remove(directory)
        tf.saved_model.save(module, directory, signatures=signatures)
        return
    files.remove_temporaries(parent)
    with files.temporary_name(directory) as temporary:
        tf.saved_model.save(module, temporary, signatures=signatures)
        files.remove(directory)


def _class_names(spec: Spec) -> tuple[str, ...]:
    return spec.class_names or tuple(str(i) for i in range(spec.num_classes))


def _to_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _describe_preprocessing(spec: Spec, crop: str, resolution: int) -> str:
    return _to_json(
        {
            "crop": crop,
            "resolution": resolution,
            "resize": "bicubic, no half-pixel centers, no antialiasing",
            "value_range": [0, 255],
            "mean_rgb": spec.mean_rgb,
            "std_rgb": spec.std_rgb,
            "exif_orientation": "ignored",
        }
    )


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
        super().__init__()
        # Traced once, however many signatures call it.
        shape = tf.TensorSpec([None, resolution, resolution, 3], tf.float32)
        self._extract = tf.function(model.features, input_signature=[shape])
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
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")]
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
        ]
    )
    def serve_images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classify pixels: float32 [batch, height, width, 3] in [0, 255]."""
        return {"logits": self._classify(self._resize(images))}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
        ]
    )
    def serve_images_uint8(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Classify pixels: uint8 [batch, height, width, 3]."""
        return {"logits": self._classify(self._resize(images))}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.float32, name="images")
        ]
    )
    def serve_features(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return features: float32 [batch, height, width, 3] in [0, 255]."""
        return {"features": self._extract(self._resize(images))}

    def _resize(self, images: tf.Tensor) -> tf.Tensor:
        """Return images of the model's size, float32."""
        side = self._resolution

        def resized() -> tf.Tensor:
            return tf.raw_ops.ResizeBicubic(images=images, size=[side, side])

        # The kernel takes its time where there is nothing to do, too.
        is_right = tf.reduce_all(tf.equal(tf.shape(images)[1:3], side))
        as_given = functools.partial(tf.cast, images, tf.float32)
        outputs = tf.cond(is_right, as_given, resized)
        return tf.ensure_shape(outputs, [None, side, side, 3])


def preprocess_or_mark(
    encoded: tf.Tensor, preprocess: Preprocess, resolution: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Preprocess an image, or return a black one marked as invalid.

    A graph cannot catch errors, but a tf.data pipeline can drop what failed:
    the first element of what is left and a default is the answer.

    Args:
        encoded: string [].
        preprocess: string [] -> float32 [resolution, resolution, 3].
        resolution: Side of the image in pixels.

    Returns:
        image: float32 [resolution, resolution, 3] in [0, 255].
        is_valid: bool [].
    """
    shape = [resolution, resolution, 3]

    def attempt(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.ensure_shape(preprocess(encoded), shape), tf.constant(True)

    default = tf.data.Dataset.from_tensors((tf.zeros(shape), False))
    attempted = tf.data.Dataset.from_tensors(encoded).map(attempt)
    attempted = attempted.ignore_errors()
    return attempted.concatenate(default).take(1).get_single_element()


def check(
    *,
    directory: str,
    model: keras.Model,
    images: np.ndarray,
    preprocess: Preprocess,
    tolerance: float = 1e-3,
) -> float:
    """Load a SavedModel again and compare it with the model it was made from.

    Args:
        directory: What `export` wrote.
        model: What it was made from.
        images: uint8 [num_images, height, width, 3].
        preprocess: As given to `export`.
        tolerance: Of probabilities.

    Returns:
        The largest difference of a probability.

    Raises:
        ValueError: A difference exceeds the tolerance, a good image is marked
            invalid, or a corrupt one is not.
    """
    encoded = [tf.io.encode_png(image) for image in images]
    pixels = tf.stack([preprocess(picture) for picture in encoded])
    expected = tf.nn.softmax(model(pixels, training=False)).numpy()
    signatures = tf.saved_model.load(directory).signatures
    served = signatures["serving_default"](
        image_bytes=tf.stack([*encoded, tf.constant(b"corrupt")])
    )
    if served["valid"].numpy().tolist() != [True] * len(images) + [False]:
        raise ValueError(
            f"{directory}: valid={served['valid'].numpy().tolist()} for "
            f"{len(images)} good images and a corrupt one. Export the model "
            "again; if that does not help, `preprocess` cannot decode PNG."
        )
    logits = signatures["images"](images=pixels)["logits"]
    difference = max(
        float(np.abs(served["probabilities"][:-1] - expected).max()),
        float(np.abs(tf.nn.softmax(logits) - expected).max()),
    )
    # A NaN fails too.
    if not difference <= tolerance:
        raise ValueError(
            f"{directory}: probabilities differ from the model's by "
            f"{difference:.2g}; accepted is {tolerance:.2g}. Export it again "
            "from the model that is compared."
        )
    return difference
