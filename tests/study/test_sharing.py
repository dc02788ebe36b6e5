import pytest

from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.records import shards
from study import sharing

BASE = presets.preset("tiny")
DATA = ["labeled", "unlabeled"]
LABELS = ["predictions_1", "selection_1", "pseudo_labeled_1"]


def changed(**fields):
    return config_tree.override(
        BASE, {name.replace("__", "."): v for name, v in fields.items()}
    )


@pytest.mark.parametrize(
    ("fields", "stages"),
    [
        ({}, [*DATA, "teacher", *LABELS, "student_1"]),
        ({"evaluation__robustness": True}, None),
        ({"self_training__num_iterations": 3}, None),
        # How a student learns leaves its labels alone.
        (
            {"augmentation__unlabeled__policy": "none"},
            [*DATA, "teacher", *LABELS],
        ),
        ({"training__unlabeled_ratio": 1.0}, [*DATA, "teacher", *LABELS]),
        ({"loss__pseudo_labels": "hard"}, [*DATA, "teacher", *LABELS]),
        # Which images it learns from leaves the predictions alone.
        (
            {"selection__balance": False},
            [*DATA, "teacher", "predictions_1"],
        ),
        # Who labels, and how.
        ({"self_training__noised_teacher": True}, [*DATA, "teacher"]),
        ({"labeling__flip": True}, [*DATA, "teacher"]),
        ({"data__unlabeled": "digits"}, ["labeled", "teacher"]),
        # The teacher itself.
        ({"seed": 1}, DATA),
        ({"training__teacher_epochs": 9.0}, DATA),
        ({"optimizer__momentum": 0.8}, DATA),
        ({"augmentation__labeled__magnitude": 1.0}, DATA),
        ({"self_training__teacher_width": 0.5}, DATA),
        ({"self_training__teacher_directory": "x"}, DATA),
        ({"model__width": 0.5}, DATA),
        # The images.
        ({"data__labeled_per_class": 5}, []),
        ({"model__resolution": 24}, ["labeled", "unlabeled"]),
    ],
    ids=str,
)
def test_a_stage_is_shared_if_nothing_it_reads_differs(fields, stages):
    everything = [*DATA, "teacher", *LABELS, "student_1"]
    expected = everything if stages is None else stages
    assert sharing.shareable_stages(BASE, changed(**fields)) == expected


def test_teacher_of_the_students_size_is_that_of_a_larger_student():
    small_teacher = changed(
        model__width=0.5, self_training__teacher_width=BASE.model.width
    )
    stages = sharing.shareable_stages(BASE, small_teacher)
    assert stages == [*DATA, "teacher", *LABELS]


def test_later_iterations_are_shared_as_far_as_both_go():
    stages = sharing.shareable_stages(
        changed(self_training__num_iterations=2),
        changed(self_training__num_iterations=3),
    )
    assert stages[-4:] == [
        "predictions_2",
        "selection_2",
        "pseudo_labeled_2",
        "student_2",
    ]


def begun(root, config):
    folders = workdirs.Workdir(str(root))
    workdirs.write_config(config, folders)
    return folders


def test_finished_stages_are_copied_and_unfinished_ones_are_not(tmp_path):
    have = begun(tmp_path / "a" / "seed_0", BASE)
    want = workdirs.Workdir(str(tmp_path / "b" / "seed_0"))
    for stage in ("labeled", "teacher"):
        folder = files.join(have.root, stage, "checkpoints")
        files.make_directories(folder)
        files.write_text(files.join(folder, "large"), "weights")
        files.write_text(files.join(have.root, stage, "content"), stage)
    shards.write_manifest(have.labeled, {"splits": {}})
    assert sharing.share(have, want, BASE) == ["labeled"]
    assert files.read_text(files.join(want.labeled, "content")) == "labeled"
    assert shards.is_finished(want.labeled)
    assert not files.exists(files.join(want.labeled, "checkpoints"))
    assert not files.exists(want.teacher)
    assert sharing.taken(want) == {"labeled": "a/seed_0"}
    # The other stage is finished later, and the first one stays.
    shards.write_manifest(have.teacher, {})
    assert sharing.share(have, want, BASE) == ["teacher"]
    assert set(sharing.taken(want)) == {"labeled", "teacher"}


def test_nothing_is_taken_from_oneself_or_from_what_has_not_begun(tmp_path):
    have = begun(tmp_path / "a" / "seed_0", BASE)
    files.make_directories(have.labeled)
    shards.write_manifest(have.labeled, {})
    assert sharing.share(have, have, BASE) == []
    nothing = workdirs.Workdir(str(tmp_path / "c"))
    assert sharing.share(nothing, have, BASE) == []
