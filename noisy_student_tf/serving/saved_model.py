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
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import keras
import numpy as np
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.serving import exported

# Of probabilities.
_TOLERANCE = 1e-3


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


def export(
    *,
    model: Model,
    spec: Mapping[str, Any],
    directory: str,
    training_fingerprint: str,
    preprocess: Preprocess,
    crop: Literal["center", "whole"],
) -> None:
    """Write a SavedModel; an earlier one in its place is replaced.

    Args:
        model: What is served: an EfficientNet, or what has its `features`,
            `classifier` and `variables`.
        spec: What the model was made from, a specification's fields.
        directory: Appears when the SavedModel in it is complete, unless it is
            remote: there the manifest of the stage tells.
        training_fingerprint: Of the weights, kept in the assets.
        preprocess: Decodes, turns, crops and resizes one encoded image, in
            the graph.
        crop: Which crop that is; kept in the assets.
    """
    # Should it fail, it fails here: an error while tf.map_fn is traced leaves
    # the process in a state in which no strategy's scope can be entered.
    tf.function(
        preprocess,
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    ).get_concrete_function()
    assets = describe(
        spec=spec, crop=crop, training_fingerprint=training_fingerprint
    )
    with tempfile.TemporaryDirectory() as asset_directory:
        for name, content in assets.items():
            files.write_text(files.join(asset_directory, name), content)
        module = _ServedModel(
            model,
            class_names=_class_names(spec),
            preprocess=preprocess,
            resolution=spec["resolution"],
            asset_paths=[files.join(asset_directory, name) for name in assets],
        )
        _write(module, directory)


def in_memory(
    *, model: Model, spec: Mapping[str, Any], preprocess: Preprocess
) -> exported.Exported:
    """Return what a SavedModel of a model would do, without writing one.

    Args:
        model: As given to `export`, as are the others.
        spec: What the model was made from, a specification's fields.
        preprocess: Makes one image of an encoded picture.
    """
    class_names = _class_names(spec)
    module = _ServedModel(
        model,
        class_names=class_names,
        preprocess=preprocess,
        resolution=spec["resolution"],
        asset_paths=[],
    )
    return exported.Exported(
        directory="",
        class_names=class_names,
        model=dict(spec),
        preprocessing={},
        signatures=module.functions(),
        loaded=module,
    )


def describe(
    *,
    spec: Mapping[str, Any],
    crop: Literal["center", "whole"],
    training_fingerprint: str,
) -> dict[str, str]:
    """Return the texts that accompany a model in whatever format, by name.

    Args:
        spec: What the model was made from, a specification's fields.
        crop: Of test images.
        training_fingerprint: Of the weights.
    """
    preprocessing = {
        "crop": crop,
        "resolution": spec["resolution"],
        "resize": "bicubic, no half-pixel centers, no antialiasing",
        "value_range": [0, 255],
        "mean_rgb": spec["mean_rgb"],
        "std_rgb": spec["std_rgb"],
        "exif_orientation": "applied to JPEG, ignored in other formats",
    }
    model = {
        "export_version": exported.VERSION,
        **spec,
        "training_fingerprint": training_fingerprint,
    }
    return {
        "class_names.txt": "".join(f"{name}\n" for name in _class_names(spec)),
        "preprocessing.json": json.dumps(preprocessing, indent=2) + "\n",
        "model.json": json.dumps(model, indent=2) + "\n",
    }


def _class_names(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one name a class; their numbers, where none are known."""
    return spec["class_names"] or tuple(map(str, range(spec["num_classes"])))


class _ServedModel(tf.Module):
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
            "images": (self._serve_logits, images),
            "images_uint8": (self._serve_logits, images_uint8),
            "features": (self._serve_features, images),
        }
        return {
            name: tf.function(serve, input_signature=[spec], autograph=False)
            for name, (serve, spec) in inputs.items()
        }

    def _serve_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
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
        probabilities = tf.nn.softmax(self._classify(images))
        best = tf.argmax(probabilities, axis=-1)
        names = tf.gather(self.class_names, best)
        return {
            "probabilities": tf.where(valid[:, None], probabilities, 0.0),
            "classes": tf.where(valid, best, -1),
            "class_names": tf.where(valid, names, ""),
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
        lambda: tf.ensure_shape(preprocess.prepare(picture, encoded), shape),
        lambda: tf.zeros(shape),
    )
    return image, is_valid


def _write(module: _ServedModel, directory: str) -> None:
    signatures = module.functions()
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


def check(
    *,
    directory: str,
    model: keras.Model,
    images: np.ndarray,
    preprocess: Preprocess,
) -> float:
    """Load a SavedModel again and compare it with the model it was made from.

    Args:
        directory: What `export` wrote.
        model: What it was made from.
        images: uint8 [num_images, height, width, 3].
        preprocess: As given to `export`.

    Returns:
        The largest difference of a probability.

    Raises:
        ValueError: A difference is too large, a good image is marked
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
    if not difference <= _TOLERANCE:
        raise ValueError(
            f"{directory}: probabilities differ from the model's by "
            f"{difference:.2g}; accepted is {_TOLERANCE:.2g}. Export it again "
            "from the model that is compared."
        )
    return difference
