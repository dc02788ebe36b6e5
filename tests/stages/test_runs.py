import dataclasses

import tensorflow as tf

from noisy_student_tf import workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.records import shards
from noisy_student_tf.stages import runs


def make_run(root, fixres_resolution: int = 24) -> runs.Run:
    config = config_tree.override(
        presets.preset("tiny"), {"fixres.resolution": fixres_resolution}
    )
    return runs.Run(
        config=config,
        workdir=workdirs.Workdir(str(root)),
        strategy=tf.distribute.get_strategy(),
    )


def write_accuracy(directory: str, resolution: int, accuracy: float) -> None:
    row = {
        "split": "validation",
        "resolution": resolution,
        "accuracy": accuracy,
    }
    tf.io.gfile.makedirs(directory)
    # The other resolution must not decide.
    other = {**row, "resolution": resolution + 8, "accuracy": 1 - accuracy}
    shards.write_manifest(
        directory, {"resolution": resolution, "results": [other, row]}
    )


def final_model(run: runs.Run, before: float, after: float) -> str:
    write_accuracy(run.workdir.student(1), 16, before)
    write_accuracy(run.workdir.fixres, 24, after)
    return runs.final_model(run)


def test_fine_tuned_student_is_final_where_it_is_as_good(tmp_path):
    run = make_run(tmp_path)
    assert final_model(run, 0.8, 0.8) == run.workdir.fixres


def test_student_is_final_where_fine_tuning_made_it_worse(tmp_path):
    run = make_run(tmp_path)
    assert final_model(run, 0.8, 0.7) == run.workdir.student(1)


def test_student_is_final_without_fine_tuning(tmp_path):
    run = make_run(tmp_path, fixres_resolution=0)
    assert runs.final_model(run) == run.workdir.student(1)


def test_teacher_is_final_without_students(tmp_path):
    run = make_run(tmp_path, fixres_resolution=0)
    settings = dataclasses.replace(run.config.self_training, num_iterations=0)
    run = dataclasses.replace(
        run, config=dataclasses.replace(run.config, self_training=settings)
    )
    assert runs.final_model(run) == run.workdir.teacher


def test_finished_folder_is_skipped_and_another_created(tmp_path):
    finished, new = str(tmp_path / "a"), str(tmp_path / "b")
    tf.io.gfile.makedirs(finished)
    shards.write_manifest(finished, {})
    assert runs.is_done(finished, "Stage")
    assert not runs.is_done(new, "Stage")
    assert tf.io.gfile.isdir(new)


def test_models_of_a_run_have_seeds_of_their_own():
    seeds = {runs.stage_seed(0, name) for name in ("teacher", "student_1")}
    assert len(seeds) == 2
    assert runs.stage_seed(0, "teacher") == runs.stage_seed(0, "teacher")
    assert runs.stage_seed(1, "teacher") not in seeds
