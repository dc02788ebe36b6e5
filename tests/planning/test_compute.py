import dataclasses

import pytest

from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.planning import compute

IMAGENET = compute.Data(
    num_labeled=1_281_167,
    num_unlabeled=300_000_000,
    num_rows=130_000_000,
    num_selected=81_000_000,
)


def stages_of(preset, *, recompute=False):
    config = config_tree.override(
        presets.preset(preset), {"model.recompute": recompute}
    )
    stages = compute.stages(config, IMAGENET)
    return {stage.name: stage for stage in stages}


def test_l2s_steps_and_images_are_the_published_ones():
    student = stages_of("imagenet_l2_iteration1")["student_1"]
    # 350 epochs of batches of 2,048, and 14 unlabeled images per labeled one.
    assert student.num_steps == 218_949
    assert student.labeled_images == 218_949 * 2_048
    assert student.unlabeled_images == 14 * student.labeled_images
    assert student.multiply_adds == pytest.approx(
        3 * 15 * student.labeled_images * student.forward_multiply_adds
    )


def test_first_iteration_trains_a_b7_and_later_ones_do_not():
    first = stages_of("imagenet_l2_iteration1")
    assert first["teacher"].model == "efficientnet-b7"
    assert first["predictions_1"].model == "efficientnet-b7"
    assert "teacher" not in stages_of("imagenet_l2_iteration2")


def test_recomputing_is_one_more_forward_of_all_that_train():
    plain = stages_of("imagenet_l2_iteration1")
    recomputed = stages_of("imagenet_l2_iteration1", recompute=True)
    assert plain["teacher"].passes == plain["student_1"].passes == 3
    assert recomputed["teacher"].passes == recomputed["student_1"].passes == 4
    assert recomputed["predictions_1"].passes == 1


def test_fixres_runs_at_its_own_resolution():
    stages = stages_of("imagenet_l2_iteration3")
    student, fixres = stages["student_1"], stages["fixres"]
    assert (student.resolution, fixres.resolution) == (475, 800)
    assert fixres.forward_multiply_adds > 2.5 * student.forward_multiply_adds
    assert fixres.unlabeled_images == 0


def test_without_iterations_only_the_teacher_is_left():
    config = presets.preset("imagenet_b0")
    config = dataclasses.replace(
        config,
        self_training=dataclasses.replace(
            config.self_training, num_iterations=0
        ),
    )
    stages = compute.stages(config, IMAGENET)
    assert [stage.name for stage in stages] == ["teacher"]


def test_folds_train_as_many_teachers_on_what_is_left():
    config = config_tree.override(
        presets.preset("imagenet_b0"), {"evaluation.teacher_folds": 5}
    )
    stages = {each.name: each for each in compute.stages(config, IMAGENET)}

    teacher, folds = stages["teacher"], stages["folds"]
    assert folds.num_steps == pytest.approx(4 * teacher.num_steps, rel=1e-4)
    assert folds.images == folds.num_steps * 2_048
    assert folds.forward_multiply_adds == teacher.forward_multiply_adds


def test_what_rests_goes_forward_alone():
    config = config_tree.override(
        presets.preset("photos"),
        {"data.num_classes": 2, "training.frozen_blocks": 16},
    )
    stages = {stage.name: stage for stage in compute.stages(config, IMAGENET)}
    student = stages["student_1"]
    # Of Lite0 at 224 pixels only the last convolution, 320 x 1,280 weights at
    # 49 places, and the classifier go back, twice.
    trained = 49 * 320 * 1280 + 2 * 1280
    assert student.passes * student.forward_multiply_adds == pytest.approx(
        student.forward_multiply_adds + 2 * trained
    )
