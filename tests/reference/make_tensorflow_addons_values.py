"""Write what tensorflow-addons 0.23 computes, for tests to compare with.

It runs in an environment of its own (see requirements.txt):

    uv venv --python 3.11 .tfa
    uv pip install --python .tfa/bin/python -r tests/reference/requirements.txt
    .tfa/bin/python tests/reference/make_tensorflow_addons_values.py

and writes tests/golden/tensorflow_addons.npz: `images` uint8 [2, 24, 32, 3], a
result for each `operation|argument`, and the weights of 8 steps of its
MovingAverage and LAMB optimizers.
"""

import pathlib
import warnings

import numpy as np
import tensorflow as tf

warnings.filterwarnings("ignore")
import tensorflow_addons as tfa  # noqa: E402

OUTPUT = (
    pathlib.Path(__file__).parent.parent / "golden" / "tensorflow_addons.npz"
)
NUM_STEPS = 8
LEARNING_RATE = 0.1
AVERAGE_DECAY = 0.9
LAMB_WEIGHT_DECAY = 0.01
FILL = 128.0


def make_images():
    """Return a smooth image and noise, uint8 [2, 24, 32, 3]."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[0:24, 0:32]
    smooth = np.stack([rows * 9, columns * 7, rows + columns * 2 + 40], -1)
    noise = rng.integers(0, 256, (24, 32, 3))
    return np.stack([smooth, noise]).astype(np.uint8)


def image_values(images):
    """Return uint8 [2, 24, 32, 3] for each operation and argument."""
    constant = {"fill_mode": "constant", "fill_value": FILL}
    tensor = tf.constant(images)
    values = {}
    for degrees in (-30.0, 15.0, 81.0):
        values[f"rotate|{degrees}"] = tfa.image.rotate(
            tensor, np.radians(degrees), **constant
        )
    for slope in (0.3, -0.81):
        # Each image by itself: its shears take one image of bytes.
        values[f"shear_x|{slope}"] = tf.stack(
            [tfa.image.shear_x(i, slope, [int(FILL)] * 3) for i in images]
        )
        values[f"shear_y|{slope}"] = tf.stack(
            [tfa.image.shear_y(i, slope, [int(FILL)] * 3) for i in images]
        )
    for pixels in (5.0, -9.0):
        values[f"translate_x|{pixels}"] = tfa.image.translate(
            tensor, [-pixels, 0.0], **constant
        )
        values[f"translate_y|{pixels}"] = tfa.image.translate(
            tensor, [0.0, -pixels], **constant
        )
    values["equalize|"] = tfa.image.equalize(tensor)
    for factor in (0.0, 0.28, 1.72):
        values[f"sharpness|{factor}"] = tfa.image.sharpness(tensor, factor)
    values["cutout|4"] = tfa.image.cutout(
        tensor, (8, 8), offset=(12, 10), constant_values=int(FILL)
    )
    return {name: np.asarray(value) for name, value in values.items()}


def optimizer_values():
    """Return gradients and the weights that two optimizers make of them."""
    rng = np.random.default_rng(6)
    gradients = rng.normal(size=(NUM_STEPS, 5)).astype(np.float32)
    initial = rng.normal(size=5).astype(np.float32)

    def run(optimizer, after_step):
        weights = tf.Variable(initial, name="weights")
        rows = []
        for gradient in gradients:
            optimizer.apply_gradients([(tf.constant(gradient), weights)])
            rows.append(after_step(optimizer, weights))
        return np.stack(rows)

    average = tfa.optimizers.MovingAverage(
        tf.keras.optimizers.legacy.SGD(LEARNING_RATE),
        average_decay=AVERAGE_DECAY,
        dynamic_decay=True,
    )
    lamb, decaying_lamb = (
        tfa.optimizers.LAMB(learning_rate=LEARNING_RATE, weight_decay_rate=rate)
        for rate in (0.0, LAMB_WEIGHT_DECAY)
    )
    return {
        "initial": initial,
        "gradients": gradients,
        "moving_average": run(
            average,
            lambda optimizer, weights: optimizer.get_slot(
                weights, "average"
            ).numpy(),
        ),
        "lamb": run(lamb, lambda _, weights: weights.numpy()),
        "decaying_lamb": run(decaying_lamb, lambda _, weights: weights.numpy()),
    }


def main():
    """Write the file."""
    images = make_images()
    values = {
        "images": images,
        **image_values(images),
        **optimizer_values(),
    }
    np.savez_compressed(OUTPUT, **values)
    for name, value in values.items():
        print(name, value.shape, value.dtype)


if __name__ == "__main__":
    main()
