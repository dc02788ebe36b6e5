import pytest
from absl import flags

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree, presets
from run_scripts import flags as config_flags
from run_scripts import noisy_student
from tests.run_scripts import scripts


def parsed(*arguments: str) -> configs.Config:
    with scripts.parsed_flags(config_flags.define_config_flags, *arguments):
        return config_flags.config_from_flags()


def test_every_field_has_a_flag():
    with scripts.parsed_flags(config_flags.define_config_flags):
        for name, _ in config_tree.flatten(configs.Config()):
            assert name in flags.FLAGS


def test_absent_flags_keep_the_preset():
    assert parsed("--preset=digits") == presets.preset("digits")


def test_present_flags_override_the_preset():
    run = parsed(
        "--preset=digits",
        "--optimizer.base_learning_rate=0.02",
        "--augmentation.unlabeled.policy=none",
        "--model.mean_rgb=1,2,3.5",
        "--data.allow_overlap=true",
        "--seed=7",
    )
    assert run.optimizer.base_learning_rate == 0.02
    assert run.augmentation.unlabeled.policy == "none"
    assert run.augmentation.labeled.policy == "randaugment"
    assert run.model.mean_rgb == (1.0, 2.0, 3.5)
    assert run.data.allow_overlap
    assert run.seed == 7


def test_missing_preset_lists_the_presets():
    with pytest.raises(ValueError, match="--preset is missing"):
        parsed()


def test_mistyped_flag_names_the_nearest():
    with pytest.raises(flags.UnrecognizedFlagError) as caught:
        parsed("--preset=digits", "--optimizer.momentun=0.5")
    assert "optimizer.momentum" in str(caught.value)


def test_unaccepted_choice_is_refused():
    with pytest.raises(flags.IllegalFlagValueError, match="rmsprop"):
        parsed("--preset=digits", "--optimizer.name=adam")


def test_other_images_leave_what_a_preset_says_of_its_own():
    preset = presets.preset("fashion_mnist")
    run = parsed("--preset=fashion_mnist", "--data.labeled=folder:birds")
    assert run.data.evaluation == ""
    assert run.data.num_classes == run.data.labeled_per_class == 0
    assert (run.data.evaluation_fraction, run.data.split) == (0.2, "stratified")
    assert run.data.num_shards == preset.data.num_shards
    assert (run.model, run.training) == (preset.model, preset.training)
    run = parsed(
        "--preset=fashion_mnist",
        "--data.labeled=folder:birds",
        "--data.labeled_per_class=7",
        "--data.split=hashed",
    )
    assert (run.data.labeled_per_class, run.data.split) == (7, "hashed")


def test_its_own_images_leave_a_preset_as_it_is():
    run = parsed("--preset=digits", "--data.labeled=digits")
    assert run == presets.preset("digits")
    run = parsed("--preset=imagenet_b0", "--data.labeled=imagenet:train-*")
    assert run.data.num_classes == 1000


@pytest.mark.parametrize(
    "argument, expected",
    [
        ("", False),
        ("--dry_run", True),
        ("--dry_run=full", "full"),
        ("--dry_run=false", False),
        ("--nodry_run", False),
    ],
)
def test_flag_is_given_alone_or_with_its_word(argument, expected):
    arguments = [argument] if argument else []
    with scripts.parsed_flags(noisy_student.define_flags, *arguments):
        assert flags.FLAGS.dry_run == expected


def test_other_word_is_refused():
    with pytest.raises(flags.IllegalFlagValueError, match="dry_run"):
        with scripts.parsed_flags(noisy_student.define_flags, "--dry_run=all"):
            pass
