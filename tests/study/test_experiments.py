from study import experiments

EXPERIMENT = experiments.Experiment(
    name="digits",
    preset="tiny",
    common={"data.unlabeled": "{workdir}/images", "model.width": 0.5},
    arms=(
        experiments.Arm("once", "once"),
        experiments.Arm(
            "twice",
            "twice",
            {"model.width": 0.3, "self_training.num_iterations": 2},
            titles={"teacher": "labels alone"},
        ),
    ),
    num_images=7,
    document="docs/digits.md",
    seed_fields=("seed", "data.split_seed"),
)


def test_an_arm_s_changes_come_after_the_common_ones():
    once, twice = (
        EXPERIMENT.resolve(arm, seed=3, workdir="here")
        for arm in EXPERIMENT.arms
    )
    assert (once.model.width, twice.model.width) == (0.5, 0.3)
    assert once.data.unlabeled == "here/images"
    assert once.seed == once.data.split_seed == 3


def test_models_have_titles_of_their_arm_unless_they_have_their_own():
    once, twice = EXPERIMENT.arms
    assert once.title_of("teacher") == "once: teacher"
    assert once.title_of("student_1") == "once"
    assert twice.title_of("teacher") == "labels alone"
    assert twice.title_of("student_2") == "twice, student 2"


def test_records_lie_beside_the_document():
    assert EXPERIMENT.records == "docs/digits/runs"
