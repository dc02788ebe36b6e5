import concurrent.futures
import functools
import os
import pathlib
import threading

import numpy as np
import pytest
import tensorflow as tf
from pyarrow import parquet

from noisy_student_tf import files
from noisy_student_tf.pseudo_labels import predict
from noisy_student_tf.records import parquet_files, predictions, schema, shards

_BATCH = 4


def make_stream(paths):
    """Batches of constant images, whose values the "shard" files name."""
    streams = [read_shard(path, place) for place, path in enumerate(paths)]
    return functools.reduce(tf.data.Dataset.concatenate, streams)


def read_shard(path, place):
    values = [float(v) for v in pathlib.Path(path).read_text().split()]
    num_padded = -len(values) % _BATCH
    size = len(values) + num_padded
    images = tf.reshape(values + [0.0] * num_padded, [size, 1, 1, 1])
    ids = [schema.make_id("test", f"{path[-1]}/{v}") for v in values]
    return tf.data.Dataset.from_tensor_slices(
        {
            "images": tf.broadcast_to(images, [size, 2, 2, 3]),
            "image_ids": tf.constant(ids + [b""] * num_padded, tf.string),
            "is_valid": tf.range(size) < len(values),
            "shards": tf.fill([size], place),
        }
    ).batch(_BATCH, drop_remainder=True)


def teacher(images):
    values = images[:, 0, 0, 0]
    return tf.nn.softmax(tf.stack([values, 1 - values, 0 * values], axis=1))


@pytest.fixture
def unlabeled(tmp_path):
    texts = ["0.5 1 2 3 4", "", "5 6"]
    paths = []
    for index, text in enumerate(texts):
        path = tmp_path / f"unlabeled-{index}"
        path.write_text(text)
        paths.append(str(path))
    return shards.ShardSet(tuple(paths), 7, "image", 0, 7)


def run(unlabeled, directory, **options):
    share = {
        name: options.pop(name)
        for name in ("shard_index", "num_shard_workers", "closes")
        if name in options
    }
    num_classes = options.pop("num_classes", 3)
    labeling = {
        "labels_of": predict.of_network(
            options.pop("predict_fn", teacher),
            options.pop("make_stream", make_stream),
            num_classes=num_classes,
        ),
        "num_classes": num_classes,
        "teacher_fingerprint": "abc",
        "unlabeled_fingerprint": "images",
        "unlabeled": unlabeled,
        "directory": str(directory),
        **options,
    }
    predict.predict(predict.Request(**labeling), **share)


def contents(directory):
    return {
        name: (directory / name).read_bytes() for name in os.listdir(directory)
    }


def test_rows_are_the_teacher_s(unlabeled, tmp_path):
    run(unlabeled, tmp_path / "out")
    manifest = predictions.read_manifest(str(tmp_path / "out"), num_classes=3)
    assert manifest["num_images_per_shard"] == [5, 0, 2]
    path = str(tmp_path / "out" / manifest["shards"][0])
    (batch,) = parquet_files.read_batches(
        path, ["image_id", "class_id", "confidence", "probabilities"]
    )
    values = np.array([0.5, 1, 2, 3, 4], np.float32)
    logits = np.stack([values, 1 - values, 0 * values], axis=1)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert batch["image_id"].to_pylist()[0] == schema.make_id("test", "0/0.5")
    assert batch["class_id"].to_pylist() == [0] * 5
    confidences = batch["confidence"].to_numpy()
    np.testing.assert_allclose(confidences, expected.max(axis=1), rtol=1e-6)
    # Not the maximum of the rounded probabilities.
    assert (confidences != confidences.astype(np.float16)).any()
    soft = parquet_files.fixed_lists(batch["probabilities"])
    assert soft.dtype == np.float16
    np.testing.assert_allclose(soft, expected, atol=1e-3)


def test_two_workers_write_what_one_writes(unlabeled, tmp_path):
    run(unlabeled, tmp_path / "one")
    for index in range(2):
        directory = tmp_path / "two"
        run(unlabeled, directory, shard_index=index, num_shard_workers=2)
        assert shards.is_finished(str(directory)) == (index == 1)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_killed_prediction_goes_on_with_the_missing_shard(unlabeled, tmp_path):
    run(unlabeled, tmp_path / "out")
    expected = contents(tmp_path / "out")
    os.remove(tmp_path / "out" / "manifest.json")
    os.remove(tmp_path / "out" / predictions.predictions_name(2, 3))
    seen = []

    def counted(images):
        tf.py_function(lambda x: seen.append(len(x)), [images], [])
        return teacher(images)

    run(unlabeled, tmp_path / "out", predict_fn=counted)
    assert contents(tmp_path / "out") == expected
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda images: teacher(images) * float("nan"), "sum to nan"),
        (lambda images: teacher(images) * 1.02, "accepted are probabilities"),
        (lambda images: teacher(images) * [[3, -1, -1]], "with minimum -"),
        (lambda images: teacher(images)[:, :2], "returns 2 probabilities"),
    ],
)
def test_what_is_no_probability_is_refused(
    unlabeled, tmp_path, outputs, message
):
    with pytest.raises(ValueError, match=message):
        run(unlabeled, tmp_path / "out", predict_fn=outputs)
    assert files.list_directory(str(tmp_path / "out")) == []


def test_another_teacher_s_directory_is_refused(unlabeled, tmp_path):
    run(unlabeled, tmp_path / "out")
    with pytest.raises(ValueError, match="'abc', but this run's is 'other'"):
        run(unlabeled, tmp_path / "out", teacher_fingerprint="other")


def test_wrong_counts_and_workers_are_refused(unlabeled, tmp_path):
    wrong = shards.ShardSet(unlabeled.paths, 8, "image", 0, 8)
    with pytest.raises(ValueError, match="7 images, but the unlabeled"):
        run(wrong, tmp_path / "out")
    with pytest.raises(ValueError, match="--shard_index=2"):
        run(unlabeled, tmp_path, shard_index=2, num_shard_workers=2)


def test_predictions_can_lie_on_a_remote_file_system(unlabeled):
    directory = "ram://test_predict/out"
    run(unlabeled, directory)
    manifest = predictions.read_manifest(directory, num_classes=3)
    path = files.join(directory, manifest["shards"][2])
    (rows,) = predictions.read_rows(path, num_classes=3)
    assert len(rows.ids) == 2


def test_images_that_are_left_out_get_no_label(unlabeled, tmp_path):
    left_out = {0: frozenset([schema.make_id("test", "0/2.0")])}
    run(
        unlabeled,
        tmp_path / "out",
        left_out=lambda index: left_out.get(index, frozenset()),
    )
    manifest = predictions.read_manifest(str(tmp_path / "out"), num_classes=3)
    assert manifest["num_images_per_shard"] == [4, 0, 2]
    assert manifest["num_left_out"] == 1
    assert sum(manifest["counts_per_class"]) == 6
    path = str(tmp_path / "out" / manifest["shards"][0])
    (rows,) = predictions.read_rows(path, num_classes=3)
    ids = [each.tobytes() for each in rows.ids]
    assert ids == [
        schema.make_id("test", f"0/{v}") for v in (0.5, 1.0, 3.0, 4.0)
    ]


def test_another_set_of_images_is_refused(unlabeled, tmp_path):
    run(unlabeled, tmp_path / "out")
    os.remove(tmp_path / "out" / "manifest.json")
    with pytest.raises(ValueError, match="unlabeled_fingerprint 'images'"):
        run(unlabeled, tmp_path / "out", unlabeled_fingerprint="others")


def test_killed_at_random_while_predicting_ends_byte_identical(
    unlabeled, tmp_path, monkeypatch
):
    run(unlabeled, tmp_path / "once")
    generator = np.random.default_rng(0)
    rename = os.replace

    class Killed(BaseException):
        pass

    def fragile(*arguments, **options):
        if generator.random() < 0.5:
            raise Killed
        rename(*arguments, **options)

    monkeypatch.setattr(os, "replace", fragile)
    num_killed = 0
    while not shards.is_finished(str(tmp_path / "killed")):
        try:
            run(unlabeled, tmp_path / "killed")
        except Killed:
            num_killed += 1
    assert num_killed
    assert contents(tmp_path / "killed") == contents(tmp_path / "once")


def test_a_damaged_picture_names_the_shard(unlabeled, tmp_path):
    def make_broken(paths):
        """The image of value 5, in the last shard, cannot be decoded."""

        def fail(batch):
            is_good = tf.reduce_all(batch["images"] != 5)
            check = tf.debugging.Assert(is_good, ["Unknown image file format"])
            with tf.control_dependencies([check]):
                return {**batch, "images": tf.identity(batch["images"])}

        return make_stream(paths).map(fail)

    with pytest.raises(ValueError, match="unlabeled-2: a record is damaged"):
        run(unlabeled, tmp_path / "out", make_stream=make_broken)
    assert predictions.predictions_name(2, 3) not in os.listdir(
        tmp_path / "out"
    )


def test_a_failing_write_is_not_lost_behind_the_forward_pass(
    unlabeled, tmp_path, monkeypatch
):
    monkeypatch.setattr(predict, "_ROWS_PER_GROUP", 1)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        run(unlabeled, tmp_path / "out")
    assert files.list_directory(str(tmp_path / "out")) == []


def test_workers_that_end_together_leave_each_other_s_manifest_alone(
    unlabeled, tmp_path, monkeypatch
):
    run(unlabeled, tmp_path / "alone")
    both_write = threading.Barrier(2, timeout=60)
    rename = os.replace

    def together(source, target, **options):
        if target.endswith(shards.MANIFEST):
            both_write.wait()
        rename(source, target, **options)

    for index in range(2):
        run(
            unlabeled,
            tmp_path / "out",
            shard_index=index,
            num_shard_workers=2,
            closes=False,
        )
    monkeypatch.setattr(os, "replace", together)
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        for each in [
            executor.submit(run, unlabeled, tmp_path / "out") for _ in range(2)
        ]:
            each.result()
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_batches_are_halved_for_small_shards():
    def batch_size(records_per_shard, **options):
        some = shards.ShardSet(("a", "b"), 2 * records_per_shard, "image", 0, 0)
        return predict.batch_size(some, **{"largest": 1024, **options})

    assert batch_size(100_000) == 1024
    assert batch_size(8_300) == 512
    assert batch_size(1_500) == 128
    assert batch_size(1_500, num_replicas=4) == 512
    assert batch_size(1_500, largest=100) == 100
