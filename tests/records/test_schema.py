import hashlib

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.records import schema

IMAGE = b"encoded picture"
IMAGE_ID = schema.make_id("digits", "17")


def _pseudo_labeled(probabilities, **changes) -> bytes:
    options = {"confidence": 0.7, "copies": 2, "iteration": 1, **changes}
    record = schema.encode_image(image=IMAGE, image_id=IMAGE_ID)
    return schema.set_pseudo_label(
        tf.train.Example.FromString(record),
        class_id=int(np.argmax(probabilities)),
        probabilities=np.array(probabilities),
        **options,
    )


def _parse(record: bytes, num_classes: int = 4):
    return schema.parse_pseudo_labeled(
        tf.constant(record), num_classes=num_classes
    )


def test_ids_follow_from_source_and_key():
    assert len(IMAGE_ID) == schema.ID_BYTES
    expected = hashlib.blake2b(b"digits/17", digest_size=16).digest()
    assert expected == IMAGE_ID
    assert schema.make_id("digits", "18") != IMAGE_ID
    assert schema.make_id("other", "17") != IMAGE_ID


def test_unit_hashes_are_uniform_and_differ_by_purpose():
    ids = [schema.make_id("test", str(i)) for i in range(1000)]
    first = np.array([schema.unit_hash(i, "split") for i in ids])
    second = np.array([schema.unit_hash(i, "order") for i in ids])
    for values in (first, second):
        assert values.min() >= 0
        assert values.max() < 1
        # Ten bins of 100 each; five deviations are 47.
        counts, _ = np.histogram(values, 10, (0, 1))
        assert np.abs(counts - 100).max() < 48
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.16
    assert schema.unit_hash(ids[0], "split") == first[0]


@pytest.mark.parametrize("label", [0, 3, None])
def test_images_survive_the_record(label):
    record = schema.encode_image(image=IMAGE, image_id=IMAGE_ID, label=label)
    parsed = schema.parse_image(tf.constant(record))
    assert parsed["image"].numpy() == IMAGE
    assert parsed["image_id"].numpy() == IMAGE_ID
    expected = schema.NO_LABEL if label is None else label
    assert int(parsed["label"]) == expected
    example = tf.train.Example.FromString(record)
    digest = example.features.feature[schema.IMAGE_SHA256].bytes_list.value[0]
    assert digest == hashlib.sha256(IMAGE).digest()


def test_the_same_image_gives_the_same_bytes():
    records = {
        schema.encode_image(image=IMAGE, image_id=IMAGE_ID, label=1)
        for _ in range(3)
    }
    assert len(records) == 1


def test_pseudo_labels_survive_the_record():
    record = _pseudo_labeled([0.1, 0.7, 0.15, 0.05], confidence=0.70001)
    parsed = _parse(record)
    assert parsed["image"].numpy() == IMAGE
    assert schema.parse_image(record)["image_id"].numpy() == IMAGE_ID
    np.testing.assert_allclose(
        parsed["probabilities"], [0.1, 0.7, 0.15, 0.05], atol=1e-3
    )
    # Rounding to float16 is undone in the sum.
    assert abs(float(tf.reduce_sum(parsed["probabilities"])) - 1) < 1e-6
    assert int(schema.parse_copies(tf.constant(record))) == 2
    feature = tf.train.Example.FromString(record).features.feature
    confidence = feature[schema.CONFIDENCE].float_list.value[0]
    assert confidence == np.float32(0.70001)
    assert feature[schema.PSEUDO_CLASS].int64_list.value[0] == 1
    assert feature[schema.ITERATION].int64_list.value[0] == 1
    assert len(feature[schema.PROBABILITIES].bytes_list.value[0]) == 8


def test_a_pseudo_label_keeps_the_images_keys_and_a_later_one_replaces_it():
    record = _pseudo_labeled([0.1, 0.7, 0.15, 0.05])
    again = schema.set_pseudo_label(
        tf.train.Example.FromString(record),
        class_id=0,
        probabilities=np.array([0.9, 0.1, 0.0, 0.0]),
        confidence=0.9,
        copies=1,
        iteration=2,
    )
    parsed = _parse(again)
    np.testing.assert_allclose(
        parsed["probabilities"], [0.9, 0.1, 0, 0], atol=1e-3
    )
    assert int(schema.parse_copies(tf.constant(again))) == 1
    assert schema.parse_image(tf.constant(again))["image"].numpy() == IMAGE


def test_records_without_copies_count_once():
    record = schema.encode_image(image=IMAGE, image_id=IMAGE_ID, label=1)
    assert int(schema.parse_copies(tf.constant(record))) == 1


@pytest.mark.parametrize("error", [-9e-3, 9e-3])
def test_a_small_error_of_the_sum_is_renormalized(error):
    parsed = _parse(_pseudo_labeled([0.5 + error, 0.5, 0.0, 0.0]))
    assert abs(float(tf.reduce_sum(parsed["probabilities"])) - 1) < 1e-6


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([0.5, 0.52, 0.0, 0.0], "do not sum to 1"),
        ([0.5, 0.48, 0.0, 0.0], "do not sum to 1"),
        ([0.0, 0.0, 0.0, 0.0], "do not sum to 1"),
        ([1.1, -0.1, 0.0, 0.0], "negative or not a number"),
        ([np.nan, 0.5, 0.5, 0.0], "negative or not a number"),
        ([np.inf, 0.5, 0.5, 0.0], "do not sum to 1"),
        ([0.5, 0.5], "another number of classes"),
        ([0.5, 0.5, 0.0, 0.0, 0.0], "another number of classes"),
    ],
)
def test_what_is_wrong_with_a_soft_label_is_told(probabilities, message):
    problem = _parse(_pseudo_labeled(probabilities))["problem"]
    assert message in problem.numpy().decode()


def test_nothing_is_wrong_with_a_rounded_soft_label():
    parsed = _parse(_pseudo_labeled([0.5, 0.495, 0.0, 0.0]))
    assert parsed["problem"].numpy() == b""
    np.testing.assert_allclose(tf.reduce_sum(parsed["probabilities"]), 1.0)


def test_imagenet_labels_start_at_one():
    example = tf.train.Example()
    feature = example.features.feature
    feature[schema.IMAGE].bytes_list.value.append(IMAGE)
    feature[schema.IMAGENET_LABEL].int64_list.value.append(1)
    parsed = schema.parse_imagenet(tf.constant(example.SerializeToString()))
    assert int(parsed["label"]) == 0
    assert parsed["image"].numpy() == IMAGE
    assert parsed["image_id"].numpy() == b""


def test_a_record_of_another_schema_is_an_error():
    record = schema.encode_image(image=IMAGE, image_id=IMAGE_ID, label=1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="pseudo_label"):
        _parse(record)
    with pytest.raises(tf.errors.InvalidArgumentError, match="class/label"):
        schema.parse_imagenet(tf.constant(record))
