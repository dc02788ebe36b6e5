import pytest

from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.records import shards
from noisy_student_tf.stages import data, runs
from tests.data_prep import small_pictures


def begin(root, unlabeled):
    config = config_tree.override(
        presets.preset("tiny"),
        {"data.unlabeled": f"files:{root}/{unlabeled}"},
    )
    return runs.begin(config, workdirs.Workdir(f"{root}/run"))


def test_a_wrong_unlabeled_source_is_told_before_anything_is_built(tmp_path):
    (tmp_path / "empty").mkdir()
    small_pictures.write_class_folders(f"{tmp_path}/heap", num_per_class=4)
    for wrong, error in (("nowhere", FileNotFoundError), ("empty", ValueError)):
        run = begin(tmp_path, wrong)
        with pytest.raises(error, match=wrong):
            data.build_labeled(run)
        assert not files.exists(run.workdir.labeled)
    # The mended command goes on in the same workdir.
    run = begin(tmp_path, "heap")
    data.build_labeled(run)
    assert shards.is_finished(run.workdir.labeled)
