"""Folds of the embedded digits, with nets too small to learn."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from data_prep.shards import sidecars
from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.stages import data, folds, models, runs


def make_run(root, **changes) -> runs.Run:
    overrides = {
        "evaluation.teacher_folds": 2,
        "training.teacher_epochs": 0.5,
        "augmentation.labeled.policy": "none",
        # Needs the number of each fold's images by class.
        "loss.class_weights": "balanced",
        **changes,
    }
    return runs.Run(
        config=config_tree.override(presets.preset("tiny"), overrides),
        workdir=workdirs.Workdir(str(root)),
        strategy=tf.distribute.get_strategy(),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> runs.Run:
    run = make_run(tmp_path_factory.mktemp("folds"))
    data.build_labeled(run)
    files.make_directories(run.workdir.teacher)
    shards.write_manifest(
        run.workdir.teacher, {"resolution": 16, "results": []}
    )
    folds.measure(run)
    return run


def fold(run, number) -> workdirs.Workdir:
    return workdirs.Workdir(files.join(run.workdir.folds, f"fold_{number}"))


def test_every_labeled_image_is_judged_once(finished):
    path = held_out.path(finished.workdir.folds, "folds")
    judged = [each.tobytes() for each in held_out.read_choices(path).ids]
    indexes = shards.index_paths(finished.workdir.labeled, "train")
    assert len(judged) == 40
    assert set(judged) == sidecars.read_ids(indexes)


def test_a_teacher_never_saw_what_it_judges(finished):
    for number in range(2):
        labeled = fold(finished, number).labeled
        ids = {
            split: {
                image_id
                for path in shards.open_split(labeled, split).paths
                for _, image_id, _ in folds._read(path)
            }
            for split in ("train", "test")
        }
        assert len(ids["train"]) == len(ids["test"]) == 20
        assert not ids["train"] & ids["test"]
        path = held_out.path(fold(finished, number).teacher, "test")
        judged = held_out.read_choices(path).ids
        assert {each.tobytes() for each in judged} == ids["test"]


def test_each_class_is_divided_evenly(finished):
    for number in range(2):
        path = held_out.path(fold(finished, number).teacher, "test")
        labels = held_out.read_choices(path).labels
        assert collections.Counter(labels.tolist()) == dict.fromkeys(
            range(10), 2
        )


def test_the_result_is_of_all_labeled_images(finished):
    manifest = shards.read_manifest(finished.workdir.folds)
    choices = held_out.read_choices(
        held_out.path(finished.workdir.folds, "folds")
    )
    (row,) = manifest["results"]
    assert (row["model"], row["split"]) == ("teacher", "folds")
    assert row["num_images"] == 40
    assert row["accuracy"] == np.mean(choices.labels == choices.classes)
    assert manifest["standing"]["folds"]["num_images"] == 40
    assert row in data.collect_results(finished)


def test_a_killed_fold_goes_on_and_a_finished_one_stays(finished, monkeypatch):
    made = []
    monkeypatch.setattr(
        models, "make", lambda run, model: made.append(run.workdir.root)
    )
    before = shards.read_manifest(finished.workdir.folds)
    folds.measure(finished)
    assert made == []
    files.remove(files.join(finished.workdir.folds, "manifest.json"))
    folds.measure(finished)
    assert made == [fold(finished, number).root for number in range(2)]
    assert shards.read_manifest(finished.workdir.folds) == before


def test_more_folds_than_images_are_refused(finished):
    labeled = shards.open_split(finished.workdir.labeled, "train")
    with pytest.raises(ValueError, match="there are 40 labeled images"):
        folds._assign(labeled, 41)


def test_an_adopted_teacher_has_no_folds(tmp_path):
    run = make_run(tmp_path, **{"self_training.teacher_directory": "/models"})
    assert run.recipe.num_folds == 0
    folds.measure(run)
    assert not files.exists(run.workdir.folds)
