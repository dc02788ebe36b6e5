import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.evaluation import metrics
from noisy_student_tf.records import shards
from noisy_student_tf.stages import labels, runs, standings

ONE_CLASS = np.zeros(80, np.int64)
HALVES = np.repeat([0, 1], 40)


def make_run(root, **changes) -> runs.Run:
    overrides = {"self_training.allow_weak_teacher": False, **changes}
    run = runs.Run(
        config=config_tree.override(presets.preset("tiny"), overrides),
        workdir=workdirs.Workdir(str(root)),
        strategy=tf.distribute.get_strategy(),
    )
    files.make_directories(run.workdir.labeled)
    shards.write_manifest(
        run.workdir.labeled, {"class_names": ["cracked", "whole"]}
    )
    return run


def write_model(directory: str, **named: np.ndarray) -> None:
    """Write the manifest of a model by what it names the halves."""
    files.make_directories(directory)
    found = {
        split: dataclasses.asdict(metrics.standing(HALVES, classes))
        for split, classes in named.items()
    }
    shards.write_manifest(directory, {"standing": found})


def test_a_teacher_of_one_class_is_stopped_with_numbers(tmp_path):
    run = make_run(tmp_path)
    write_model(run.workdir.teacher, validation=ONE_CLASS, train=ONE_CLASS)

    with pytest.raises(ValueError, match="naming one class") as error:
        standings.check_teacher(run, run.recipe.teacher)

    message = str(error.value)
    assert "Teacher is not significantly better" in message
    assert "On 80 validation images: 50.0% right; naming 'cracked'" in message
    assert "On 80 training images, without noise: 50.0% right" in message
    assert "it names 1 of 2 classes" in message
    assert "not learned its own training images" in message
    assert "--optimizer.base_learning_rate=0.8" in message
    assert "--training.teacher_epochs=4" in message
    assert "--self_training.allow_weak_teacher goes on" in message


def test_a_longer_training_is_asked_for_by_what_decides_its_length(tmp_path):
    run = make_run(tmp_path, **{"training.min_steps": 240})
    write_model(run.workdir.teacher, train=ONE_CLASS)

    with pytest.raises(ValueError, match=r"larger --training.min_steps=240"):
        standings.check_teacher(run, run.recipe.teacher)


def test_one_that_only_knows_its_training_images_is_told_apart(tmp_path):
    run = make_run(tmp_path)
    write_model(run.workdir.teacher, validation=ONE_CLASS, train=HALVES)

    with pytest.raises(ValueError, match="not what they have in common"):
        standings.check_teacher(run, run.recipe.teacher)


def test_labeling_begins_with_the_check(tmp_path):
    run = make_run(tmp_path)
    write_model(run.workdir.teacher, train=ONE_CLASS)

    with pytest.raises(ValueError, match="naming one class"):
        labels.predict(run, run.recipe.labeling(1))


def test_a_student_is_checked_before_it_teaches(tmp_path):
    run = make_run(tmp_path, **{"self_training.num_iterations": 2})
    write_model(run.workdir.teacher, validation=HALVES)
    write_model(
        run.workdir.folder("student_1"), validation=ONE_CLASS, train=ONE_CLASS
    )

    with pytest.raises(ValueError, match="Student 1 is not significantly"):
        labels.predict(run, run.recipe.labeling(2))


def test_an_adopted_teacher_is_replaced_not_trained_longer(tmp_path):
    run = make_run(
        tmp_path, **{"self_training.teacher_directory": "/models/weak"}
    )
    write_model(run.workdir.teacher, validation=ONE_CLASS, train=ONE_CLASS)

    with pytest.raises(ValueError, match="=/models/weak: name a better one"):
        standings.check_teacher(run, run.recipe.teacher)


def test_few_validation_images_leave_it_to_the_training_images(tmp_path):
    run = make_run(tmp_path)
    few = {"validation": ONE_CLASS[:4], "train": HALVES}
    found = {
        split: dataclasses.asdict(metrics.standing(HALVES[: len(each)], each))
        for split, each in few.items()
    }
    files.make_directories(run.workdir.teacher)
    shards.write_manifest(run.workdir.teacher, {"standing": found})

    standings.check_teacher(run, run.recipe.teacher)


def test_a_good_teacher_passes_and_a_weak_one_if_allowed(tmp_path):
    run = make_run(tmp_path)
    write_model(run.workdir.teacher, validation=HALVES, train=HALVES)
    standings.check_teacher(run, run.recipe.teacher)

    allowed = make_run(tmp_path, **{"self_training.allow_weak_teacher": True})
    write_model(run.workdir.teacher, validation=ONE_CLASS, train=ONE_CLASS)
    standings.check_teacher(allowed, allowed.recipe.teacher)


def test_folds_decide_where_validation_images_are_few(tmp_path):
    run = make_run(tmp_path, **{"evaluation.teacher_folds": 2})
    write_model(run.workdir.teacher, train=HALVES)
    found = dataclasses.asdict(metrics.standing(HALVES, ONE_CLASS))
    files.make_directories(run.workdir.folds)
    shards.write_manifest(run.workdir.folds, {"standing": {"folds": found}})

    with pytest.raises(ValueError, match="a teacher that never saw it"):
        standings.check_teacher(run, run.recipe.teacher)
