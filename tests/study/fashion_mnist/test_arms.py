import pytest

from study.fashion_mnist import arms


@pytest.mark.parametrize("arm", arms.ARMS, ids=lambda arm: arm.name)
def test_every_arm_is_a_valid_configuration(arm):
    config = arms.EXPERIMENT.resolve(arm, seed=2, workdir="somewhere")
    assert config.seed == 2
    assert "{" not in config.data.unlabeled


def test_names_are_unique():
    names = [arm.name for arm in arms.ARMS]
    assert len(names) == len(set(names))


def test_baseline_has_the_students_size_and_noise_and_is_no_shorter():
    supervised, noisy = (
        arms.EXPERIMENT.resolve(arms.EXPERIMENT.arm(name), seed=0, workdir="")
        for name in ("supervised", "noisy_student")
    )
    assert supervised.teacher_model == noisy.model
    assert supervised.training.teacher_epochs >= noisy.training.student_epochs
    assert supervised.augmentation.labeled == noisy.augmentation.labeled
    assert supervised.optimizer == noisy.optimizer
