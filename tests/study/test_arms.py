import pytest

from noisy_student_tf import derived
from noisy_student_tf.study import arms


@pytest.mark.parametrize("arm", arms.ARMS, ids=lambda arm: arm.name)
def test_every_arm_is_a_valid_configuration(arm):
    config = arms.resolve(arm, seed=2, workdir="somewhere")
    assert config.seed == 2
    assert "{" not in config.data.unlabeled


def test_names_are_unique_and_every_arm_is_in_a_study():
    names = [arm.name for arm in arms.ARMS]
    assert len(names) == len(set(names))
    used = {name for study in arms.STUDIES for name in study.arms}
    assert used == set(names)


@pytest.mark.parametrize("study", arms.STUDIES, ids=lambda study: study.name)
def test_studies_name_models_that_their_arms_train(study):
    subjects = set(study.lines)
    for claim in study.claims:
        subjects |= {claim.better, claim.worse}
    for subject in subjects:
        config = arms.resolve(
            arms.arm(subject.arm), seed=0, workdir="somewhere"
        )
        students = range(1, config.self_training.num_iterations + 1)
        models = {"teacher", *(f"student_{i}" for i in students)}
        if config.fixres.resolution:
            models.add("student_1_fixres")
        assert subject.model in models


def test_baseline_has_the_students_size_and_noise_and_is_no_shorter():
    supervised, noisy = (
        arms.resolve(arms.arm(name), seed=0, workdir="")
        for name in ("supervised", "noisy_student")
    )
    assert derived.teacher_model(supervised) == noisy.model
    assert supervised.training.teacher_epochs >= noisy.training.student_epochs
    assert supervised.augmentation.labeled == noisy.augmentation.labeled
    assert supervised.optimizer == noisy.optimizer


def test_unknown_study_names_the_nearest():
    with pytest.raises(ValueError, match=r"--name=nois: .*mean noise\?"):
        arms.study("nois")
