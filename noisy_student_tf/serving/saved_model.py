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
from typing import Any, ClassVar, Literal, Protocol

import keras
import numpy as np
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.serving import exported, graph


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
    model: graph.Model,
    spec: Spec,
    directory: str,
    training_fingerprint: str,
    preprocess: graph.Preprocess,
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
        preprocess: Decodes, turns, crops and resizes one encoded image, in
            the graph.
        crop: Which crop that is; kept in the assets.
        resolution: Side of the model's images in pixels, where it is not the
            specification's, as after fine-tuning at a higher one.
    """
    resolution = resolution or spec.resolution
    # Should it fail, it fails here: an error while tf.map_fn is traced leaves
    # the process in a state in which no strategy's scope can be entered.
    tf.function(
        preprocess,
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    ).get_concrete_function()
    assets = describe(
        spec=spec,
        crop=crop,
        resolution=resolution,
        training_fingerprint=training_fingerprint,
    )
    with tempfile.TemporaryDirectory() as asset_directory:
        for name, content in assets.items():
            files.write_text(files.join(asset_directory, name), content)
        paths = [files.join(asset_directory, name) for name in assets]
        module = graph.ServedModel(
            model,
            class_names=_class_names(spec),
            preprocess=preprocess,
            resolution=resolution,
            asset_paths=paths,
        )
        _write(module, directory)


def describe(
    *,
    spec: Spec,
    crop: Literal["center", "whole"],
    resolution: int,
    training_fingerprint: str,
) -> dict[str, str]:
    """Return the texts that accompany a model in whatever format, by name."""
    model = {
        "export_version": exported.VERSION,
        **dataclasses.asdict(spec),
        "training_fingerprint": training_fingerprint,
    }
    return {
        "class_names.txt": "".join(f"{name}\n" for name in _class_names(spec)),
        "preprocessing.json": _describe_preprocessing(spec, crop, resolution),
        "model.json": _to_json(model),
    }


def _write(module: graph.ServedModel, directory: str) -> None:
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
            "exif_orientation": "applied to JPEG, ignored in other formats",
        }
    )


def check(
    *,
    directory: str,
    model: keras.Model,
    images: np.ndarray,
    preprocess: graph.Preprocess,
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
