"""The whole loop on the embedded digits, with a net too small to learn."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data_prep.shards import sidecars
from noisy_student_tf import files, self_training, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.devices import runtime
from noisy_student_tf.evaluation import results
from noisy_student_tf.planning import dry_run
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.report import pseudo_label_page
from noisy_student_tf.stages import labels, model_training, models, runs
from run_scripts import (
    evaluate,
    export,
    finetune_fixres,
    noisy_student,
    predict,
    select,
    train,
)
from tests import strategies
from tests.run_scripts import scripts

STAGES = (
    "labeled",
    "unlabeled",
    "teacher",
    "predictions_1",
    "selection_1",
    "pseudo_labeled_1",
    "student_1",
    "fixres",
)


# Tracing its operations takes seconds.
WITHOUT_POLICY = {
    "augmentation.labeled.policy": "none",
    "augmentation.unlabeled.policy": "none",
}


def make_run(root, **overrides) -> runs.Run:
    return runs.begin(
        config_tree.override(presets.preset("tiny"), overrides),
        workdirs.Workdir(str(root)),
        strategy=tf.distribute.get_strategy(),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> runs.Run:
    run = make_run(tmp_path_factory.mktemp("run") / "tiny")
    self_training.run_all(run)
    return run


def test_every_stage_leaves_its_manifest(finished):
    for stage in STAGES:
        assert shards.is_finished(files.join(finished.workdir.root, stage))


def test_results_hold_every_model_on_both_splits(finished):
    rows = files.read_json(finished.workdir.results)
    models = {"teacher", "student_1", "student_1_fixres"}
    plain = list(filter(results.is_accuracy, rows))
    assert {(row["model"], row["split"]) for row in plain} == {
        (model, split) for model in models for split in ("validation", "test")
    }
    for row in plain:
        low, high = row["interval_95"]
        assert 0 <= low <= row["accuracy"] <= high <= 1


def test_every_row_follows_from_what_was_said_of_each_image(finished):
    """By id: the files hold a split's images, and give its rows' accuracy."""
    root = finished.workdir
    for row in filter(results.is_accuracy, files.read_json(root.results)):
        folder = "fixres" if row["model"].endswith("fixres") else row["model"]
        directory = root.folder(folder)
        resolution = row["resolution"]
        if resolution == shards.read_manifest(directory)["resolution"]:
            resolution = 0
        choices = held_out.read_choices(
            held_out.path(directory, row["split"], resolution=resolution)
        )
        indexes = shards.index_paths(root.labeled, row["split"])
        assert sidecars.read_ids(indexes) == {
            image_id.tobytes() for image_id in choices.ids
        }
        is_right = choices.classes == choices.labels
        assert is_right.mean() == row["accuracy"]


def test_students_are_compared_on_the_same_images(finished):
    rows = files.read_json(finished.workdir.results)
    accuracies = {
        (row["model"], row["split"]): row["accuracy"]
        for row in reversed(rows)
        if results.is_accuracy(row)
    }
    compared = list(filter(results.is_comparison, rows))
    assert {(row["model"], row["baseline"]) for row in compared} == {
        ("student_1", "teacher"),
        ("student_1_fixres", "student_1"),
        ("student_1_fixres", "teacher"),
    }
    assert {row["split"] for row in compared} == {"validation", "test"}
    for row in compared:
        before, after = (
            accuracies[row[key], row["split"]] for key in ("baseline", "model")
        )
        assert row["difference"] == pytest.approx(after - before)


def test_a_baseline_is_added_to_a_finished_run(finished, tmp_path):
    shutil.copytree(finished.workdir.root, tmp_path / "run")
    run = make_run(tmp_path / "run", **{"evaluation.supervised_baseline": True})
    supervised = run.recipe.supervised
    seeds = {
        model_training.settings_of(run.config, run.workdir, model).seed
        for model in (supervised, run.recipe.students[0])
    }
    assert len(seeds) == 1
    rows = self_training.run_all(run)
    student, baseline = (
        shards.read_manifest(run.workdir.folder(name))
        for name in ("student_1", "supervised")
    )
    assert baseline["total_steps"] == student["total_steps"]
    assert baseline["num_parameters"] == student["num_parameters"]
    assert baseline["fingerprint"] != student["fingerprint"]
    assert ("student_1_fixres", "supervised") in {
        (row["model"], row["baseline"])
        for row in filter(results.is_comparison, rows)
    }


def test_a_teacher_that_learned_nothing_stops_the_run(finished, tmp_path):
    shutil.copytree(finished.workdir.labeled, tmp_path / "labeled")
    shutil.copytree(finished.workdir.unlabeled, tmp_path / "unlabeled")
    run = make_run(
        tmp_path,
        **{
            **WITHOUT_POLICY,
            "self_training.allow_weak_teacher": False,
            "training.teacher_epochs": 0.2,
        },
    )
    with pytest.raises(ValueError, match="naming one class for every image"):
        self_training.run_all(run)
    assert shards.is_finished(run.workdir.teacher)
    assert not files.list_directory(run.workdir.predictions(1))


def test_counts_agree_at_every_hand_over(finished):
    root = finished.workdir
    labeled = shards.read_manifest(root.labeled)["splits"]
    assert labeled["train"]["num_records"] == 40
    unlabeled = shards.open_split(root.unlabeled, "unlabeled").num_records
    total = sum(split["num_records"] for split in labeled.values())
    assert total + unlabeled == 1797
    pseudo = shards.open_split(root.pseudo_labeled(1), "pseudo_labeled")
    assert 0 < pseudo.num_records <= unlabeled


def test_report_and_classifier_are_there(finished):
    assert files.exists(files.join(finished.workdir.root, "report.html"))
    loaded = tf.saved_model.load(finished.workdir.saved_model)
    assert "serving_default" in loaded.signatures


def test_repeated_command_changes_nothing(finished):
    paths = sorted(
        path
        for path in pathlib.Path(finished.workdir.root).rglob("*")
        if path.is_file() and path.name not in ("results.json", "report.html")
    )
    before = [path.stat().st_mtime_ns for path in paths]
    self_training.run_all(finished)
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_a_finished_run_is_shown_without_tensorflow(finished):
    script = (
        "import sys\n"
        "from run_scripts import noisy_student\n"
        "sys.argv = ['noisy_student', *sys.argv[1:]]\n"
        "try:\n"
        "    noisy_student.console_entry()\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    flag = f"--workdir={finished.workdir.root}"
    shown = subprocess.run(
        [sys.executable, "-c", script, "--preset=tiny", flag],
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    assert "student_1_fixres" in shown.stdout


def test_dry_run_writes_nothing_and_counts_everything(tmp_path):
    text = dry_run.describe(
        presets.preset("tiny"), workdirs.Workdir(str(tmp_path / "run"))
    )
    assert "40 training" in text
    assert "student_1" in text
    assert not (tmp_path / "run").exists()


def test_student_without_its_teacher_is_refused(finished, tmp_path):
    run = make_run(tmp_path)
    with pytest.raises(FileNotFoundError, match="teacher is missing"):
        labels.predict(run, run.recipe.labeling(1))


@pytest.mark.parametrize("flag", ["teacher_directory", "teacher_predictions"])
@pytest.mark.parametrize("start", [runs.begin, dry_run.describe])
def test_missing_teacher_is_named_before_anything_is_built(
    start, flag, tmp_path
):
    missing = str(tmp_path / "nowhere")
    config = config_tree.override(
        presets.preset("tiny"), {f"self_training.{flag}": missing}
    )
    workdir = workdirs.Workdir(str(tmp_path / "run"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        start(config, workdir)
    assert not files.exists(workdir.root)


def test_student_of_another_run_teaches_a_remote_one(finished):
    source = finished.workdir.folder("student_1")
    run = make_run(
        "ram://another-run",
        **{
            **WITHOUT_POLICY,
            "self_training.teacher_directory": source,
            "fixres.resolution": 0,
        },
    )
    self_training.run_all(run)
    fingerprint = shards.read_manifest(source)["fingerprint"]
    teacher = shards.read_manifest(run.workdir.teacher)
    predictions = shards.read_manifest(run.workdir.predictions(1))
    assert teacher["fingerprint"] == fingerprint
    assert predictions["teacher_fingerprint"] == fingerprint
    assert shards.is_finished(run.workdir.export)
    assert files.exists("ram://another-run/report.html")


def write_given(source: runs.Run, path, splits) -> str:
    """Write probabilities of images by path: surely their true classes."""
    paths, labels = [], []
    for folder, split in splits:
        directory = source.workdir.folder(folder)
        for index in shards.index_paths(directory, split):
            found = pq.read_table(index)
            paths += found["key"].to_pylist()
            labels += found["label"].to_pylist()
    # Unlabeled images have no label in their index: any class will do.
    classes = [place % 10 if c is None else c for place, c in enumerate(labels)]
    table = pa.table(
        {
            "path": paths,
            "probabilities": (0.9 * np.eye(10)[classes] + 0.01).tolist(),
        }
    )
    pq.write_table(table, path)
    return str(path)


HELD_OUT = (("labeled", "validation"), ("labeled", "test"))


def test_a_table_of_probabilities_is_the_first_teacher(finished, tmp_path):
    path = write_given(
        finished,
        tmp_path / "mine.parquet",
        [("unlabeled", "unlabeled"), *HELD_OUT],
    )
    run = make_run(
        tmp_path / "run",
        **{
            **WITHOUT_POLICY,
            "self_training.teacher_predictions": path,
            "self_training.allow_weak_teacher": False,
            "fixres.resolution": 0,
        },
    )
    for stage in ("labeled", "unlabeled"):
        shutil.copytree(
            finished.workdir.folder(stage), run.workdir.folder(stage)
        )
    assert "as given" in dry_run.describe(run.config, run.workdir)

    rows = self_training.run_all(run)

    teacher = shards.read_manifest(run.workdir.teacher)
    assert "checkpoints" not in os.listdir(run.workdir.teacher)
    assert (teacher["num_missing"], teacher["num_unknown"]) == (0, 0)
    predicted = shards.read_manifest(run.workdir.predictions(1))
    assert predicted["teacher_fingerprint"] == teacher["fingerprint"]
    assert predicted["num_images"] == teacher["num_rows"] - sum(
        shards.read_split(run.workdir.labeled, split).num_records
        for _, split in HELD_OUT
    )
    # It is measured like any model, and the student beside it.
    given_rows = [row for row in rows if row["model"] == "teacher"]
    assert {row["split"] for row in given_rows} == {"validation", "test"}
    assert {row["accuracy"] for row in given_rows} == {1.0}
    assert [
        (row["model"], row["baseline"])
        for row in filter(results.is_comparison, rows)
    ] == [("student_1", "teacher")] * 2
    exported = shards.read_manifest(run.workdir.export)
    assert exported["model"] == "student_1"
    assert "Student 1" in files.read_text(run.workdir.report)
    page = files.join(run.workdir.root, "page.html")
    pseudo_label_page.write_page(page, run.workdir, 1)
    assert "The teacher is right on 100.0" in files.read_text(page)
    labels.label(run, run.recipe.students[0])

    os.remove(path)
    write_given(finished, path, HELD_OUT)
    for stage in ("predictions_1", "selection_1", "pseudo_labeled_1"):
        shutil.rmtree(run.workdir.folder(stage))
    with pytest.raises(ValueError, match="has changed since this run took it"):
        labels.predict(run, run.recipe.labeling(1))


def test_a_table_of_unlabeled_images_alone_is_not_judged(
    finished, tmp_path, caplog
):
    path = write_given(
        finished, tmp_path / "mine.parquet", [("unlabeled", "unlabeled")]
    )
    table = pq.read_table(path)
    pq.write_table(table.slice(5), path)
    run = make_run(
        tmp_path / "run",
        **{
            "self_training.teacher_predictions": path,
            "self_training.allow_weak_teacher": False,
        },
    )
    for stage in ("labeled", "unlabeled"):
        shutil.copytree(
            finished.workdir.folder(stage), run.workdir.folder(stage)
        )
    models.make(run, run.recipe.teacher)
    labels.predict(run, run.recipe.labeling(1))

    assert "no row of 5 of the" in caplog.text
    assert "test images: nothing is measured" in caplog.text
    assert "naming one class was not checked" in caplog.text
    teacher = shards.read_manifest(run.workdir.teacher)
    assert (teacher["results"], teacher["standing"]) == ([], {})
    predicted = shards.read_manifest(run.workdir.predictions(1))
    assert predicted["num_images"] == len(table) - 5
    assert predicted["num_left_out"] == 5


def test_script_trains_a_teacher_on_two_replicas(
    finished, tmp_path, monkeypatch
):
    shorter = {"training.teacher_epochs": 1, "fixres.resolution": 0}
    run = make_run(tmp_path, **WITHOUT_POLICY, **shorter)
    shutil.copytree(finished.workdir.labeled, run.workdir.labeled)
    two = strategies.mirrored(2)
    monkeypatch.setattr(runtime, "make_strategy", lambda _: two)
    scripts.run(train, f"--workdir={tmp_path}", "--iteration=0")
    alone = shards.read_manifest(finished.workdir.teacher)
    teacher = shards.read_manifest(run.workdir.teacher)
    assert teacher["num_parameters"] == alone["num_parameters"]
    assert teacher["fingerprint"] != alone["fingerprint"]


def outcome(root: str):
    """Return what a run ends with: selected images, and all accuracies."""
    selected = [
        pq.read_table(path).to_pydict()
        for path in files.glob(f"{root}/selection_1/selection-*.parquet")
    ]
    return selected, files.read_json(f"{root}/results.json")


def start(root: pathlib.Path) -> subprocess.Popen:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "run_scripts.noisy_student",
            "--preset=tiny",
            f"--workdir={root}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )


def kill_in(stage: str, root: pathlib.Path) -> None:
    """Run until a stage has begun to write, then kill without a warning."""
    process = start(root)
    while process.poll() is None:
        directory = root / stage
        if directory.exists() and any(directory.iterdir()):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_and_finished_by_scripts_ends_as_if_never_killed(
    finished, tmp_path, capsys
):
    """benchmarks.kill_and_resume kills in all stages, at any moment."""
    root = tmp_path / "killed"
    flag = f"--workdir={root}"
    kill_in("teacher", root)
    kill_in("predictions_1", root)
    scripts.run(predict, flag, "--shard_index=0", "--num_shard_workers=2")
    scripts.run(predict, flag, "--shard_index=1", "--num_shard_workers=2")
    scripts.run(select, flag)
    kill_in("student_1", root)
    assert not (root / "export").exists()
    scripts.run(train, flag, "--iteration=1")
    scripts.run(finetune_fixres, flag)
    scripts.run(export, flag)
    scripts.run(evaluate, flag)
    assert outcome(str(root)) == outcome(finished.workdir.root)
    # The command of the whole loop finds nothing left to do.
    capsys.readouterr()
    scripts.run(noisy_student, "--preset=tiny", flag)
    assert f"classifier: {root}/export/saved_model" in capsys.readouterr().out
    assert outcome(str(root)) == outcome(finished.workdir.root)
