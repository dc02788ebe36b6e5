import dataclasses

import pytest

from noisy_student_tf import configs, recipes
from noisy_student_tf.configs import config_tree


def recipe_of(**overrides):
    base = configs.Config(
        self_training=configs.SelfTrainingConfig(num_iterations=2)
    )
    values = {name.replace("__", "."): v for name, v in overrides.items()}
    return recipes.of(config_tree.override(base, values))


def folders(recipe):
    return [stage.folder for stage in recipe.stages]


def test_stages_in_the_order_of_the_algorithm():
    recipe = recipe_of(
        fixres__resolution=300,
        evaluation__robustness=True,
        labeling__near_duplicate_bits=2,
    )
    assert folders(recipe) == [
        "labeled",
        "unlabeled",
        "duplicates",
        "teacher",
        "predictions_1",
        "selection_1",
        "pseudo_labeled_1",
        "student_1",
        "predictions_2",
        "selection_2",
        "pseudo_labeled_2",
        "student_2",
        "fixres",
        "export",
        "robustness",
    ]


def test_a_table_of_probabilities_is_no_network():
    recipe = recipe_of(
        self_training__teacher_predictions="/mine.parquet",
        evaluation__teacher_folds=5,
        evaluation__supervised_baseline=True,
    )
    first, second = recipe.students
    assert recipe.teacher.predictions_from == "/mine.parquet"
    assert recipe.labeling(1).is_given and not recipe.labeling(2).is_given
    assert recipe.num_folds == 0
    assert recipe.networks == [first, second, recipe.supervised]
    assert recipe.candidates == [first, second]
    # What it says of held-out images is compared with.
    assert (first, recipe.teacher) in recipe.comparisons


@pytest.mark.parametrize(
    "flag, value",
    [
        ("teacher_directory", "/other"),
        ("selection_teacher_directory", "/other"),
        ("online_teacher", True),
        ("noised_teacher", True),
        ("initialize_students_from", "teacher"),
        ("num_iterations", 0),
    ],
)
def test_what_needs_a_teacher_s_network_is_refused_beside_a_table(flag, value):
    with pytest.raises(ValueError, match=f"{flag}={value}.*/mine.parquet"):
        recipe_of(
            self_training__teacher_predictions="/mine.parquet",
            **{f"self_training__{flag}": value},
        )


def test_a_temperature_of_nothing_is_refused():
    with pytest.raises(ValueError, match="teacher_predictions_temperature=2"):
        recipe_of(self_training__teacher_predictions_temperature=2.0)


def test_a_student_teaches_the_next_one():
    recipe = recipe_of()
    first, second = recipe.students
    assert first.labelings[-1].teacher is recipe.teacher
    assert second.labelings[-1].teacher is first
    assert second.pseudo_labeled == "pseudo_labeled_2"


def test_a_kept_selection_is_made_once():
    recipe = recipe_of(self_training__keep_selection=True)
    second = recipe.labeling(2)
    assert second.kept_from is recipe.labeling(1)
    assert second.images == ("pseudo_labeled_1", "pseudo_labeled")
    assert "selection_1" in folders(recipe)
    assert "selection_2" not in folders(recipe)


def test_another_model_selects_and_all_teachers_label_what_it_selected():
    recipe = recipe_of(self_training__selection_teacher_directory="/other")
    selecting = recipe.labeling(0)
    assert selecting.teacher == "/other"
    assert selecting.images == ("unlabeled", "unlabeled")
    assert recipe.labeling(1).kept_from is selecting
    assert recipe.labeling(2).kept_from is selecting
    assert recipe.labeling(1).teacher is recipe.teacher


def test_duplicates_are_left_out_of_what_selects_alone():
    recipe = recipe_of(
        labeling__near_duplicate_bits=0, self_training__keep_selection=True
    )
    assert recipe.labeling(1).leaves_out_duplicates
    assert not recipe.labeling(2).leaves_out_duplicates
    plain = recipe_of(labeling__near_duplicate_bits=-1)
    assert not plain.labeling(1).leaves_out_duplicates


@pytest.mark.parametrize(
    ("choice", "starts"),
    [
        ("scratch", ["/w", "", ""]),
        ("initial_weights", ["/w", "/w", "/w"]),
        ("teacher", ["/w", "teacher", "student_1"]),
    ],
)
def test_what_models_begin_with(choice, starts):
    recipe = recipe_of(
        model__initial_weights="/w",
        self_training__initialize_students_from=choice,
    )
    found = [
        start.folder if isinstance(start, recipes.Model) else start
        for start in (model.start for model in recipe.models)
    ]
    assert found == starts


def test_the_fine_tuned_model_is_the_last_one_at_another_resolution():
    recipe = recipe_of(fixres__resolution=300, fixres__epochs=2.0)
    finetuned = recipe.models[-1]
    assert finetuned is recipe.finetuned
    assert finetuned.name == "student_2_fixres"
    assert finetuned.start is recipe.students[-1]
    assert finetuned.epochs == 2.0
    assert finetuned.architecture.resolution == 300
    assert not finetuned.pseudo_labeled


def test_without_iterations_the_teacher_is_fine_tuned():
    recipe = recipe_of(
        self_training__num_iterations=0,
        self_training__teacher_resolution=64,
        self_training__teacher_directory="/given",
        fixres__resolution=300,
    )
    assert [model.name for model in recipe.models] == [
        "teacher",
        "teacher_fixres",
    ]
    assert recipe.teacher.adopted_from == "/given"
    assert recipe.teacher.architecture.resolution == 64
    assert recipe.finetuned.start is recipe.teacher


def test_an_online_teacher_is_the_one_before():
    recipe = recipe_of(self_training__online_teacher=True)
    assert recipe.students[1].online_teacher is recipe.model(1)
    assert recipe_of().students[1].online_teacher is None


def test_an_iteration_that_the_run_does_not_have_is_refused():
    recipe = recipe_of()
    with pytest.raises(ValueError, match="--iteration=3: this run has 2"):
        recipe.model(3)
    with pytest.raises(ValueError, match="--iteration=3: this run has 2"):
        recipe.labeling(3)
    with pytest.raises(ValueError, match="selection_teacher_directory"):
        recipe.labeling(0)


def test_folders_differ():
    recipe = recipe_of(fixres__resolution=300, evaluation__robustness=True)
    assert len(set(folders(recipe))) == len(recipe.stages)
    assert all(
        stage.folder == stage.model.folder
        for stage in recipe.stages
        if stage.model
    )
    assert dataclasses.is_dataclass(recipe)


def test_the_supervised_baseline_is_the_last_student_without_pseudo_labels():
    recipe = recipe_of(
        evaluation__supervised_baseline=True,
        fixres__resolution=300,
        self_training__online_teacher=True,
    )
    supervised, student = recipe.supervised, recipe.students[-1]
    assert folders(recipe)[-4:] == [
        "student_2",
        "supervised",
        "fixres",
        "export",
    ]
    assert (
        dataclasses.replace(
            student,
            name="supervised",
            folder="supervised",
            title="Supervised baseline",
            labelings=(),
            online_teacher=None,
            drawn_as="student_2",
        )
        == supervised
    )
    assert recipe.finetuned.start is student
    assert supervised not in recipe.candidates
    assert recipe.model(2) is student


def test_without_students_there_is_nothing_to_compare():
    recipe = recipe_of(
        evaluation__supervised_baseline=True, self_training__num_iterations=0
    )
    assert recipe.supervised is None
    assert recipe.comparisons == []


def test_students_are_compared_with_teachers_and_the_baseline():
    recipe = recipe_of(
        evaluation__supervised_baseline=True, fixres__resolution=300
    )
    assert [(a.name, b.name) for a, b in recipe.comparisons] == [
        ("student_1", "teacher"),
        ("student_1", "supervised"),
        ("student_2", "student_1"),
        ("student_2", "teacher"),
        ("student_2", "supervised"),
        ("student_2_fixres", "student_2"),
        ("student_2_fixres", "teacher"),
        ("student_2_fixres", "supervised"),
    ]


def test_folds_follow_the_teacher_that_they_judge():
    recipe = recipe_of(evaluation__teacher_folds=5)
    assert recipe.num_folds == 5
    stages = folders(recipe)
    assert stages[stages.index("teacher") + 1] == "folds"
    assert "folds" not in folders(recipe_of())


def test_an_adopted_teacher_has_no_folds():
    recipe = recipe_of(
        evaluation__teacher_folds=5, self_training__teacher_directory="/models"
    )
    assert "folds" not in folders(recipe)
