import dataclasses

import numpy as np
import pytest

from noisy_student_tf import files
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.model import architectures, saved, specs, starts
from tests.model import small_specs

SPEC = small_specs.make_spec(num_classes=2)


@pytest.mark.parametrize(
    # 320 features, 2 classes: the facts' 0.408 is 1 / sqrt(2 * 3).
    "name, deviation",
    [("published", 0.408), ("fan_in", (320 * 3) ** -0.5), ("zeros", 0.0)],
)
def test_deviation_of_each_initializer(name, deviation):
    model = architectures.build(SPEC)
    model.classifier.bias.assign([1.0, 2.0])
    starts.initialize(model, name, seed=1)
    found = np.std(model.classifier.kernel)
    assert found == pytest.approx(deviation, rel=0.1)
    assert not model.classifier.bias.numpy().any()


def test_body_is_taken_and_another_head_is_kept():
    source = architectures.build(small_specs.make_spec(num_classes=3), seed=1)
    model = architectures.build(SPEC, seed=2)
    kernel = model.classifier.kernel.numpy()
    starts.copy_weights(model, source)
    np.testing.assert_array_equal(model.classifier.kernel, kernel)
    np.testing.assert_array_equal(
        model.blocks[-1].project_conv.kernel,
        source.blocks[-1].project_conv.kernel,
    )


def test_head_is_taken_where_the_classes_are_the_same():
    source, model = (architectures.build(SPEC, seed=seed) for seed in (1, 2))
    starts.copy_weights(model, source)
    for mine, theirs in zip(model.variables, source.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_other_names_are_other_classes():
    named = dataclasses.replace(SPEC, class_names=("cat", "dog"))
    others = dataclasses.replace(SPEC, class_names=("dog", "cat"))
    assert starts.can_keep_head(named, SPEC)
    assert starts.can_keep_head(named, named)
    assert not starts.can_keep_head(named, others)


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
        starts.check_same_body(
            SPEC, dataclasses.replace(SPEC, **changes), flag="--flag=x"
        )


def test_resolution_strides_and_classes_may_differ():
    other = dataclasses.replace(
        SPEC, resolution=99, small_image_strides=True, num_classes=9
    )
    starts.check_same_body(SPEC, other, flag="--flag=x")


@pytest.fixture
def directory(tmp_path):
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
    starts.check(config, config.model.initial_weights)


def test_fitting_starts_are_accepted(directory):
    check()
    check(initial=directory)
    check(initial=directory, students="initial_weights")
    check(initial=directory, teacher=directory, students="initial_weights")
    check(students="teacher")
    check(students="teacher", teacher=directory)
    # The teacher alone begins with them; its students are wider.
    check(initial=directory, width=0.5, teacher_width=0.25)


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
def test_what_cannot_begin_is_told(directory, overrides, message):
    for name, value in overrides.items():
        overrides[name] = directory if value == "here" else value
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
    starts.load(str(tmp_path), spec)(model)
    assert (model.stem_conv.kernel.numpy() == ema.stem_conv.kernel).all()
