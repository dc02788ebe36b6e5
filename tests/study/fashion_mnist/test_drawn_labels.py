import pytest

from study import catalog, measures
from study.fashion_mnist import arms, directions, drawn_labels
from tests.study import fakes


def resolve(name, seed):
    experiment = drawn_labels.EXPERIMENT
    return experiment.resolve(experiment.arm(name), seed=seed, workdir="w")


@pytest.mark.parametrize("arm", drawn_labels.ARMS, ids=lambda arm: arm.name)
def test_every_arm_draws_its_labels_by_the_seed(arm):
    first, second = (resolve(arm.name, seed) for seed in (3, 4))
    assert (first.seed, first.data.split_seed) == (3, 3)
    assert (second.seed, second.data.split_seed) == (4, 4)
    assert first.data.labeled_per_class == 10


def test_noisy_student_is_that_of_the_table_with_the_same_labels():
    drawn = resolve("drawn_noisy_student", 0)
    same = arms.EXPERIMENT.resolve(
        arms.EXPERIMENT.arm(arms.MAIN), seed=0, workdir="w"
    )
    for section in ("model", "training", "optimizer", "augmentation", "loss"):
        assert getattr(drawn, section) == getattr(same, section)
    assert drawn.teacher_model == same.teacher_model
    assert drawn.selection == same.selection


def test_budgets_are_equal_in_steps_and_in_images():
    budget = drawn_labels.budget_of
    loop = budget(drawn_labels.LAST)
    # A teacher of 1,000 steps of 16 images; three students of 1,000 of 96.
    assert loop == drawn_labels.Budget(steps=4_000, images=304_000)
    assert budget(drawn_labels.BASELINE).steps == 1_000
    assert budget(drawn_labels.AS_MANY_STEPS).steps == loop.steps
    assert budget(drawn_labels.AS_MANY_IMAGES).images == loop.images


def test_baselines_are_of_the_student_s_size_and_noise():
    student = resolve("drawn_noisy_student", 0)
    for model in (
        drawn_labels.BASELINE,
        drawn_labels.AS_MANY_STEPS,
        drawn_labels.AS_MANY_IMAGES,
    ):
        config = resolve(model.arm, 0)
        assert config.teacher_model == student.model
        assert config.augmentation.labeled == student.augmentation.labeled
        assert not config.self_training.num_iterations


def measured(num_draws, gain):
    """The last student is better by so much, but for the first draw: worse."""
    records = []
    for seed in range(num_draws):
        last = 0.70 + (-0.01 if seed == 0 else gain)
        records += [
            fakes.record("drawn_supervised", seed, {"teacher": 0.70}),
            fakes.record(
                "drawn_noisy_student",
                seed,
                {"teacher": 0.69, "student_1": 0.7, "student_3": last},
            ),
        ]
    return measures.Measurements(records, directions.BASELINE)


def test_the_share_of_draws_that_gain_is_counted():
    text = drawn_labels.of_differences(measured(10, gain=0.05))
    line = text.splitlines()[2]
    assert "| 9 of 10 |" in line
    # Nine of +5 and one of -1: mean 4.4; deviation 1.9, t 2.262.
    assert "**+4.40** (+3.04 to +5.76)" in line
    assert text.endswith("above zero: met.")
    small = drawn_labels.of_differences(measured(10, gain=0.02))
    assert small.endswith("missed.")


def test_what_has_not_run_is_open():
    text = drawn_labels.of_differences(measured(2, gain=0.05))
    assert text.endswith("open.")
    assert text.splitlines()[4].count("open") == 3
    nothing = drawn_labels.of_models(measured(0, gain=0))
    assert nothing.count("0 of 10 | open | open |") == 7


def test_its_tables_stand_in_the_document_of_its_images():
    (study,) = catalog.of_names(["fashion_labels"])
    assert study.experiment.document == directions.EXPERIMENT.document
    assert study.experiment.records == directions.EXPERIMENT.records
