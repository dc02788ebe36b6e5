import dataclasses

import tensorflow as tf

from data_prep import build_labeled
from data_prep.shards import sidecars
from noisy_student_tf import configs, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.records import shards
from noisy_student_tf.stages import runs
from tests.data_prep.sources import test_tfrecords
from tests.model import small_specs


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


def test_records_without_ids_are_named_by_their_indexes(tmp_path):
    data = configs.DataConfig(
        labeled=test_tfrecords.write_imagenet(tmp_path, "train", num_shards=3),
        num_shards=1,
    )
    run = make_run(tmp_path / "run")
    build_labeled.build(data=data, directory=run.workdir.labeled)

    def batch(**options):
        stream = runs.test_stream(
            run, small_specs.make_spec(), split="test", batch_size=8, **options
        )
        return next(iter(stream))

    (index,) = sidecars.split_indexes(run.workdir.labeled, "test")
    rows = sidecars.read_index(index).to_pydict()
    named = batch(is_named=True)
    assert named["image_ids"].numpy().tolist() == [*rows["image_id"], b"", b""]
    assert named["labels"].numpy().tolist() == [*rows["label"], -1, -1]
    assert not any(batch()["image_ids"].numpy())


def test_models_of_a_run_have_seeds_of_their_own():
    seeds = {runs.stage_seed(0, name) for name in ("teacher", "student_1")}
    assert len(seeds) == 2
    assert runs.stage_seed(0, "teacher") == runs.stage_seed(0, "teacher")
    assert runs.stage_seed(1, "teacher") not in seeds
