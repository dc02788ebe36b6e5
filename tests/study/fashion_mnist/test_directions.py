import pytest

from study.fashion_mnist import arms, directions

EXPERIMENT = arms.EXPERIMENT


def test_every_arm_is_in_a_study():
    used = {name for study in directions.STUDIES for name in study.arms}
    assert used == {arm.name for arm in arms.ARMS}


@pytest.mark.parametrize(
    "study", directions.STUDIES, ids=lambda study: study.name
)
def test_studies_name_models_that_their_arms_train(study):
    models = set(study.lines)
    for claim in study.claims:
        models |= {claim.better, claim.worse}
    for model in models:
        config = EXPERIMENT.resolve(
            EXPERIMENT.arm(model.arm), seed=0, workdir="somewhere"
        )
        students = range(1, config.self_training.num_iterations + 1)
        models = {"teacher", *(f"student_{i}" for i in students)}
        if config.fixres.resolution:
            models.add("student_1_fixres")
        assert model.name in models
