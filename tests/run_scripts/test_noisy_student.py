"""The order of work of docs/review.md: run, answer, run again."""

import csv

import numpy as np
import pytest

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import lookups, schema, shards
from noisy_student_tf.review.queues import building, facts
from run_scripts import compare, corrections, noisy_student
from tests.run_scripts import scripts

FLAGS = (
    "--preset=tiny",
    "--fixres.resolution=0",
    "--training.teacher_epochs=1",
    "--training.student_epochs=1",
    "--augmentation.labeled.policy=none",
    "--augmentation.unlabeled.policy=none",
)
NUM_ANSWERS = 6


def answer(workdir, path):
    """Answer what the queue shows first by the true labels, in a table."""
    (queue, *_) = building.build(workdir, facts.Settings())
    ids = [e.place.image_id for e in queue.entries[:NUM_ANSWERS]]
    truth = lookups.read(
        f"{workdir.unlabeled}/truth.parquet",
        "label",
        dtype=np.int64,
        unknown=schema.NO_LABEL,
    )
    columns = np.frombuffer(b"".join(ids), np.uint8).reshape(len(ids), -1)
    names = shards.read_manifest(workdir.labeled)["class_names"]
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_id", "class"])
        for image_id, label in zip(ids, truth.of(columns), strict=True):
            rows.writerow([image_id.hex(), names[label]])


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return a run, and one on its corrections with its student as teacher."""
    root = tmp_path_factory.mktemp("runs")
    first, second = f"{root}/mine", f"{root}/mine_2"
    scripts.run(noisy_student, *FLAGS, f"--workdir={first}")
    workdir = workdirs.Workdir(first)
    answer(workdir, f"{root}/answers.csv")
    table = f"--import_from={root}/answers.csv"
    scripts.run(corrections, f"--workdir={first}", table)
    scripts.run(
        noisy_student,
        *FLAGS,
        f"--data.corrections={first}/corrections.jsonl",
        f"--self_training.teacher_directory={first}/student_1",
        f"--workdir={second}",
    )
    return workdir, workdirs.Workdir(second)


def num_images(directory, split):
    return shards.read_manifest(directory)["splits"][split]["num_records"]


def test_answers_move_images_from_the_heap_to_the_labels(two):
    first, second = two
    labeled = [num_images(each.labeled, "train") for each in two]
    heap = [num_images(each.unlabeled, "unlabeled") for each in two]

    assert labeled[1] - labeled[0] == heap[0] - heap[1] == NUM_ANSWERS
    manifest = shards.read_manifest(second.labeled)
    assert manifest["corrections"]["num_new"] == NUM_ANSWERS
    assert num_images(first.labeled, "test") == num_images(
        second.labeled, "test"
    )


def test_the_last_student_is_the_first_teacher(two):
    first, second = two
    student = shards.read_manifest(first.folder("student_1"))

    teacher = shards.read_manifest(second.teacher)
    assert teacher["fingerprint"] == student["fingerprint"]
    assert not files.exists(f"{second.teacher}/metrics.jsonl")


def test_the_report_says_what_the_answers_gave(two):
    page = files.read_text(two[1].report)

    assert "What corrections gave" in page
    assert "This run is mine" in page
    assert f"now labeled</dt><dd>{NUM_ANSWERS}</dd>" in page
    assert "What corrections gave" not in files.read_text(two[0].report)


def test_both_are_compared_by_their_test_images(two, tmp_path, capsys):
    roots = [each.root for each in two]
    with scripts.parsed_flags(
        compare.define_flags, f"--output={tmp_path}/page.html"
    ):
        compare.main(["compare", *roots])

    text = capsys.readouterr().out
    count = num_images(two[0].labeled, "test")
    assert f"mine_2/student_1 against mine/student_1, {count} test" in text
    assert "data.corrections: (empty) | " in text
    assert (tmp_path / "page.html").exists()
