"""A small exported model, its classes named after animals."""

import dataclasses
import io

import numpy as np
import PIL.Image

from noisy_student_tf.model import folding
from noisy_student_tf.pipeline import decode, decoders
from noisy_student_tf.serving import saved_model, served
from tests import rounding
from tests.model import small_specs

CLASS_NAMES = ("cat", "dog", "elk")
RESOLUTION = 16
IMAGES = np.random.default_rng(0).integers(
    0, 256, (3, 20, 24, 3), dtype=np.uint8
)


def make_model():
    spec = small_specs.make_spec(class_names=CLASS_NAMES)
    return small_specs.make_calibrated(spec)


def prepare(image):
    return decode.crop_and_resize(image, RESOLUTION, crop="whole")


def write(model, directory: str) -> None:
    saved_model.export(
        model=folding.fold(model),
        spec=dataclasses.asdict(model.spec),
        directory=directory,
        training_fingerprint="0123abcd4567efgh",
        preprocess=served.Preprocess(decode=decoders.decode, prepare=prepare),
        crop="whole",
    )


def encode(image: np.ndarray, image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, image_format)
    return buffer.getvalue()


def probabilities(model, images: np.ndarray) -> np.ndarray:
    """Return what the model says of pixels, without any export."""
    logits = _logits(model, images)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def tolerance(model) -> float:
    """Return by how much probabilities of `IMAGES` may differ."""
    return rounding.of_probabilities(model, _logits(model, IMAGES))


def _logits(model, images: np.ndarray) -> np.ndarray:
    pixels = [decode.resize(image, RESOLUTION) for image in images]
    return model(np.stack(pixels)).numpy()
