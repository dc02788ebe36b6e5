import pytest

from noisy_student_tf import files
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.model import saved, specs
from noisy_student_tf.stages import starts
from tests.model import small_specs


@pytest.fixture
def directory(tmp_path):
    """A model of the tiny preset's architecture; its weights do not matter."""
    model = presets.preset("tiny").model
    spec = specs.from_config(model, num_classes=7, class_names=())
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
    starts.check(config_tree.override(presets.preset("tiny"), values))


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
