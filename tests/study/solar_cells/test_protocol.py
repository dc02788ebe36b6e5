import pytest

from noisy_student_tf import recipes
from study.solar_cells import protocol

EXPERIMENT = protocol.EXPERIMENT


def resolve(name, seed=2):
    return EXPERIMENT.resolve(
        EXPERIMENT.arm(name), seed=seed, workdir="somewhere"
    )


@pytest.mark.parametrize("arm", EXPERIMENT.arms, ids=lambda arm: arm.name)
def test_every_arm_is_a_valid_configuration_of_its_own_draw(arm):
    config = resolve(arm.name)
    assert config.seed == config.data.split_seed == 2
    assert config.data.labeled == "csv:somewhere/cells/cells.csv"
    assert arm.name == "all_labels_40" or arm.name.endswith(
        f"_{config.data.labeled_per_class}"
    )
    assert "{" not in config.self_training.teacher_directory


def test_arms_are_in_studies_with_those_they_need():
    used = [name for study in protocol.STUDIES for name in study.arms]
    assert sorted(used) == sorted(arm.name for arm in EXPERIMENT.arms)
    for study in protocol.STUDIES:
        for name in study.arms:
            assert set(EXPERIMENT.arm(name).needs) <= set(study.arms)


def test_tables_name_models_that_their_arms_train():
    for study in protocol.STUDIES:
        for model in study.lines:
            arm = EXPERIMENT.arm(model.arm)
            models = {
                each.name for each in recipes.of(resolve(arm.name)).models
            }
            assert model.name in models


@pytest.mark.parametrize("count", protocol.LABELS_PER_CLASS)
def test_supervised_fine_tuning_is_a_student_s_without_its_images(count):
    baseline, main = (
        resolve(protocol.name_of(arm, count))
        for arm in ("supervised", "noisy_student")
    )
    model = recipes.of(baseline).teacher
    student = recipes.of(main).students[0]
    assert model.architecture == student.architecture
    assert model.start == student.start == "efficientnet-lite0"
    assert (model.epochs, model.min_steps) == (
        student.epochs,
        student.min_steps,
    )
    assert baseline.augmentation.labeled == main.augmentation.labeled
    assert baseline.optimizer == main.optimizer
    assert baseline.data == main.data


def test_the_labels_of_all_images_train_on_as_many_as_a_student_sees():
    every, main = map(resolve, ("all_labels_40", "noisy_student_40"))
    assert every.data.labeled_per_class == 0
    training = main.training
    assert every.training.min_steps * training.labeled_batch_size == (
        training.min_steps
        * training.labeled_batch_size
        * (1 + training.unlabeled_ratio)
    )


def test_a_larger_student_learns_from_the_same_teacher():
    recipe = recipes.of(resolve("larger_student_40"))
    (student,) = recipe.students
    assert student.architecture.name == student.start == "efficientnet-lite2"
    assert recipe.teacher.adopted_from == (
        "somewhere/noisy_student_40/seed_2/teacher"
    )


def test_bars_are_of_models_in_the_decisive_table():
    study = protocol.STUDIES[0]
    assert study.name == f"solar_cells_{protocol.DECISIVE}"
    for bar in protocol.BARS:
        assert {bar.better, bar.worse} <= set(study.lines)
