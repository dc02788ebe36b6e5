import dataclasses

import pytest

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree


def test_json_round_trip_keeps_every_field():
    changed = config_tree.override(
        configs.Config(),
        {
            "seed": 3,
            "model.mean_rgb": [1.0, 2.0, 3.0],
            "data.labeled": "digits",
        },
    )
    assert config_tree.from_json(config_tree.to_json(changed)) == changed


def test_override_changes_one_field_only():
    base = configs.Config()
    changed = config_tree.override(
        base, {"augmentation.unlabeled.magnitude": 5}
    )
    assert config_tree.differences(base, changed) == [
        "augmentation.unlabeled.magnitude: 27.0 became 5.0"
    ]


def test_mistyped_field_names_the_nearest():
    with pytest.raises(ValueError, match="Did you mean"):
        config_tree.override(configs.Config(), {"optimizer.momentun": 0.5})


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("optimizer.base_learning_rate", 0.0, "a positive number"),
        ("optimizer.name", "adam", "one of"),
        ("loss.temperature", 0.0, "a positive number"),
        ("data.evaluation_fraction", 0.95, "leaves training images"),
        ("model.resolution", 4, "8 or more"),
        ("model.std_rgb", (1.0, 0.0, 1.0), "positive"),
        ("selection.confidence_threshold", 1.5, r"in \[0, 1\]"),
        ("augmentation.labeled.policy", "autoaugment", "one of"),
        ("training.labeled_batch_size", 0, "positive"),
        ("runtime.precision", "float16", "one of"),
        ("fixres.epochs", 0.0, "positive"),
        ("fixres.frozen_blocks", -1, "0 or more"),
        ("augmentation.cutmix_alpha", -0.1, "0 or more"),
        ("labeling.near_duplicate_bits", 9, "unrelated pictures"),
        ("model.dropout_rate", -0.5, r"-1 or a rate in \[0, 1\)"),
        ("seed", -1, "an integer"),
    ],
)
def test_unaccepted_value_is_refused_with_its_flag(field, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        config_tree.override(configs.Config(), {field: value})
    assert field.split(".")[-1] in str(caught.value)


def test_ratio_that_leaves_the_unlabeled_batch_empty_is_refused():
    with pytest.raises(ValueError, match="at least one unlabeled image"):
        config_tree.override(
            configs.Config(),
            {
                "training.labeled_batch_size": 4,
                "training.unlabeled_ratio": 0.1,
            },
        )


def test_ratio_below_one_rounds_to_whole_images():
    training = configs.TrainingConfig(labeled_batch_size=8, unlabeled_ratio=0.5)
    assert training.unlabeled_batch_size == 4


def test_teacher_of_another_variant_has_its_own_multipliers():
    run = config_tree.override(
        configs.Config(),
        {
            "model.width": 0.5,
            "self_training.teacher_name": "efficientnet-b7",
            "self_training.teacher_resolution": 600,
        },
    )
    teacher = run.teacher_model
    assert (teacher.name, teacher.width) == ("efficientnet-b7", 0.0)
    assert teacher.resolution == 600


def test_teacher_is_the_student_unless_told_otherwise():
    run = configs.Config()
    assert run.teacher_model == run.model


def test_fields_of_the_machine_are_marked_where_they_are_declared():
    exact = set(config_tree.fields_affecting("nothing"))
    rounded = set(config_tree.fields_affecting("nothing", "rounding")) - exact

    assert exact == {
        "data.max_corrupt_fraction",
        "data.allow_overlap",
        "data.beam_runner",
        "data.beam_options",
        "evaluation.robustness",
        "evaluation.supervised_baseline",
        "evaluation.teacher_folds",
        "self_training.allow_weak_teacher",
        "runtime.worker_timeout_seconds",
        "runtime.stall_seconds",
        "runtime.cache_megabytes",
        "runtime.cache_directory",
    }
    assert rounded == {
        "model.recompute",
        "runtime.strategy",
        "runtime.num_devices",
        "runtime.tpu_address",
    }


def test_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        configs.Config().seed = 1


@pytest.mark.parametrize(
    "changes",
    [
        {"training.frozen_blocks": 3},
        {"model.batch_norm_frozen": True},
        # The teacher begins with weights, its student does not.
        {"training.frozen_blocks": 3, "model.initial_weights": "weights"},
    ],
)
def test_frozen_parts_of_models_from_scratch_are_refused(changes):
    with pytest.raises(ValueError, match=r"for models from scratch"):
        config_tree.override(configs.Config(), changes)


def test_frozen_parts_of_weights_to_begin_with_are_accepted():
    config = config_tree.override(
        configs.Config(),
        {
            "training.frozen_blocks": 3,
            "model.batch_norm_frozen": True,
            "model.initial_weights": "weights",
            "self_training.initialize_students_from": "teacher",
        },
    )
    assert (config.training.frozen_blocks, config.model.batch_norm_frozen) == (
        3,
        True,
    )
