import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.records import schema, shards

from . import conftest, train_streams


@pytest.fixture(scope="module")
def reference(labeled, pseudo_labeled, request):
    """Batches 0 to 29 of the noised stream: several epochs of both halves."""
    config = conftest.config.__wrapped__()
    return train_streams.take(
        train_streams.make(labeled, pseudo_labeled, config), 30
    )


def test_batches_have_static_shapes_and_the_agreed_types(
    labeled, pseudo_labeled, config
):
    stream = train_streams.make(labeled, pseudo_labeled, config)
    assert stream.element_spec == {
        "labeled_images": tf.TensorSpec([4, 8, 8, 3], tf.uint8),
        "labels": tf.TensorSpec([4], tf.int32),
        "unlabeled_images": tf.TensorSpec([6, 8, 8, 3], tf.uint8),
        "soft_labels": tf.TensorSpec([6, 4], tf.float32),
    }


def test_a_teachers_batches_are_labeled_only(labeled, config):
    stream = train_streams.make(
        labeled, None, train_streams.without_noise(config)
    )
    batch = train_streams.take(stream, 1)[0]
    assert set(batch) == {"labeled_images", "labels"}


def test_images_keep_their_labels(labeled, pseudo_labeled, config):
    stream = train_streams.make(
        labeled, pseudo_labeled, train_streams.without_noise(config)
    )
    for batch in train_streams.take(stream, 10):
        # The red channel tells the record; ten of each class, in order.
        index = batch["labeled_images"][:, 0, 0, 0]
        np.testing.assert_array_equal(batch["labels"], index // 10)
        index = batch["unlabeled_images"][:, 0, 0, 0] - 100
        np.testing.assert_array_equal(
            batch["soft_labels"].argmax(-1), index % 4
        )
        np.testing.assert_allclose(batch["soft_labels"].sum(-1), 1, rtol=1e-6)


def test_a_start_at_step_n_equals_the_tail(
    labeled, pseudo_labeled, config, reference
):
    stream = train_streams.make(labeled, pseudo_labeled, config, start_step=17)
    train_streams.assert_same(train_streams.take(stream, 13), reference[17:])


def test_batches_do_not_depend_on_the_number_of_threads(
    labeled, pseudo_labeled, config, reference
):
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    stream = train_streams.make(labeled, pseudo_labeled, config).with_options(
        options
    )
    train_streams.assert_same(train_streams.take(stream, 30), reference)


def test_the_hosts_parts_make_the_global_batch(labeled, pseudo_labeled, config):
    config = train_streams.without_noise(config)
    whole = train_streams.take(
        train_streams.make(labeled, pseudo_labeled, config), 4
    )
    parts = [
        train_streams.take(
            train_streams.make(
                labeled,
                pseudo_labeled,
                config,
                input_pipelines=2,
                input_pipeline_index=i,
            ),
            4,
        )
        for i in range(2)
    ]
    for step in range(4):
        for key, values in whole[step].items():
            for i in range(2):
                np.testing.assert_array_equal(parts[i][step][key], values[i::2])


def test_another_seed_gives_other_batches(labeled, config):
    quiet = train_streams.without_noise(config)
    first = train_streams.take(train_streams.make(labeled, None, quiet), 2)
    other = train_streams.take(
        train_streams.make(labeled, None, dataclasses.replace(quiet, seed=8)), 2
    )
    assert any(
        (one["labels"] != two["labels"]).any()
        for one, two in zip(first, other, strict=True)
    )


def test_an_image_is_noised_anew_in_every_epoch(reference):
    # Ten steps are a labeled epoch: all 40 images, shown three times.
    shown = {
        image.tobytes() for b in reference for image in b["labeled_images"]
    }
    assert len(shown) > 80


def test_unnoised_batches_are_test_images(labeled, config):
    batch = train_streams.take(
        train_streams.make(labeled, None, config, unnoised=True), 1
    )[0]
    for image in batch["labeled_images"]:
        np.testing.assert_array_equal(image[..., 0], image[0, 0, 0])
        np.testing.assert_array_equal(image[..., 1], [range(8)] * 8)


def test_every_batch_mixes_classes(labeled, config):
    quiet = train_streams.without_noise(config, labeled_batch_size=8)
    for batch in train_streams.take(
        train_streams.make(labeled, None, quiet), 5
    ):
        assert len(set(batch["labels"])) >= 2


def test_another_number_of_classes_is_an_error(labeled, pseudo_labeled, config):
    message = "--data.num_classes: the model has 5 classes, and .*/{}"
    with pytest.raises(ValueError, match=message.format("labeled")):
        train_streams.make(labeled, None, config, num_classes=5)
    labeled = dataclasses.replace(labeled, num_classes=5)
    with pytest.raises(ValueError, match=message.format("pseudo")):
        train_streams.make(labeled, pseudo_labeled, config, num_classes=5)


def test_batches_that_hosts_cannot_share_are_an_error(
    labeled, pseudo_labeled, config
):
    with pytest.raises(
        ValueError, match=r"--training.labeled_batch_size is 4: .* 3 hosts"
    ):
        train_streams.make(labeled, None, config, input_pipelines=3)
    with pytest.raises(ValueError, match=r"--training.unlabeled_ratio is 6"):
        train_streams.make(labeled, pseudo_labeled, config, input_pipelines=4)


def test_padding_beyond_the_image_is_an_error(labeled, config):
    policy = dataclasses.replace(config.augmentation.labeled, pad_pixels=8)
    config = dataclasses.replace(
        config,
        augmentation=dataclasses.replace(config.augmentation, labeled=policy),
    )
    with pytest.raises(ValueError, match=r"pad_pixels=8: .* 8 pixels"):
        train_streams.make(labeled, None, config)


def _one_shard(tmp_path, record, record_schema):
    path = str(tmp_path / "one.tfrecord")
    with shards.open_writer(path) as writer:
        writer.write(record)
    return shards.ShardSet(
        paths=(path,),
        num_records=1,
        schema=record_schema,
        num_classes=conftest.NUM_CLASSES,
        num_copies=1,
    )


@pytest.mark.parametrize("label", [4, None])
def test_a_label_out_of_range_is_an_error(tmp_path, config, label):
    record = conftest.make_record(0, label)
    labeled = _one_shard(tmp_path, record, "image")
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="build the labeled shards again"
    ):
        train_streams.take(
            train_streams.make(
                labeled, None, train_streams.without_noise(config)
            ),
            1,
        )


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([0.7, 0.1, 0.1, 0.2], "do not sum to 1"),
        ([1.2, -0.1, -0.1, 0.0], "negative or not a number"),
        ([float("nan"), 0.3, 0.3, 0.4], "negative or not a number"),
        ([0.5, 0.3, 0.2], "another number of classes"),
    ],
)
def test_a_bad_soft_label_is_an_error(
    labeled, tmp_path, config, probabilities, message
):
    record = schema.set_pseudo_label(
        tf.train.Example.FromString(conftest.make_record(0, None)),
        class_id=0,
        probabilities=np.array(probabilities),
        confidence=0.5,
        copies=1,
        iteration=1,
    )
    pseudo_labeled = _one_shard(tmp_path, record, "pseudo_labeled")
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        train_streams.take(
            train_streams.make(
                labeled, pseudo_labeled, train_streams.without_noise(config)
            ),
            1,
        )


def test_imagenet_records_are_labeled_from_one(tmp_path, config):
    example = tf.train.Example()
    feature = example.features.feature
    image = np.full((300, 200, 3), 9, np.uint8)
    feature["image/encoded"].bytes_list.value.append(
        tf.io.encode_jpeg(image).numpy()
    )
    feature["image/class/label"].int64_list.value.append(4)
    record = example.SerializeToString()
    labeled = _one_shard(tmp_path, record, "imagenet")
    policy = dataclasses.replace(
        config.augmentation.labeled, crop="inception", policy="none"
    )
    config = dataclasses.replace(
        config,
        augmentation=dataclasses.replace(config.augmentation, labeled=policy),
    )
    batch = train_streams.take(train_streams.make(labeled, None, config), 1)[0]
    np.testing.assert_array_equal(batch["labels"], [3, 3, 3, 3])
    np.testing.assert_allclose(batch["labeled_images"], 9, atol=1)
