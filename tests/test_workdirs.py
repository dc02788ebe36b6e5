import dataclasses

import pytest

from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.configs import config_tree


def test_written_configuration_is_read_back(tmp_path):
    folder = workdirs.Workdir(str(tmp_path / "run"))
    run = configs.Config(seed=5)
    workdirs.write_config(run, folder)
    assert workdirs.read_config(folder) == run


def test_directory_that_cannot_be_written_is_named():
    folder = workdirs.Workdir("/proc/version/run")
    with pytest.raises(OSError, match="--workdir=/proc/version/run: it cannot"):
        workdirs.write_config(configs.Config(), folder)


def test_another_configuration_is_refused_with_the_differing_fields(tmp_path):
    folder = workdirs.Workdir(str(tmp_path))
    workdirs.write_config(configs.Config(), folder)
    files.make_directories(folder.labeled)
    files.write_json(f"{folder.labeled}/plan.json", {})
    other = config_tree.override(
        configs.Config(), {"seed": 1, "optimizer.momentum": 0.5}
    )
    with pytest.raises(ValueError, match="seed: 0 became 1") as caught:
        workdirs.check_config(other, folder)
    assert "optimizer.momentum: 0.9 became 0.5" in str(caught.value)


def test_a_run_that_has_made_nothing_may_be_begun_otherwise(tmp_path):
    folder = workdirs.Workdir(str(tmp_path))
    workdirs.write_config(configs.Config(), folder)
    # A stage makes its folder before it finds that a path is wrong.
    files.make_directories(folder.labeled)
    mended = configs.Config(seed=1)
    workdirs.check_config(mended, folder)
    workdirs.write_config(mended, folder)
    assert workdirs.read_config(folder) == mended


def test_a_run_may_go_on_on_other_devices(tmp_path):
    folder = workdirs.Workdir(str(tmp_path))
    run = configs.Config()
    workdirs.write_config(run, folder)
    moved = dataclasses.replace(
        run, runtime=configs.RuntimeConfig(strategy="mirrored", num_devices=2)
    )
    workdirs.check_config(moved, folder)
    workdirs.write_config(moved, folder)
    assert workdirs.read_config(folder) == run


def test_directory_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="begin one with --preset"):
        workdirs.read_config(workdirs.Workdir(str(tmp_path)))


def test_folders_of_a_run():
    folder = workdirs.Workdir("/run")
    assert folder.folder("student_2") == "/run/student_2"
    assert folder.saved_model == "/run/export/saved_model"


@pytest.mark.parametrize("name", ["run [1]", "run*", "what?"])
def test_name_that_tensorflow_takes_for_a_pattern_is_refused(name):
    with pytest.raises(ValueError, match="for patterns") as caught:
        workdirs.named(name)
    # The advised name is accepted.
    advised = str(caught.value).rpartition("--workdir='")[2].removesuffix("'.")
    assert workdirs.named(advised).root == advised


def test_home_directory_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert workdirs.named("~/run").root == "/home/me/run"
