"""A trained model as a SavedModel that serves encoded images.

Its signatures are those of `served`.

Assets: `class_names.txt`, a line a class; `preprocessing.json`; `model.json`,
what the model is and the fingerprint of its weights.
"""

import json
import tempfile
from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.serving import exported, served

# Of probabilities.
_TOLERANCE = 1e-3


def export(
    *,
    model: served.Model,
    spec: Mapping[str, Any],
    directory: str,
    training_fingerprint: str,
    preprocess: served.Preprocess,
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
        module = served.ServedModel(
            model,
            class_names=served.class_names_of(spec),
            preprocess=preprocess,
            resolution=spec["resolution"],
            asset_paths=[files.join(asset_directory, name) for name in assets],
        )
        _write(module, directory)


def describe(
    *,
    spec: Mapping[str, Any],
    crop: Literal["center", "whole"],
    training_fingerprint: str,
) -> dict[str, str]:
    """Return the texts that accompany a model in whatever format, by name.

    `spec` holds the fields of the model's specification.
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
    names = served.class_names_of(spec)
    return {
        "class_names.txt": "".join(f"{name}\n" for name in names),
        "preprocessing.json": json.dumps(preprocessing, indent=2) + "\n",
        "model.json": json.dumps(model, indent=2) + "\n",
    }


def _write(module: served.ServedModel, directory: str) -> None:
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
    preprocess: served.Preprocess,
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
    answers = signatures["serving_default"](
        image_bytes=tf.stack([*encoded, tf.constant(b"corrupt")])
    )
    if answers["valid"].numpy().tolist() != [True] * len(images) + [False]:
        raise ValueError(
            f"{directory}: valid={answers['valid'].numpy().tolist()} for "
            f"{len(images)} good images and a corrupt one. Export the model "
            "again; if that does not help, `preprocess` cannot decode PNG."
        )
    logits = signatures["images"](images=pixels)["logits"]
    difference = max(
        float(np.abs(answers["probabilities"][:-1] - expected).max()),
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
