from noisy_student_tf.configs import config_tree, presets
from run_scripts import stage


def test_a_configuration_is_shown_as_what_differs_from_its_preset():
    preset = presets.preset("tiny")
    changed = config_tree.override(preset, {"training.teacher_epochs": 3.0})
    assert stage.describe(preset) == "Configuration: --preset=tiny"
    assert stage.describe(changed) == (
        "Configuration: --preset=tiny --training.teacher_epochs=3.0"
    )
