import dataclasses
import json
import sys

import pytest

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import shards
from study import catalog, run_records, runner
from study.fashion_mnist import arms, directions, document
from tests.study import fakes

EXPERIMENT = arms.EXPERIMENT
MAIN, NOISE = catalog.study("main"), catalog.study("noise")


def job(tmp_path, arm="supervised", seed=1):
    return runner.Job(EXPERIMENT, EXPERIMENT.arm(arm), seed, str(tmp_path))


def finish(command):
    """Stand in for a run: close its folder."""
    flags = dict(word.removeprefix("--").split("=", 1) for word in command[3:])
    root = flags["workdir"]
    folders = workdirs.Workdir(root)
    for folder in (folders.export, folders.robustness):
        files.make_directories(folder)
        shards.write_manifest(folder, {})


def test_command_names_only_what_differs_from_the_preset(tmp_path):
    command = runner.command(job(tmp_path, "no_noise"))
    assert command[1:3] == ["-m", "run_scripts.noisy_student"]
    assert "--preset=fashion_mnist" in command
    assert "--seed=1" in command
    assert "--augmentation.unlabeled.policy=none" in command
    assert "--training.noise_unlabeled=false" in command
    assert not any("optimizer.momentum" in word for word in command)


def test_seeds_come_one_after_the_other(tmp_path):
    order = [
        (each.seed, each.arm.name)
        for each in runner.jobs_of(NOISE, seeds=[0, 2], root="x")
    ]
    assert order == [
        *((0, name) for name in NOISE.arms),
        *((2, name) for name in NOISE.arms),
    ]


def test_what_an_arm_needs_runs_first_and_once(tmp_path):
    ran = []

    def execute(command):
        ran.append(command[3].split("/")[-2])
        finish(command)

    for _ in range(2):
        runner.make(job(tmp_path, "no_noise"), execute)
    # A finished run that is asked for is started again, to be recorded.
    assert ran == ["noisy_student", "no_noise", "no_noise"]


def test_recorded_runs_are_skipped_without_their_folders(tmp_path):
    records = str(tmp_path / "records")
    for name in NOISE.arms:
        run_records.write(records, fakes.record(name, 0, {"student_1": 0.7}))

    ran = []
    jobs = runner.jobs_of(NOISE, seeds=[0], root=str(tmp_path))
    runner.run(jobs, records, ran.append)
    assert ran == []


def test_a_missing_environment_is_named_before_the_first_run(tmp_path):
    def execute(command):
        raise AssertionError(command)

    jobs = runner.jobs_of(
        catalog.study("peers"),
        seeds=[0],
        root=str(tmp_path),
        semilearn_python="no/python",
    )
    with pytest.raises(ValueError, match="--semilearn_python=no/python"):
        runner.run(jobs, str(tmp_path / "records"), execute)


def test_images_are_prepared_once_before_the_first_run(tmp_path):
    happened = []

    def execute(command):
        happened.append("run")
        begin(first, num_students=0)

    experiment = dataclasses.replace(EXPERIMENT, prepare=happened.append)
    first = dataclasses.replace(
        job(tmp_path), experiment=experiment, robustness=False
    )
    for _ in range(2):
        runner.run([first], str(tmp_path / "records"), execute)
    # The second time there is nothing to do.
    assert happened == [str(tmp_path), "run"]


def test_runs_write_where_this_program_does(tmp_path, monkeypatch):
    # Not to descriptor 2, whose filter would take their log for remarks.
    with open(tmp_path / "terminal", "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        program = "import sys; sys.stderr.write('I1129 15:21:37 a line')"
        runner.run_command([sys.executable, "-c", program])
    assert (tmp_path / "terminal").read_text() == "I1129 15:21:37 a line"


def test_robustness_that_was_put_off_is_to_do(tmp_path):
    records = str(tmp_path / "records")
    run_records.write(records, fakes.record("supervised", 1, {"teacher": 0.7}))
    without = dataclasses.replace(job(tmp_path), robustness=False)
    assert runner.is_recorded(without, records)
    assert not runner.is_recorded(job(tmp_path), records)
    assert "--evaluation.robustness=false" in runner.command(without)
    baseline, _ = fakes.main_records(
        1, supervised=0.7, students=(0.7, 0.7, 0.7, 0.7)
    )
    run_records.write(records, baseline)
    assert runner.is_recorded(job(tmp_path), records)


def test_there_are_no_records_before_the_first_run(tmp_path):
    assert run_records.read_all(str(tmp_path / "records")) == []


def test_record_of_a_stopped_run_is_kept_and_counts_as_unfinished(tmp_path):
    root, records = str(tmp_path / "study"), str(tmp_path / "records")
    stopped = runner.Job(
        EXPERIMENT, EXPERIMENT.arm("noisy_student"), 1, root, robustness=False
    )
    begin(stopped, num_students=2)
    runner.record_begun(main_jobs(root), records)
    (record,) = run_records.read_all(records)
    assert [row["model"] for row in record["results"]] == [
        "teacher",
        "student_1",
        "student_2",
    ]
    assert not runner.is_recorded(stopped, records)
    begin(stopped, num_students=3)
    runner.record_begun(main_jobs(root), records)
    assert runner.is_recorded(stopped, records)


def main_jobs(root):
    return runner.jobs_of(MAIN, seeds=[1], root=root, robustness=False)


def begin(job, *, num_students):
    """Stand in for a run that was stopped."""
    workdirs.write_config(job.config, job.workdir)
    files.make_directories(job.workdir.labeled)
    shards.write_manifest(
        job.workdir.labeled,
        {"class_names": ["a", "b"], "counts_per_class": {"train": [5, 5]}},
    )
    for iteration in range(num_students + 1):
        name = f"student_{iteration}" if iteration else "teacher"
        folder = job.workdir.folder(name)
        files.make_directories(folder)
        row = fakes.row_of_test(name, 0.7)
        shards.write_manifest(folder, {"model": name, "results": [row]})


def test_arms_can_be_chosen_and_unknown_ones_are_named(tmp_path):
    root = str(tmp_path)
    (job,) = runner.jobs_of(NOISE, seeds=[0], root=root, arms=["no_noise"])
    assert job.arm.name == "no_noise"
    with pytest.raises(ValueError, match="--arms=no_nose: noise has"):
        list(runner.jobs_of(NOISE, seeds=[0], root=root, arms=["no_nose"]))


def test_labels_of_all_images_leave_none_unlabeled(tmp_path):
    study = catalog.study("solar_cells_40")
    (job,) = runner.jobs_of(
        study, seeds=[10], root=str(tmp_path), arms=["all_labels_40"]
    )
    assert runner.multiply_adds(job) > 0


def test_dry_run_says_what_is_recorded_and_what_is_to_do(tmp_path):
    records = str(tmp_path / "records")
    run_records.write(records, fakes.record("no_noise", 0, {"student_1": 0.7}))
    text = runner.describe(
        runner.jobs_of(NOISE, seeds=[0], root=str(tmp_path)),
        records,
        multiply_adds_per_second=1e9,
    )
    assert "no_noise, seed 0: recorded" in text
    assert "noised_teacher, seed 0: about" in text
    assert "--self_training.noised_teacher=true" in text


def test_records_keep_what_matters_and_no_path(tmp_path):
    root = str(tmp_path / "study")
    run = workdirs.Workdir(files.join(root, "supervised", "seed_1"))
    arm = dataclasses.replace(
        EXPERIMENT.arm("supervised"),
        changes={
            **EXPERIMENT.arm("supervised").changes,
            "data.unlabeled": "{workdir}/images",
        },
    )
    workdirs.write_config(EXPERIMENT.resolve(arm, seed=1, workdir=root), run)
    files.make_directories(run.labeled)
    shards.write_manifest(
        run.labeled,
        {"class_names": ["a", "b"], "counts_per_class": {"train": [5, 5]}},
    )
    files.make_directories(run.teacher)
    row = fakes.row_of_test("teacher", 0.7)
    shards.write_manifest(
        run.teacher,
        {
            "model": "teacher",
            "num_parameters": 7,
            "resolution": 28,
            "results": [row],
        },
    )
    lines = [
        {"kind": "train", "step": step, "loss": 1 / step}
        for step in range(1, 101)
    ]
    files.write_text(
        files.join(run.teacher, "metrics.jsonl"),
        "".join(json.dumps(line) + "\n" for line in lines),
    )
    record = run_records.of_run(run, arm="supervised", study_directory=root)
    records = str(tmp_path / "records")
    run_records.write(records, record)
    (read,) = run_records.read_all(records)
    assert read == record
    assert run_records.rows_of(read, "teacher") == [
        fakes.row_of_test("teacher", 0.7)
    ]
    assert read["models"]["teacher"]["num_parameters"] == 7
    assert read["curves"]["teacher"]["train"]["step"][-1] == 100
    assert len(read["curves"]["teacher"]["train"]["loss"]) <= 40
    assert read["config"]["data"]["unlabeled"] == "{workdir}/images"
    path = run_records.path_of(records, "supervised", 1)
    assert str(tmp_path) not in files.read_text(path)


def test_document_gets_tables_and_plots(tmp_path):
    records = str(tmp_path / "records")
    for seed in (0, 1):
        for record in fakes.main_records(
            seed, supervised=0.7, students=(0.7, 0.72, 0.73, 0.75)
        ):
            run_records.write(records, record)
    path = tmp_path / "study.md"
    names = [study.name for study in directions.STUDIES]
    names += ["robustness", "pseudo_labels", "verdicts", "undecided"]
    names += ["drawn_labels", "drawn_differences", "search"]
    path.write_text(
        "".join(
            f"<!-- table: {name} -->\n<!-- end of table -->\n" for name in names
        )
    )
    document.rewrite(str(path), records)
    first = path.read_text()
    assert "75.00 (74.2 to 75.8)" in first
    assert (tmp_path / "study" / "models.svg").exists()
    claims = (tmp_path / "study" / "claims.svg").read_text()
    assert "the last student beats" in claims
    document.rewrite(str(path), records)
    assert path.read_text() == first
    assert (tmp_path / "study" / "claims.svg").read_text() == claims


def test_document_without_a_place_is_refused(tmp_path):
    path = tmp_path / "study.md"
    path.write_text("nothing\n")
    (tmp_path / "records").mkdir()
    with pytest.raises(ValueError, match="no place for the table 'main'"):
        document.rewrite(str(path), str(tmp_path / "records"))


@pytest.mark.parametrize(
    ("name", "images"), [("long_tail", "long_tail"), ("hard_unsure", "unsure")]
)
def test_own_images_are_a_part_of_the_main_arms(tmp_path, name, images):
    made, ran = [], []

    def write_part(data, config, directory):
        made.append(
            (data.root, config.selection.confidence_threshold, directory)
        )

    experiment = dataclasses.replace(EXPERIMENT, parts={images: write_part})

    def execute(command):
        ran.append(command)
        finish(command)

    arm = dataclasses.replace(job(tmp_path, name), experiment=experiment)
    runner.make(arm, execute)
    (source, threshold, images), *others = made
    assert not others
    assert source == f"{tmp_path}/noisy_student/seed_1"
    assert threshold == 0.8
    assert f"--data.unlabeled={images}/*.tfrecord" in ran[-1]
    # They would lie among the run's own stages.
    assert images != arm.workdir.root
