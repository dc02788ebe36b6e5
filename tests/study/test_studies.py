import pytest

from study import arms, studies


def test_every_arm_is_in_a_study():
    used = {name for study in studies.STUDIES for name in study.arms}
    assert used == {arm.name for arm in arms.ARMS}


@pytest.mark.parametrize("study", studies.STUDIES, ids=lambda study: study.name)
def test_studies_name_models_that_their_arms_train(study):
    models = set(study.lines)
    for claim in study.claims:
        models |= {claim.better, claim.worse}
    for model in models:
        config = arms.resolve(arms.arm(model.arm), seed=0, workdir="somewhere")
        students = range(1, config.self_training.num_iterations + 1)
        models = {"teacher", *(f"student_{i}" for i in students)}
        if config.fixres.resolution:
            models.add("student_1_fixres")
        assert model.name in models


def test_unknown_study_names_the_nearest():
    with pytest.raises(ValueError, match=r"--name=nois: .*mean noise\?"):
        studies.study("nois")
