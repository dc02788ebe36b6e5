import base64
import dataclasses
import io
import json
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import PIL.Image
import pytest
import sklearn.datasets
import tensorflow as tf
from scipy import special
from tensorflow.core.protobuf import saved_model_pb2

from noisy_student_tf import files
from noisy_student_tf.model import folding
from noisy_student_tf.pipeline import decoders
from noisy_student_tf.serving import exported, saved_model, served
from tests import rounding
from tests.model import small_specs

RESOLUTION = 16
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)


def prepare(image):
    resized = tf.raw_ops.ResizeBicubic(
        images=image[tf.newaxis], size=[RESOLUTION, RESOLUTION]
    )
    return resized[0]


preprocess = served.Preprocess(decode=decoders.decode, prepare=prepare)


def encode(image):
    return tf.io.encode_png(image).numpy()


def write(model, directory, **options):
    saved_model.export(
        model=model,
        spec=dataclasses.asdict(model.spec),
        directory=directory,
        training_fingerprint="0123abcd",
        preprocess=preprocess,
        crop="whole",
        **options,
    )


@pytest.fixture(scope="module")
def model():
    spec = small_specs.make_spec(class_names=("cat", "dog", "elk"))
    return small_specs.make_calibrated(spec)


@pytest.fixture(scope="module")
def directory(model, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("export") / "saved_model")
    write(model, path)
    return path


@pytest.fixture(scope="module")
def signatures(directory):
    return tf.saved_model.load(directory).signatures


def expected_logits(model):
    resized = tf.raw_ops.ResizeBicubic(
        images=IMAGES, size=[RESOLUTION, RESOLUTION]
    )
    return model(resized).numpy()


def test_encoded_images_of_several_sizes(model, signatures):
    large = np.repeat(np.repeat(IMAGES[0], 2, axis=0), 2, axis=1)
    encoded = [encode(IMAGES[0]), encode(large)]
    outputs = signatures["serving_default"](image_bytes=tf.constant(encoded))
    logits = expected_logits(model)
    np.testing.assert_allclose(
        outputs["probabilities"][0],
        tf.nn.softmax(logits[0]),
        atol=rounding.of_probabilities(model, logits),
    )
    best = outputs["probabilities"].numpy().argmax(axis=1)
    np.testing.assert_array_equal(outputs["classes"], best)
    names = [np.array([b"cat", b"dog", b"elk"])[i] for i in best]
    assert outputs["class_names"].numpy().tolist() == names


def test_energies_are_of_logits(model, signatures):
    encoded = tf.constant([*map(encode, IMAGES), b"no image"])
    energies = signatures["serving_default"](image_bytes=encoded)["energies"]
    logits = expected_logits(model)
    np.testing.assert_allclose(
        energies[:-1],
        -special.logsumexp(logits, axis=-1),
        atol=rounding.of_logits(model, logits),
    )
    assert energies[-1] == 0


def test_pictures_are_made_images_for_other_runtimes(signatures):
    encoded = tf.constant([encode(IMAGES[0]), b"no image"])
    outputs = signatures["preprocess"](image_bytes=encoded)
    assert outputs["valid"].numpy().tolist() == [True, False]
    np.testing.assert_array_equal(outputs["images"][0], prepare(IMAGES[0]))
    assert not outputs["images"].numpy()[1].any()


def test_corrupt_image_does_not_fail_its_batch(model, signatures):
    good = encode(IMAGES[0])
    jpeg = tf.io.encode_jpeg(IMAGES[1]).numpy()
    batch = [good, b"no image", b"", jpeg[: len(jpeg) // 2], good]
    outputs = signatures["serving_default"](image_bytes=tf.constant(batch))
    valid = [True, False, False, False, True]
    assert outputs["valid"].numpy().tolist() == valid
    assert not outputs["probabilities"].numpy()[1:4].any()
    np.testing.assert_array_equal(outputs["classes"][1:4], [-1, -1, -1])
    assert outputs["class_names"].numpy().tolist()[1:4] == [b"", b"", b""]
    np.testing.assert_allclose(
        outputs["probabilities"][0],
        outputs["probabilities"][4],
        atol=rounding.of_probabilities(model, expected_logits(model)),
    )
    np.testing.assert_allclose(
        outputs["probabilities"].numpy()[[0, 4]].sum(axis=1), 1, atol=1e-5
    )


def test_pixels_of_any_size(model, signatures):
    expected = expected_logits(model)
    from_float = signatures["images"](images=IMAGES.astype(np.float32))
    from_uint8 = signatures["images_uint8"](images=IMAGES)
    for outputs in (from_float, from_uint8):
        np.testing.assert_allclose(
            outputs["logits"], expected, rtol=1e-4, atol=1e-4
        )


def test_pixels_of_the_right_size_are_not_resized(model, signatures):
    images = IMAGES[:, :RESOLUTION, :RESOLUTION]
    outputs = signatures["images_uint8"](images=images)
    np.testing.assert_allclose(
        outputs["logits"], model(images), rtol=1e-4, atol=1e-4
    )


def test_features(model, signatures):
    images = IMAGES[:, :RESOLUTION, :RESOLUTION].astype(np.float32)
    outputs = signatures["features"](images=images)
    np.testing.assert_allclose(
        outputs["features"], model.features(images), rtol=1e-3, atol=1e-4
    )


def test_assets(model, directory):
    assets = files.join(directory, "assets")
    names = files.read_text(files.join(assets, "class_names.txt"))
    assert names.split() == ["cat", "dog", "elk"]
    preprocessing = files.read_json(files.join(assets, "preprocessing.json"))
    assert preprocessing["crop"] == "whole"
    assert preprocessing["resolution"] == RESOLUTION
    assert preprocessing["mean_rgb"] == list(model.spec.mean_rgb)
    description = files.read_json(files.join(assets, "model.json"))
    assert description["training_fingerprint"] == "0123abcd"
    assert description["export_version"] == exported.VERSION
    assert description["width"] == model.spec.width


def test_check_accepts_what_was_exported(model, directory):
    difference = saved_model.check(
        directory=directory, model=model, images=IMAGES, preprocess=preprocess
    )
    tolerance = rounding.of_probabilities(model, expected_logits(model))
    assert 0 <= difference < tolerance


def test_check_refuses_another_model(model, directory):
    other = small_specs.make_calibrated(model.spec, seed=5)
    with pytest.raises(ValueError, match="differ from the model's"):
        saved_model.check(
            directory=directory,
            model=other,
            images=IMAGES,
            preprocess=preprocess,
        )


def _without_orientation(encoded):
    is_jpeg = tf.strings.substr(encoded, 0, 2) == b"\xff\xd8"
    return tf.cond(
        is_jpeg,
        lambda: decoders.jpeg(encoded),
        lambda: decoders.decode(encoded),
    )


def _without_clear_colors(encoded):
    # Of palettes: their type of color stands in byte 25.
    has_palette = tf.strings.substr(encoded, 25, 1) == b"\x03"
    return tf.cond(
        has_palette,
        lambda: decoders.plain_png(encoded),
        lambda: decoders.decode(encoded),
    )


def _without_depth(encoded):
    # Of 16 bits, without alpha: the lowest ones.
    is_deep = tf.strings.substr(encoded, 24, 2) == b"\x10\x00"

    def low():
        image = tf.io.decode_png(encoded, 3, dtype=tf.uint16)
        return tf.cast(image // 2, tf.uint8)

    return tf.cond(is_deep, low, lambda: decoders.decode(encoded))


@pytest.mark.parametrize(
    "decode", [_without_orientation, _without_clear_colors, _without_depth]
)
def test_check_refuses_an_export_that_decodes_otherwise(
    model, tmp_path, decode
):
    path = str(tmp_path / "saved_model")
    saved_model.export(
        model=model,
        spec=dataclasses.asdict(model.spec),
        directory=path,
        training_fingerprint="",
        preprocess=dataclasses.replace(preprocess, decode=decode),
        crop="whole",
    )
    with pytest.raises(ValueError, match="differ from the model's"):
        saved_model.check(
            directory=path, model=model, images=IMAGES, preprocess=preprocess
        )


def test_check_refuses_an_export_that_cannot_decode(model, monkeypatch):
    def serve(image_bytes):
        return {"valid": tf.zeros(image_bytes.shape, tf.bool)}

    loaded = types.SimpleNamespace(signatures={"serving_default": serve})
    monkeypatch.setattr(tf.saved_model, "load", lambda directory: loaded)
    with pytest.raises(ValueError, match=r"valid=\[False, False, False, False"):
        saved_model.check(
            directory="export",
            model=model,
            images=IMAGES,
            preprocess=preprocess,
        )


@pytest.mark.parametrize("place", ["local", "ram://exported/saved_model"])
def test_an_earlier_export_is_replaced(model, place, tmp_path):
    path = str(tmp_path / "saved_model") if place == "local" else place
    files.make_directories(path)
    files.write_text(files.join(path, "left_over.txt"), "old")
    write(model, path)
    assert not files.exists(files.join(path, "left_over.txt"))
    assert tf.saved_model.contains_saved_model(path)


def test_failed_export_leaves_the_earlier_one(model, tmp_path):
    path = str(tmp_path / "saved_model")
    files.make_directories(path)
    files.write_text(files.join(path, "kept.txt"), "old")

    def fail(encoded):
        raise NotImplementedError("no preprocessing")

    with pytest.raises(NotImplementedError):
        saved_model.export(
            model=model,
            spec=dataclasses.asdict(model.spec),
            directory=path,
            training_fingerprint="",
            preprocess=served.Preprocess(decode=fail, prepare=prepare),
            crop="whole",
        )
    assert files.list_directory(str(tmp_path)) == ["saved_model"]
    assert files.list_directory(path) == ["kept.txt"]


def test_folded_model_serves_the_same_logits(model, tmp_path):
    folded = folding.fold(model)
    folded.spec = model.spec
    path = str(tmp_path / "saved_model")
    write(folded, path)
    loaded = tf.saved_model.load(path)
    outputs = loaded.signatures["images_uint8"](images=IMAGES)
    expected = expected_logits(model)
    np.testing.assert_allclose(
        outputs["logits"],
        expected,
        rtol=0,
        atol=rounding.of_logits(model, expected),
    )
    differing = saved_model.check(
        directory=path, model=model, images=IMAGES, preprocess=preprocess
    )
    assert differing < rounding.of_probabilities(model, expected)


def test_exif_orientation_is_applied_inside(model, tmp_path):
    path = str(tmp_path / "saved_model")
    saved_model.export(
        model=model,
        spec=dataclasses.asdict(model.spec),
        directory=path,
        training_fingerprint="",
        preprocess=served.Preprocess(decode=decoders.decode, prepare=prepare),
        crop="whole",
    )
    # As stored by a camera held sideways; 6: turn it clockwise.
    blocks = PIL.Image.fromarray(IMAGES[0, :3, :4]).resize((64, 48), 0)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    turned, stored = io.BytesIO(), io.BytesIO()
    blocks.save(turned, "JPEG", quality=95, exif=exif)
    blocks.save(stored, "JPEG", quality=95)
    upright_pixels = tf.io.decode_jpeg(stored.getvalue())
    upright_pixels = np.rot90(upright_pixels, k=-1)
    loaded = tf.saved_model.load(path)
    outputs = loaded.signatures["serving_default"](
        image_bytes=tf.constant(
            [turned.getvalue(), stored.getvalue(), encode(upright_pixels)]
        )
    )
    first, without_exif, expected = outputs["probabilities"].numpy()
    logits = model(preprocess(encode(upright_pixels))[tf.newaxis])
    tolerance = rounding.of_probabilities(model, logits)
    np.testing.assert_allclose(first, expected, atol=tolerance)
    assert np.abs(without_exif - expected).max() > 1e-3


def test_serves_real_images_with_tensorflow_alone(model, directory):
    """Bytes in, probabilities out, in a process that cannot import ours."""
    digits = sklearn.datasets.load_digits().images[:5] * 15
    pictures = [
        tf.io.encode_png(np.uint8(digit)[..., np.newaxis]).numpy()
        for digit in digits
    ]
    script = (
        "import base64, json, sys\n"
        "for name in ('noisy_student_tf', 'data_prep', 'run_scripts'):\n"
        "    sys.modules[name] = None\n"
        "import tensorflow as tf\n"
        "pictures = [base64.b64decode(x) for x in json.load(sys.stdin)]\n"
        "loaded = tf.saved_model.load(sys.argv[1])\n"
        "serve = loaded.signatures['serving_default']\n"
        "outputs = serve(image_bytes=tf.constant(pictures))\n"
        "print(json.dumps(outputs['probabilities'].numpy().tolist()))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-I", "-c", script, directory],
        input=json.dumps([base64.b64encode(x).decode() for x in pictures]),
        capture_output=True,
        text=True,
        check=True,
    )
    pixels = tf.stack([preprocess(picture) for picture in pictures])
    logits = model(pixels)
    np.testing.assert_allclose(
        json.loads(finished.stdout),
        tf.nn.softmax(logits),
        atol=rounding.of_probabilities(model, logits),
    )


def test_serves_from_c_without_python(model, directory):
    """As TensorFlow Serving does: the C++ loader, a session, no Python."""
    signature = "serving_default"
    definition = saved_model_pb2.SavedModel.FromString(
        files.read_bytes(files.join(directory, "saved_model.pb"))
    )
    names = definition.meta_graphs[0].signature_def[signature]
    picture = encode(IMAGES[0])
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.serving import c_library\n"
        "import json\n"
        "probabilities = c_library.classify(*sys.argv[2:])\n"
        "assert 'tensorflow' not in sys.modules\n"
        "print(json.dumps(probabilities))\n"
    )
    finished = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            script,
            str(pathlib.Path(__file__).parents[2]),
            os.path.dirname(tf.__file__),
            directory,
            names.inputs["image_bytes"].name,
            names.outputs["probabilities"].name,
            picture.hex(),
        ],
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    logits = expected_logits(model)
    np.testing.assert_allclose(
        [json.loads(finished.stdout)],
        tf.nn.softmax(logits[:1]),
        atol=rounding.of_probabilities(model, logits),
    )
