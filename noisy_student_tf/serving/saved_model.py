"""A trained model as a SavedModel that serves encoded images.

Its signatures are those of `served`.

Assets: `class_names.txt`, a line a class; `preprocessing.json`; `model.json`,
what the model is and the fingerprint of its weights.
"""

import io
import json
import tempfile
from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from noisy_student_tf import files
from noisy_student_tf.serving import exported, served

# Of probabilities.
_TOLERANCE = 1e-3
# EXIF: to be seen upright, what is stored is turned clockwise.
_ORIENTATION_TAG, _TURNED_CLOCKWISE = 0x0112, 6


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
        "formats": "JPEG, PNG, WebP without animation, BMP of 24 bits",
        "exif_orientation": "applied, as it stands before a PNG's pixels",
        "transparency": "laid on white",
        "16_bits": "high byte; of 12 bits in 16 the highest 8",
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

    It is given pictures in files of several kinds, the model their pixels.

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
    samples = _sample_files(images, preprocess)
    plain = [tf.io.encode_png(image) for image, _ in samples]
    pixels = tf.stack([preprocess(picture) for picture in plain])
    encoded = [tf.constant(content) for _, content in samples]
    expected = tf.nn.softmax(model(pixels, training=False)).numpy()
    signatures = tf.saved_model.load(directory).signatures
    answers = signatures["serving_default"](
        image_bytes=tf.stack([*encoded, tf.constant(b"corrupt")])
    )
    _check_valid(answers["valid"].numpy().tolist(), len(encoded), directory)
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


def _check_valid(valid: list[bool], num_good: int, directory: str) -> None:
    """Check that all pictures but the last could be decoded."""
    if valid != [True] * num_good + [False]:
        raise ValueError(
            f"{directory}: valid={valid} for {num_good} good images and a "
            "corrupt one. Export the model again; if that does not help, "
            "`preprocess` cannot decode PNG or WebP."
        )


def _sample_files(
    images: np.ndarray, preprocess: served.Preprocess
) -> list[tuple[np.ndarray, bytes]]:
    """Return pixels, and a file that is to be read as these pixels.

    All images are PNG, and the first one is in files of other kinds, too:
    turned, and with its left half transparent, above other colors; of 16 bits,
    of a palette, and of black and white.
    """
    samples = [(image, _encode(image)) for image in images]
    image = images[0]
    middle = image.shape[1] // 2
    white, hidden = image.copy(), image.copy()
    white[:, :middle] = 255
    hidden[:, :middle] = 0
    alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
    alpha[:, :middle] = 0
    transparent = np.concatenate([hidden, alpha], axis=-1)
    deep = transparent.astype(np.uint16) * 257
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = _TURNED_CLOCKWISE
    stored = np.ascontiguousarray(np.rot90(image))
    photograph = _encode(stored, "JPEG")
    # JPEG changes pixels; nothing but turning them is compared.
    lossy = preprocess.decode(tf.constant(photograph)).numpy()
    gray = np.repeat(image[..., :1], 3, axis=-1)
    ink = Image.fromarray(image).convert("1")
    palette = Image.fromarray(image).quantize(16)
    paper = palette.copy()
    # The color that paints the first pixel.
    paper.info["transparency"] = palette.getpixel((0, 0))
    return [
        *samples,
        (white, _encode(transparent)),
        (white, _encode(transparent, "WEBP", lossless=True, exact=True)),
        (white, tf.io.encode_png(deep).numpy()),
        (image, _encode(stored, exif=exif)),
        (np.rot90(lossy, -1), _encode(stored, "JPEG", exif=exif)),
        (image, _encode(image, "BMP")),
        (gray, _encode(image[..., 0].astype(np.uint16) * 257)),
        (_rgb(ink), _encode(ink)),
        (_rgb(palette), _encode(palette)),
        (_on_white(paper), _encode(paper)),
    ]


def _rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def _on_white(image: Image.Image) -> np.ndarray:
    """Return pixels, uint8 [height, width, 3], of which some were clear."""
    pixels = np.array(image.convert("RGBA"))
    pixels[pixels[..., 3] == 0] = 255
    return pixels[..., :3]


def _encode(
    picture: np.ndarray | Image.Image, kind: str = "PNG", **options: Any
) -> bytes:
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
