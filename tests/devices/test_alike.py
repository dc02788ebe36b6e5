import dataclasses

import pytest
from absl import logging

from noisy_student_tf import configs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.devices import alike, runtime

CHIEF = alike.Worker(version=2021000, flags=7, seen=8, clock=1_000_000)
PATH = "/shared/run/config.json"


def problems_of(**changes):
    other = dataclasses.replace(CHIEF, **changes)
    return alike.find_problems([CHIEF, CHIEF, other], PATH)


def test_equal_workers_have_no_problems():
    assert problems_of() == []


def test_another_version_is_named():
    (problem,) = problems_of(version=alike.version_number("2.18.1-rc0"))
    assert problem == (
        "Worker 2 has TensorFlow 2.18.1, the chief 2.21.0: install the same on "
        "all."
    )


def test_other_flags_are_named():
    (problem,) = problems_of(flags=6)
    assert problem.startswith("Worker 2 was started with other flags")


def test_a_workdir_that_a_worker_does_not_see_is_named():
    for seen in (0, 9):
        (problem,) = problems_of(seen=seen)
        assert problem.startswith(f"Worker 2 does not see {PATH} as the chief")
        assert "--workdir must be a directory that all workers share" in problem


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that checks two workers, the second of them changed."""
    config = configs.Config()
    path = tmp_path / "config.json"
    path.write_text(config_tree.to_json(config))

    def check(change):
        def agree(strategy, numbers):
            other = dataclasses.astuple(change(alike.Worker(*numbers)))
            return [numbers, list(other)]

        monkeypatch.setattr(runtime, "agree", agree)
        alike.check(None, config, str(path))

    return check


def test_workers_that_see_the_chiefs_file_pass(run, caplog):
    run(lambda worker: worker)
    assert not caplog.records


def test_a_worker_without_the_file_is_refused(run):
    with pytest.raises(ValueError, match="Worker 1 does not see"):
        run(lambda worker: dataclasses.replace(worker, seen=0))


def test_a_clock_that_is_off_is_a_warning(run, caplog):
    def an_hour_ahead(worker):
        return dataclasses.replace(worker, clock=worker.clock + 3600)

    with caplog.at_level(logging.WARNING, logger="absl"):
        run(an_hour_ahead)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "Worker 1's clock is 3600 s ahead of the chief's"
    )


def test_folders_of_a_machine_may_differ():
    def matters(**values):
        config = configs.Config(runtime=configs.RuntimeConfig(**values))
        return alike._what_matters(config)

    assert matters(cache_directory="/disk") == matters()
    assert matters(precision="mixed_bfloat16") != matters()
