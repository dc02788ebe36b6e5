import pytest
import tensorflow as tf

from data_prep import build_labeled
from data_prep.shards import sidecars
from noisy_student_tf import configs, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.records import shards
from noisy_student_tf.stages import runs
from tests.data_prep.sources import test_tfrecords
from tests.model import small_specs


def make_run(root, fixres_resolution: int = 24, **changes) -> runs.Run:
    config = config_tree.override(
        presets.preset("tiny"),
        {"fixres.resolution": fixres_resolution, **changes},
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


def final_model(
    run: runs.Run, teacher: float, student: float, finetuned: float
) -> tuple[str, str]:
    write_accuracy(run.workdir.teacher, 16, teacher)
    write_accuracy(run.workdir.folder("student_1"), 16, student)
    if run.recipe.finetuned:
        write_accuracy(run.workdir.folder("fixres"), 24, finetuned)
    return runs.final_model(run)


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((0.7, 0.8, 0.9), "fixres"),
        ((0.7, 0.8, 0.8), "fixres"),
        ((0.7, 0.8, 0.7), "student_1"),
        ((0.9, 0.8, 0.7), "teacher"),
        ((0.8, 0.8, 0.7), "student_1"),
        ((0.8, 0.8, 0.8), "fixres"),
    ],
)
def test_the_best_on_validation_images_is_final(tmp_path, accuracies, expected):
    run = make_run(tmp_path)
    folder, reason = final_model(run, *accuracies)
    assert folder == run.workdir.folder(expected)
    assert f"with {max(accuracies):.2%} right" in reason
    is_last = expected == "fixres"
    assert ("FixRes fine-tuning has" in reason) == (not is_last)


def test_a_student_worse_than_its_teacher_is_not_final(tmp_path):
    run = make_run(tmp_path, fixres_resolution=0)
    folder, reason = final_model(run, 0.8, 0.6, 0.0)
    assert folder == run.workdir.teacher
    assert reason.endswith("80.00% right; Student 1 has 60.00%")


def test_without_validation_images_the_last_is_final(tmp_path):
    run = make_run(tmp_path, fixres_resolution=0)
    tf.io.gfile.makedirs(run.workdir.folder("student_1"))
    shards.write_manifest(
        run.workdir.folder("student_1"), {"resolution": 16, "results": []}
    )
    folder, reason = runs.final_model(run)
    assert folder == run.workdir.folder("student_1")
    assert "no validation images" in reason


def test_the_supervised_baseline_is_never_final(tmp_path):
    run = make_run(
        tmp_path,
        fixres_resolution=0,
        **{"evaluation.supervised_baseline": True},
    )
    write_accuracy(run.workdir.folder("supervised"), 16, 0.99)
    folder, _ = final_model(run, 0.7, 0.8, 0.0)
    assert folder == run.workdir.folder("student_1")


def test_teacher_is_final_without_students(tmp_path):
    run = make_run(
        tmp_path, fixres_resolution=0, **{"self_training.num_iterations": 0}
    )
    write_accuracy(run.workdir.teacher, 16, 0.5)
    assert runs.final_model(run)[0] == run.workdir.teacher


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

    paths = shards.index_paths(run.workdir.labeled, "test")
    ids, labels = (
        sidecars.read_column(paths, name).to_pylist()
        for name in ("image_id", "label")
    )
    named = batch(is_named=True)
    assert named["image_ids"].numpy().tolist() == [*ids, b"", b""]
    assert named["labels"].numpy().tolist() == [*labels, -1, -1]
    assert not any(batch()["image_ids"].numpy())


def test_models_of_a_run_have_seeds_of_their_own():
    seeds = {runs.stage_seed(0, name) for name in ("teacher", "student_1")}
    assert len(seeds) == 2
    assert runs.stage_seed(0, "teacher") == runs.stage_seed(0, "teacher")
    assert runs.stage_seed(1, "teacher") not in seeds
