import math

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.model import saved
from noisy_student_tf.records import held_out, shards
from noisy_student_tf.serving import exported
from noisy_student_tf.stages import data, export, runs
from tests.model import small_specs


def make_run(root) -> runs.Run:
    return runs.Run(
        config=config_tree.override(
            presets.preset("tiny"), {"fixres.resolution": 0}
        ),
        workdir=workdirs.Workdir(str(root)),
        strategy=tf.distribute.get_strategy(),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> runs.Run:
    """Return a run whose student has learned nothing, but is exported."""
    run = make_run(tmp_path_factory.mktemp("run"))
    data.build_labeled(run)
    names = tuple(runs.class_names(run))
    spec = small_specs.make_spec(
        num_classes=len(names), class_names=names, small_image_strides=True
    )
    model = small_specs.make_calibrated(spec)
    directory = run.workdir.folder("student_1")
    saved.save(directory, model=model, ema_model=model, spec=spec)
    with held_out.open_writer(
        held_out.path(directory, "test"), len(names)
    ) as keep:
        keep(np.zeros((1, len(names))), np.zeros(1, np.int32), [bytes(16)])
    shards.write_manifest(directory, {"model": "student_1", "results": []})
    export.export(run)
    return run


def test_the_export_says_which_model_it_is(finished):
    fingerprint = saved.fingerprint(finished.workdir.folder("student_1"))
    assert shards.read_manifest(finished.workdir.export) == {
        "model": "student_1",
        "reason": "the last one: there are no validation images to choose",
        "fingerprint": fingerprint,
    }


def test_what_is_served_can_be_compared_with_held_out_images(finished):
    path = held_out.path(finished.workdir.export, "test")
    assert held_out.read_choices(path).ids.tobytes() == bytes(16)


def test_formats_are_timed_and_the_fastest_answers(finished):
    rows = [export.convert(finished, name) for name in ("saved_model", "onnx")]
    for row in rows:
        assert list(row["milliseconds"]) == ["1", "8"]
        assert min(row["milliseconds"].values()) > 0
    opened = exported.open_export(finished.workdir.export, runtime="auto")
    products = [math.prod(row["milliseconds"].values()) for row in rows]
    names = ("saved_model", "onnxruntime")
    assert opened.runtime.name == names[int(np.argmin(products))]


def test_the_saved_model_is_measured_beside_the_checkpoint(finished):
    row = export.convert(finished, "saved_model")
    splits = shards.read_manifest(finished.workdir.labeled)["splits"]
    assert row["split"] == "test"
    assert row["num_images"] == splits["test"]["num_records"]
    assert row["accuracy"] == row["checkpoint_accuracy"]
    assert row["agreement"] == 1
    assert 0 <= row["largest_difference"] < 1e-4
    assert row["num_bytes"] > 100_000
    assert row == export.convert(finished, "saved_model")


def test_a_format_lies_beside_what_describes_it(finished):
    row = export.convert(finished, "tflite_int8")
    directory = finished.workdir.exported("tflite_int8")
    assert files.list_directory(directory) == [
        "class_names.txt",
        "manifest.json",
        "model.json",
        "model.tflite",
        "preprocessing.json",
    ]
    assert row == shards.read_manifest(directory)
    path = files.join(directory, "model.tflite")
    assert row["num_bytes"] == files.size_bytes(path)
    assert 0 < row["largest_difference"] <= 1
    assert 0 <= row["agreement"] <= 1


def test_a_difference_is_measured(finished):
    model, spec = saved.load(finished.workdir.folder("student_1"))
    row = export.compare(finished, model, spec, lambda images: -model(images))
    # The most probable class becomes the least probable one.
    assert row["agreement"] == 0
    assert row["largest_difference"] > 0.01


def test_held_out_images_are_needed(tmp_path):
    run = make_run(tmp_path)
    files.make_directories(run.workdir.labeled)
    shards.write_manifest(run.workdir.labeled, {"splits": {"train": {}}})
    with pytest.raises(ValueError, match="no held-out images to measure on"):
        export.compare(run, None, None, None)


@pytest.mark.parametrize("names", [["onyx"], ["onnx", ""], []])
def test_unknown_formats_are_named_with_the_known(names):
    with pytest.raises(ValueError, match=r"accepted are saved_model, tflite, "):
        export.check_formats(names)


def test_the_table_has_a_line_a_format():
    row = {
        "format": "onnx",
        "num_bytes": 2048,
        "accuracy": 0.5,
        "checkpoint_accuracy": 0.75,
        "agreement": 0.625,
        "largest_difference": 0.25,
        "milliseconds": {"1": 3.125, "8": 20.0},
    }
    lines = export.format_table([row, row]).splitlines()
    assert len(lines) == 3
    assert lines[1].split() == (
        ["onnx", "2", "50.00", "75.00", "62.50", "0.25", "3.12", "20"]
    )
