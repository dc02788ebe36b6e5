import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.pipeline import eval_stream
from noisy_student_tf.records import schema, shards


def _batches(stream):
    return [
        {key: value.numpy() for key, value in batch.items()} for batch in stream
    ]


def _make(shard_set, batch_size, **options):
    return eval_stream.make_eval_stream(
        shard_set,
        resolution=8,
        batch_size=batch_size,
        crop="whole",
        **options,
    )


@pytest.mark.parametrize(
    ("batch_size", "num_batches"), [(7, 6), (8, 5), (40, 1), (64, 1), (1, 40)]
)
def test_every_image_occurs_once_in_order(labeled, batch_size, num_batches):
    batches = _batches(_make(labeled, batch_size))
    assert len(batches) == num_batches
    valid = np.concatenate([batch["is_valid"] for batch in batches])
    assert valid.sum() == 40
    assert valid[:40].all()
    images = np.concatenate([batch["images"] for batch in batches])
    np.testing.assert_array_equal(images[valid][:, 0, 0, 0], range(40))
    labels = np.concatenate([batch["labels"] for batch in batches])
    np.testing.assert_array_equal(labels[valid], np.arange(40) // 10)
    ids = np.concatenate([batch["image_ids"] for batch in batches])
    assert ids[3] == schema.make_id("test", "3")


def test_padding_is_marked(labeled):
    last = _batches(_make(labeled, 16))[-1]
    np.testing.assert_array_equal(last["is_valid"], [True] * 8 + [False] * 8)
    assert (last["labels"][8:] == schema.NO_LABEL).all()
    assert (last["image_ids"][8:] == b"").all()


def test_batches_have_static_shapes_and_the_agreed_types(labeled):
    assert _make(labeled, 16).element_spec == {
        "images": tf.TensorSpec([16, 8, 8, 3], tf.float32),
        "labels": tf.TensorSpec([16], tf.int32),
        "image_ids": tf.TensorSpec([16], tf.string),
        "is_valid": tf.TensorSpec([16], tf.bool),
    }


def test_images_without_labels_get_none(pseudo_labeled):
    batch = _batches(_make(pseudo_labeled, 30))[0]
    assert (batch["labels"] == schema.NO_LABEL).all()
    np.testing.assert_array_equal(
        batch["images"][:, 0, 0, 0], np.arange(100, 130)
    )


def test_shards_give_their_records_in_batches_of_their_own(labeled, tmp_path):
    empty = str(tmp_path / "empty")
    with shards.open_writer(empty):
        pass
    paths = [labeled.paths[1], empty, labeled.paths[0]]
    stream = eval_stream.make_shards_stream(
        paths, resolution=8, batch_size=4, crop="whole"
    )
    batches = _batches(stream)
    assert [int(batch["is_valid"].sum()) for batch in batches] == [4, 4, 2] * 2
    places = [batch["shards"] for batch in batches]
    np.testing.assert_array_equal(
        places, np.repeat([0, 2], 3)[:, None] + [0] * 4
    )
    valid = np.concatenate([batch["is_valid"] for batch in batches])
    images = np.concatenate([batch["images"] for batch in batches])
    np.testing.assert_array_equal(
        images[valid][:, 0, 0, 0], [*range(10, 20), *range(10)]
    )
    assert (batches[2]["labels"][2:] == schema.NO_LABEL).all()


def test_imagenet_records_are_labeled_from_one(tmp_path):
    example = tf.train.Example()
    feature = example.features.feature
    image = np.full((30, 20, 3), 9, np.uint8)
    feature["image/encoded"].bytes_list.value.append(
        tf.io.encode_jpeg(image).numpy()
    )
    feature["image/class/label"].int64_list.value.append(1000)
    path = str(tmp_path / "validation-00000-of-00001")
    with shards.open_writer(path) as writer:
        writer.write(example.SerializeToString())
    foreign = shards.ShardSet(
        paths=(path,),
        num_records=1,
        schema="imagenet",
        num_classes=1000,
        num_copies=1,
    )
    batch = _batches(
        eval_stream.make_eval_stream(foreign, resolution=8, batch_size=1)
    )[0]
    assert batch["labels"][0] == 999
    assert batch["image_ids"][0] == b""
    np.testing.assert_allclose(batch["images"][0], 9.0, atol=1.0)
    # An id may end with zeros.
    image_id = b"an id of 14 by\0\0"
    batch = _batches(
        eval_stream.make_eval_stream(
            foreign, resolution=8, batch_size=1, image_ids=[image_id]
        )
    )[0]
    assert batch["labels"][0] == 999
    assert batch["image_ids"][0] == image_id


def test_an_empty_split_is_an_error(labeled):
    empty = dataclasses.replace(labeled, paths=(), num_records=0)
    with pytest.raises(ValueError, match=r"holds no records\. Build it again"):
        _make(empty, 4)


def test_a_truncated_split_is_an_error(labeled):
    wrong = dataclasses.replace(labeled, num_records=41)
    with pytest.raises(tf.errors.FailedPreconditionError, match="41"):
        _batches(_make(wrong, 4))
