import errno
import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.devices import watching
from noisy_student_tf.training import log, loop, progress, state
from tests.training import tiny

UNTIMED = ("images_per_second", "input_wait_share")


class Killed(Exception):
    """Stands for a SIGKILL: nothing of the run is closed or saved."""


def train(directory, *, total_steps=6, **options):
    configuration = options.pop("config", None) or tiny.make_config()
    task = {
        "config": configuration,
        "durations": tiny.make_durations(
            configuration, total_steps=total_steps
        ),
        "directory": str(directory),
        "strategy": tf.distribute.OneDeviceStrategy("/cpu:0"),
        "models": state.ModelSource(build=lambda: tiny.build(dropout_rate=0.5)),
        "make_stream": tiny.make_stream,
        "evaluate": tiny.evaluate,
        "title": "student",
    }
    return loop.train(progress.Task(**(task | options)))


def kill_at(num_evaluations):
    """Return an evaluation that kills the run the n-th time it is called."""
    calls = []

    def evaluate(model):
        calls.append(model)
        if len(calls) == num_evaluations:
            raise Killed
        return tiny.evaluate(model)

    return evaluate


def records(directory):
    return [
        {name: value for name, value in record.items() if name not in UNTIMED}
        for record in log.read(f"{directory}/metrics.jsonl")
    ]


def check_equal(first, second):
    for models in (
        (first.model, second.model),
        (first.ema_model, second.ema_model),
    ):
        for a, b in zip(*map(tiny.weights_of, models), strict=True):
            np.testing.assert_array_equal(a, b)
    assert first.metrics == second.metrics


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    return directory, train(directory)


def test_record_has_a_line_for_each_loop_and_validation(undisturbed):
    directory, result = undisturbed
    lines = log.read(f"{directory}/metrics.jsonl")
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("train", 2),
        ("validation", 2),
        ("train", 4),
        ("validation", 4),
        ("train", 6),
        ("validation", 6),
    ]
    assert list(lines[0]) == [
        "kind",
        "step",
        "epoch",
        "loss",
        "labeled_loss",
        "labeled_accuracy",
        "unlabeled_loss",
        "unlabeled_agreement",
        "learning_rate",
        "images_per_second",
        "input_wait_share",
    ]
    assert lines[0]["epoch"] == 1.0
    assert 0 <= lines[-2]["input_wait_share"] <= 1
    assert set(result.metrics) == {"raw_accuracy", "ema_accuracy"}
    assert result.metrics["ema_accuracy"] == lines[-1]["ema_accuracy"]


def test_loss_is_labeled_plus_ratio_times_unlabeled_plus_l2(tmp_path):
    configuration = tiny.make_config(**{"optimizer.weight_decay": 0.0})
    train(tmp_path, total_steps=1, config=configuration)
    line = log.read(f"{tmp_path}/metrics.jsonl")[0]
    assert line["loss"] == pytest.approx(
        line["labeled_loss"] + 2.0 * line["unlabeled_loss"], rel=1e-6
    )


@pytest.mark.parametrize("num_evaluations", [1, 3])
def test_killed_and_resumed_equals_never_killed(
    undisturbed, tmp_path, num_evaluations
):
    # At the first validation there is no checkpoint yet; at the third (the
    # raw model's at step 4) lines of steps 3 and 4 have to be taken back.
    directory, expected = undisturbed
    with pytest.raises(Killed):
        train(tmp_path, evaluate=kill_at(num_evaluations))
    check_equal(train(tmp_path), expected)
    assert records(tmp_path) == records(directory)


@pytest.mark.parametrize("short_call_seconds, saved", [(0.0, 3), (1e9, 4)])
def test_sigterm_saves_and_exits_and_loses_nothing(
    undisturbed, tmp_path, monkeypatch, short_call_seconds, saved
):
    # Calls of one step save within a loop; longer ones, at its end, before
    # its line is written.
    monkeypatch.setattr(watching, "_SHORT_CALL_SECONDS", short_call_seconds)
    monkeypatch.setattr(watching, "_LONG_CALL_SECONDS", 1e9)
    directory, expected = undisturbed
    before = signal.getsignal(signal.SIGTERM)

    def evaluate(model):
        os.kill(os.getpid(), signal.SIGTERM)
        return tiny.evaluate(model)

    with pytest.raises(SystemExit) as exit_:
        train(tmp_path, evaluate=evaluate)
    assert exit_.value.code == watching.EXIT_CODE == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert files.list_directory(f"{tmp_path}/checkpoints") == [
        "step-00000002",
        f"step-{saved:08d}",
    ]
    check_equal(train(tmp_path), expected)
    assert records(tmp_path) == records(directory)


def test_failed_save_keeps_the_checkpoint_before(
    undisturbed, tmp_path, monkeypatch
):
    write_json = files.write_json

    def fail_at_four(path, content):
        if "step-00000004" in path:
            raise OSError(errno.ENOSPC, "No space left on device", path)
        write_json(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", fail_at_four)
        with pytest.raises(OSError, match="No space left"):
            train(tmp_path)
    check_equal(train(tmp_path), undisturbed[1])
    assert records(tmp_path) == records(undisturbed[0])


def test_all_checkpoints_are_written_by_one_thread_beside_training(
    tmp_path, monkeypatch
):
    write_json, writers = files.write_json, []

    def look(path, content):
        writers.append(threading.current_thread())
        write_json(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", look)
        train(tmp_path)
    assert len(writers) == 3
    assert len(set(writers)) == 1
    assert threading.main_thread() not in writers


def test_longer_loops_and_calls_change_nothing_but_the_lines(
    undisturbed, tmp_path
):
    configuration = tiny.make_config(**{"training.steps_per_loop": 4})
    check_equal(train(tmp_path, config=configuration), undisturbed[1])
    lines = [line for line in records(tmp_path) if line["kind"] == "train"]
    assert [line["step"] for line in lines] == [4, 6]
    losses = [
        line["loss"]
        for line in records(undisturbed[0])
        if line["kind"] == "train"
    ]
    assert lines[0]["loss"] == pytest.approx(np.mean(losses[:2]), rel=1e-12)


def test_finished_run_returns_at_once_and_keeps_its_record(undisturbed):
    directory, expected = undisturbed
    before = (directory / "metrics.jsonl").read_text()

    def no_stream(start_step):
        raise AssertionError("a finished run needs no input")

    check_equal(train(directory, make_stream=no_stream), expected)
    assert (directory / "metrics.jsonl").read_text() == before


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(
    undisturbed, tmp_path
):
    shutil.copytree(undisturbed[0], tmp_path, dirs_exist_ok=True)
    data = tmp_path / "checkpoints/step-00000006/state.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    check_equal(train(tmp_path), undisturbed[1])
    assert records(tmp_path) == records(undisturbed[0])


def test_all_checkpoints_damaged_is_an_error(undisturbed, tmp_path):
    shutil.copytree(undisturbed[0], tmp_path, dirs_exist_ok=True)
    for manifest in tmp_path.glob("checkpoints/*/manifest.json"):
        manifest.write_text("{")
    with pytest.raises(ValueError, match="every checkpoint is damaged"):
        train(tmp_path)


def test_checkpoint_of_another_model_is_an_error(undisturbed, tmp_path):
    shutil.copytree(undisturbed[0], tmp_path, dirs_exist_ok=True)
    configuration = tiny.make_config(**{"optimizer.name": "sgd"})
    with pytest.raises(ValueError, match="of another model or optimizer"):
        train(tmp_path, config=configuration)


def test_unfinished_checkpoint_is_removed_and_newest_are_kept(tmp_path):
    unfinished = tmp_path / "checkpoints/step-00000009"
    unfinished.mkdir(parents=True)
    (unfinished / "state.index").write_text("half")
    configuration = tiny.make_config(
        **{
            "training.keep_checkpoints": 2,
            "training.steps_per_loop": 1,
            "training.checkpoint_every_steps": 1,
        }
    )
    train(tmp_path, config=configuration, total_steps=3)
    assert files.list_directory(f"{tmp_path}/checkpoints") == [
        "step-00000002",
        "step-00000003",
    ]


def test_nan_is_reported_with_its_metric_and_step(tmp_path):
    def poisoned(start_step):
        def poison(step, batch):
            bad = tf.cast(step + start_step == 4, tf.float32)
            soft_labels = batch["soft_labels"] + tf.math.log(1.0 - bad) * bad
            return batch | {"soft_labels": soft_labels}

        return tiny.make_stream(start_step).enumerate().map(poison)

    with pytest.raises(FloatingPointError, match=r"loss is .* at step 5\."):
        train(tmp_path, make_stream=poisoned)
    assert records(tmp_path)[-1]["step"] == 4
    assert files.list_directory(f"{tmp_path}/checkpoints") == [
        "step-00000002",
        "step-00000004",
    ]


def poisoned(bad_steps):
    """Return a stream whose batches of some steps have labels that are NaN."""

    def make_stream(start_step):
        def poison(step, batch):
            is_bad = tf.reduce_any(step + start_step == bad_steps)
            poison = tf.where(is_bad, tf.constant(np.nan), 0.0)
            return batch | {"soft_labels": batch["soft_labels"] + poison}

        return tiny.make_stream(start_step).enumerate().map(poison)

    return make_stream


def test_run_goes_back_and_leaves_the_bad_batches_out(tmp_path):
    # Steps 3 and 4 would take the batches 2 and 3; the fourth is bad, so both
    # are left out, and what follows is two batches ahead.
    def without_the_window(start_step):
        return tiny.make_stream(start_step + 2 * (start_step >= 2))

    configuration = tiny.make_config(**{"training.max_rollbacks": 1})
    options = {"config": configuration, "total_steps": 6}
    result = train(tmp_path / "bad", make_stream=poisoned([3]), **options)
    with pytest.raises(Killed):
        train(
            tmp_path / "good",
            evaluate=kill_at(3),
            make_stream=tiny.make_stream,
            **options,
        )
    expected = train(
        tmp_path / "good", make_stream=without_the_window, **options
    )
    check_equal(result, expected)
    line = log.read(f"{tmp_path}/bad/metrics.jsonl")[-2]
    assert (line["rollbacks"], line["skipped_batches"]) == (1, 2)


def test_going_back_is_bounded_and_exact_when_killed(tmp_path):
    configuration = tiny.make_config(**{"training.max_rollbacks": 2})
    options = {"config": configuration, "make_stream": poisoned([0, 3, 7])}
    with pytest.raises(FloatingPointError, match="loss is nan at step 6"):
        train(tmp_path / "bounded", **options)

    options["make_stream"] = poisoned([0, 3])
    expected = train(tmp_path / "whole", **options)
    with pytest.raises(Killed):
        train(tmp_path / "killed", evaluate=kill_at(3), **options)
    check_equal(train(tmp_path / "killed", **options), expected)
    assert records(tmp_path / "killed") == records(tmp_path / "whole")


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    def spoil(model):
        if spoil.calls == 2:
            model.classifier.bias.assign([np.inf] * tiny.NUM_CLASSES)
        spoil.calls += 1
        return {"accuracy": 0.0}

    spoil.calls = 0
    with pytest.raises(FloatingPointError, match=r"bias is not|loss is"):
        train(tmp_path, evaluate=spoil)
    assert files.list_directory(f"{tmp_path}/checkpoints") == ["step-00000002"]


def test_the_best_averages_are_kept_and_can_be_the_result(tmp_path):
    def evaluate(model):
        # Raw and averaged weights: 2 is the best step of three.
        evaluate.calls += 1
        return {
            "accuracy": [0.1, 0.1, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5][
                evaluate.calls - 1
            ]
        }

    evaluate.calls = 0
    values = {"training.keep_checkpoints": 1, "training.final_weights": "best"}
    configuration = tiny.make_config(**values)
    options = {"config": configuration, "total_steps": 8}
    result = train(tmp_path, evaluate=evaluate, **options)
    assert files.list_directory(f"{tmp_path}/checkpoints") == [
        "step-00000004",
        "step-00000008",
    ]
    assert result.step == 4
    assert result.metrics["ema_accuracy"] == 0.9
    configuration = tiny.make_config()
    shorter = train(tmp_path / "shorter", config=configuration, total_steps=4)
    for models in (
        (result.model, shorter.model),
        (result.ema_model, shorter.ema_model),
    ):
        for a, b in zip(*map(tiny.weights_of, models), strict=True):
            np.testing.assert_array_equal(a, b)
    # Finished, it ends with the best again.
    check_equal(train(tmp_path, **options), result)


def test_saving_leaves_training_going_on(tmp_path, monkeypatch):
    # The thread that writes step 2 waits for a line that a later step writes.
    write_json = files.write_json

    def write_late(path, content):
        if "step-00000002" in path:
            deadline = time.monotonic() + 30
            while not records(tmp_path)[-1:] or (
                records(tmp_path)[-1]["step"] < 4
            ):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        write_json(path, content)

    monkeypatch.setattr(files, "write_json", write_late)
    train(tmp_path)
    assert "step-00000002" in files.list_directory(f"{tmp_path}/checkpoints")


def test_too_small_a_disk_is_refused_before_the_first_step(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    with pytest.raises(ValueError, match=r"keep_checkpoints=3: .* GB are free"):
        train(tmp_path)


def test_a_directory_that_cannot_be_written_is_refused():
    with pytest.raises((OSError, tf.errors.OpError), match="/proc/version"):
        train("/proc/version/run")


def test_the_profile_of_some_steps_is_written(tmp_path):
    train(tmp_path, total_steps=4, profile_steps=(1, 3))
    assert list(tmp_path.glob("tensorboard/plugins/profile/*/*.xplane.pb"))


def test_the_first_images_are_drawn_with_their_labels(tmp_path):
    train(tmp_path, total_steps=2, class_names=("cat", "dog", "fish"))
    (path,) = tmp_path.glob("tensorboard/examples/events*")
    content = path.read_bytes()
    assert b"examples/labeled" in content
    assert b"examples/unlabeled" in content


def test_of_several_hosts_batches_the_first_ones_part_is_drawn(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(loop.replicas, "num_hosts", lambda strategy: 2)
    parts = []

    def make_stream(start_step, **part):
        parts.append(part)
        return tiny.make_stream(start_step)

    train(tmp_path, total_steps=2, make_stream=make_stream)
    # The picture's, and the training's own, which is of one host here.
    assert parts == [{"input_pipelines": 2, "input_pipeline_index": 0}, {}]


def test_a_stalled_pipeline_is_reported(tmp_path, caplog):
    stalled = threading.Event()

    def wait(step):
        deadline = time.monotonic() + 30
        while step == 3 and not any(
            "input pipeline has no batch" in r.getMessage()
            for r in caplog.records
        ):
            assert time.monotonic() < deadline
            stalled.wait(0.05)
        return step

    def make_stream(start_step):
        steps = tf.data.Dataset.counter(start_step).map(
            lambda step: tf.ensure_shape(
                tf.numpy_function(wait, [step], tf.int64), []
            )
        )
        return tf.data.Dataset.zip(steps, tiny.make_stream(start_step)).map(
            lambda step, batch: batch
        )

    configuration = tiny.make_config(**{"runtime.stall_seconds": 0.2})
    train(tmp_path, config=configuration, make_stream=make_stream)
    assert log.read(f"{tmp_path}/metrics.jsonl")[-1]["step"] == 6


def test_runs_on_remote_paths():
    result = train("ram://training/run", total_steps=2)
    lines = files.read_text("ram://training/run/metrics.jsonl").splitlines()
    assert json.loads(lines[-1])["kind"] == "validation"
    check_equal(train("ram://training/run", total_steps=2), result)


def test_teacher_trains_without_unlabeled_images(tmp_path):
    configuration = tiny.make_config()
    train(
        tmp_path,
        durations=tiny.make_durations(
            configuration, total_steps=1, has_unlabeled=False
        ),
        make_stream=lambda start_step: tiny.make_stream(
            start_step, num_unlabeled=0
        ),
    )
    assert "unlabeled_loss" not in log.read(f"{tmp_path}/metrics.jsonl")[0]


def test_stream_of_other_shapes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unlabeled_images have the shape"):
        train(
            tmp_path,
            make_stream=lambda start_step: tiny.make_stream(
                start_step, num_unlabeled=7
            ),
        )
    with pytest.raises(ValueError, match="this training takes"):
        train(
            tmp_path,
            make_stream=lambda start_step: tiny.make_stream(
                start_step, num_unlabeled=0
            ),
        )


def test_batch_that_replicas_cannot_share_is_refused():
    with pytest.raises(ValueError, match=r"labeled_batch_size.* 3 replicas"):
        loop.check_batch_divides(
            labeled_batch_size=4, unlabeled_batch_size=9, num_replicas=3
        )
    with pytest.raises(ValueError, match=r"labeled_batch_size.* in 4 parts"):
        loop.check_batch_divides(
            labeled_batch_size=4,
            unlabeled_batch_size=8,
            num_replicas=2,
            accumulation_steps=4,
        )
    with pytest.raises(ValueError, match=r"unlabeled_ratio.* 10 images"):
        loop.check_batch_divides(
            labeled_batch_size=4, unlabeled_batch_size=10, num_replicas=4
        )
