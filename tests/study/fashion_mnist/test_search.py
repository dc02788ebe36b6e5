import dataclasses

import pytest

from noisy_student_tf import files
from study import runner
from study.fashion_mnist import arms, drawn_labels, search
from study.peers import fixmatch
from tests.study import fakes

LOOPS = [arm for arm in search.EXPERIMENT.arms if arm.kind == "loop"]
PEERS = [arm for arm in search.EXPERIMENT.arms if arm.kind != "loop"]


def resolve(arm):
    return search.EXPERIMENT.resolve(arm, seed=search.SEED, workdir="w")


def test_searches_are_of_equal_size():
    sizes = {len([*method.settings()]) for method in search.METHODS}
    assert sizes == {6}
    assert len(search.EXPERIMENT.arms) == 30


def test_no_table_has_the_draw_of_the_search():
    assert search.SEED not in drawn_labels.SEEDS
    config = resolve(LOOPS[0])
    assert (config.seed, config.data.split_seed) == (100, 100)


@pytest.mark.parametrize("arm", LOOPS, ids=lambda arm: arm.name)
def test_every_loop_sees_as_many_images(arm):
    config = resolve(arm)
    steps = config.training.teacher_epochs * 100 / 16
    images = steps * 16
    steps = config.training.student_epochs * 100 / 16
    students = config.self_training.num_iterations
    images += students * steps * (16 + config.training.unlabeled_batch_size)
    assert images == pytest.approx(search.NUM_IMAGES)
    assert search.NUM_IMAGES == 304_000


@pytest.mark.parametrize("arm", PEERS, ids=lambda arm: arm.name)
def test_every_peer_sees_as_many_images(arm):
    views = fixmatch.num_views(resolve(arm), arm.settings)
    assert views == pytest.approx(304_000, rel=1e-3)
    asked = fixmatch.request(
        resolve(arm), "x", num_labeled=100, settings=arm.settings
    )
    assert asked["algorithm"] in arm.name
    assert asked["learning_rate"] == arm.settings["learning_rate"]


def test_records_of_a_search_know_nothing_of_test_images(tmp_path):
    arm = PEERS[0]
    job = runner.Job(search.EXPERIMENT, arm, search.SEED, str(tmp_path))
    files.make_directories(job.workdir.root)
    row = fakes.row_of_test("student_1", 0.7)
    files.write_json(job.workdir.results, [row, {**row, "split": "validation"}])
    hidden = runner._record(job)["results"]
    assert [row["split"] for row in hidden] == ["validation"]
    shown = dataclasses.replace(job, experiment=arms.EXPERIMENT)
    assert len(runner._record(shown)["results"]) == 2


def validated(arm, model, accuracy):
    record = fakes.record(arm, search.SEED, {})
    row = fakes.row_of_test(model, accuracy) | {"split": "validation"}
    return record | {"results": [row]}


def test_the_best_is_marked_once_all_settings_have_run():
    records = [
        validated(f"search_noisy_student_{number}", "student_3", accuracy)
        for number, accuracy in enumerate((0.7, 0.74, 0.71, 0.72, 0.73, 0.6))
    ]
    table = search.of_trials(records)
    marked = [line for line in table.splitlines() if "**" in line]
    assert marked == [
        "| Noisy Student | base learning rate 0.4, confidence threshold 0.95 "
        "| **74.00** |"
    ]
    assert table.count("| open |") == 24
    assert "**" not in search.of_trials(records[:5])


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match=r"'rate'.*learning_rate"):
        fixmatch.request(
            resolve(PEERS[0]), "x", num_labeled=100, settings={"rate": 1}
        )


def test_arms_of_all_experiments_share_a_folder_of_records():
    experiments = (arms.EXPERIMENT, drawn_labels.EXPERIMENT, search.EXPERIMENT)
    names = [arm.name for each in experiments for arm in each.arms]
    assert len(names) == len(set(names))
