import dataclasses

import h5py
import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.model import architectures, saved, specs
from tests.model import small_specs

SPEC = small_specs.make_spec(num_classes=2)
IMAGES = tf.cast(
    tf.reshape(tf.range(2 * 16 * 16 * 3) % 256, [2, 16, 16, 3]), "uint8"
)


@pytest.fixture(scope="module")
def models():
    spec = small_specs.make_spec()
    return [small_specs.make_calibrated(spec, seed) for seed in (1, 2)]


@pytest.fixture
def directory(models, tmp_path):
    model, ema_model = models
    path = str(tmp_path / "teacher")
    saved.save(path, model=model, ema_model=ema_model, spec=model.spec)
    return path


@pytest.mark.parametrize("path", ["local", "ram://saved/teacher"])
def test_round_trip_keeps_the_outputs(models, path, tmp_path):
    path = str(tmp_path / path) if path == "local" else path
    model, ema_model = models
    saved.save(path, model=model, ema_model=ema_model, spec=model.spec)
    for weights, original in (("raw", model), ("ema", ema_model)):
        loaded, spec = saved.load(path, weights=weights)
        assert spec == model.spec
        np.testing.assert_array_equal(loaded(IMAGES), original(IMAGES))
    assert (model(IMAGES).numpy() != ema_model(IMAGES).numpy()).any()


def test_fingerprint_follows_the_averaged_weights(models, directory, tmp_path):
    model, ema_model = models
    other = str(tmp_path / "other")
    saved.save(other, model=ema_model, ema_model=ema_model, spec=model.spec)
    assert saved.fingerprint(other) == saved.fingerprint(directory)
    saved.save(other, model=model, ema_model=model, spec=model.spec)
    assert saved.fingerprint(other) != saved.fingerprint(directory)


def test_missing_model_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run_scripts.noisy_student"):
        saved.load(str(tmp_path))


def test_file_of_weights_is_answered_with_the_importer(tmp_path):
    path = tmp_path / "b0.safetensors"
    path.write_bytes(b"weights")
    with pytest.raises(ValueError, match=rf"import_weights --source={path} "):
        saved.load_spec(str(path))


def test_missing_weights_file(directory):
    files.remove(saved.weights_path(directory, "ema"))
    with pytest.raises(FileNotFoundError, match=r"ema.weights.h5"):
        saved.load(directory)


def change(directory, edit):
    with h5py.File(saved.weights_path(directory, "ema"), "a") as file:
        edit(file)


def test_missing_weight_is_named_with_the_file(directory):
    def edit(file):
        del file["block_1/expand_conv/kernel"]

    change(directory, edit)
    with pytest.raises(
        ValueError,
        match=r"ema.weights.h5: 1 .*block_1/expand_conv/kernel is missing",
    ):
        saved.load(directory)


def test_unknown_weight_is_named(directory):
    change(directory, lambda file: file.create_dataset("extra/bias", data=1.0))
    with pytest.raises(ValueError, match="extra/bias is unknown"):
        saved.load(directory)


def test_wrong_shape_is_named(directory):
    def edit(file):
        del file["classifier/bias"]
        file.create_dataset("classifier/bias", data=np.zeros(5, np.float32))

    change(directory, edit)
    with pytest.raises(
        ValueError, match=r"classifier/bias has shape \(5,\), not \(3,\)"
    ):
        saved.load(directory)


def test_truncated_file(directory):
    path = saved.weights_path(directory, "ema")
    files.write_bytes(path, files.read_bytes(path)[:1000])
    with pytest.raises(ValueError, match=r"ema.weights.h5: not a readable"):
        saved.load(directory)


def test_tensorflow_checkpoint_keeps_the_outputs(models, tmp_path):
    model, _ = models
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    restored = architectures.build(model.spec, seed=9)
    assert (restored(IMAGES).numpy() != model(IMAGES).numpy()).any()
    status = tf.train.Checkpoint(model=restored).read(path)
    status.assert_consumed()
    np.testing.assert_array_equal(restored(IMAGES), model(IMAGES))


def test_body_is_taken_and_another_head_is_kept():
    source = architectures.build(small_specs.make_spec(num_classes=3), seed=1)
    model = architectures.build(SPEC, seed=2)
    kernel = model.classifier.kernel.numpy()
    saved.copy_weights(model, source)
    np.testing.assert_array_equal(model.classifier.kernel, kernel)
    np.testing.assert_array_equal(
        model.blocks[-1].project_conv.kernel,
        source.blocks[-1].project_conv.kernel,
    )


def test_head_is_taken_where_the_classes_are_the_same():
    source, model = (architectures.build(SPEC, seed=seed) for seed in (1, 2))
    saved.copy_weights(model, source)
    for mine, theirs in zip(model.variables, source.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_other_names_are_other_classes():
    named = dataclasses.replace(SPEC, class_names=("cat", "dog"))
    others = dataclasses.replace(SPEC, class_names=("dog", "cat"))
    assert saved.can_keep_head(named, SPEC)
    assert saved.can_keep_head(named, named)
    assert not saved.can_keep_head(named, others)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"width": 0.5}, "--model.width=0.5"),
        ({"depth": 0.6}, "--model.depth=0.6"),
        ({"mean_rgb": (1.0, 2.0, 3.0)}, "--model.mean_rgb=1,2,3"),
    ],
)
def test_what_does_not_fit_is_told_with_the_flags(changes, message):
    with pytest.raises(ValueError, match=message):
        saved.check_same_body(
            SPEC, dataclasses.replace(SPEC, **changes), flag="--flag=x"
        )


def test_resolution_strides_and_classes_may_differ():
    other = dataclasses.replace(
        SPEC, resolution=99, small_image_strides=True, num_classes=9
    )
    saved.check_same_body(SPEC, other, flag="--flag=x")


@pytest.fixture
def start_directory(tmp_path):
    """A model of the tiny preset's architecture; its weights do not matter."""
    model = presets.preset("tiny").model
    spec = architectures.make_spec(model, num_classes=7, class_names=())
    path = files.join(str(tmp_path), saved.SPEC_FILE)
    files.write_text(path, specs.to_json(spec))
    return str(tmp_path)


def check(**overrides):
    names = {
        "initial": "model.initial_weights",
        "teacher": "self_training.teacher_directory",
        "students": "self_training.initialize_students_from",
        "teacher_width": "self_training.teacher_width",
        "width": "model.width",
    }
    values = {names[name]: value for name, value in overrides.items()}
    config = config_tree.override(presets.preset("tiny"), values)
    saved.check_starts(config, config.model.initial_weights)


def test_fitting_starts_are_accepted(start_directory):
    check()
    check(initial=start_directory)
    check(initial=start_directory, students="initial_weights")
    check(
        initial=start_directory,
        teacher=start_directory,
        students="initial_weights",
    )
    check(students="teacher")
    check(students="teacher", teacher=start_directory)
    # The teacher alone begins with them; its students are wider.
    check(initial=start_directory, width=0.5, teacher_width=0.25)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"students": "initial_weights"}, "--model.initial_weights=DIR"),
        ({"students": "teacher", "teacher_width": 0.1}, "model.width=0.1"),
        ({"initial": "here", "width": 0.5}, "model.width=0.25"),
        (
            {
                "initial": "here",
                "students": "initial_weights",
                "width": 0.5,
                "teacher_width": 0.25,
            },
            "model.width=0.25",
        ),
        ({"initial": "here", "teacher": "here"}, "nothing begins with it"),
    ],
)
def test_what_cannot_begin_is_told(start_directory, overrides, message):
    for name, value in overrides.items():
        overrides[name] = start_directory if value == "here" else value
    with pytest.raises(ValueError, match=message):
        check(**overrides)


def test_missing_weights_are_told():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        check(initial="nowhere")


def test_a_model_begins_with_the_averages(tmp_path):
    spec = small_specs.make_spec()
    raw, ema = (small_specs.make_calibrated(spec, seed) for seed in (1, 2))
    saved.save(str(tmp_path), model=raw, ema_model=ema, spec=spec)
    model = small_specs.make_calibrated(spec, seed=3)
    saved.start_from(str(tmp_path), spec)(model)
    assert (model.stem_conv.kernel.numpy() == ema.stem_conv.kernel).all()
