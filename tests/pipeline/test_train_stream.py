import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import config as configuration
from noisy_student_tf.pipeline import train_stream
from noisy_student_tf.records import schema, shards

from . import conftest


def _make(labeled, pseudo_labeled, config, **options):
    options = {
        "resolution": 8,
        "num_classes": conftest.NUM_CLASSES,
        "start_step": 0,
        **options,
    }
    return train_stream.make_train_stream(
        labeled=labeled,
        pseudo_labeled=pseudo_labeled,
        config=config,
        **options,
    )


def _take(stream, count):
    return [
        {key: value.numpy() for key, value in batch.items()}
        for batch in itertools.islice(stream, count)
    ]


def _assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def _without_noise(config, **training):
    quiet = dataclasses.replace(
        config.augmentation.labeled, crop="none", policy="none"
    )
    return dataclasses.replace(
        config,
        augmentation=dataclasses.replace(
            config.augmentation, labeled=quiet, unlabeled=quiet
        ),
        training=dataclasses.replace(config.training, **training),
    )


@pytest.fixture(scope="module")
def reference(labeled, pseudo_labeled, request):
    """Batches 0 to 29 of the noised stream: several epochs of both halves."""
    config = conftest.config.__wrapped__()
    return _take(_make(labeled, pseudo_labeled, config), 30)


def test_batches_have_static_shapes_and_the_agreed_types(
    labeled, pseudo_labeled, config
):
    stream = _make(labeled, pseudo_labeled, config)
    assert stream.element_spec == {
        "labeled_images": tf.TensorSpec([4, 8, 8, 3], tf.uint8),
        "labels": tf.TensorSpec([4], tf.int32),
        "unlabeled_images": tf.TensorSpec([6, 8, 8, 3], tf.uint8),
        "soft_labels": tf.TensorSpec([6, 4], tf.float32),
    }


def test_a_teachers_batches_are_labeled_only(labeled, config):
    stream = _make(labeled, None, _without_noise(config))
    batch = _take(stream, 1)[0]
    assert set(batch) == {"labeled_images", "labels"}


def test_images_keep_their_labels(labeled, pseudo_labeled, config):
    stream = _make(labeled, pseudo_labeled, _without_noise(config))
    for batch in _take(stream, 10):
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
    stream = _make(labeled, pseudo_labeled, config, start_step=17)
    _assert_same(_take(stream, 13), reference[17:])


def test_batches_do_not_depend_on_the_number_of_threads(
    labeled, pseudo_labeled, config, reference
):
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.autotune.enabled = False
    stream = _make(labeled, pseudo_labeled, config).with_options(options)
    _assert_same(_take(stream, 30), reference)


def test_the_hosts_parts_make_the_global_batch(labeled, pseudo_labeled, config):
    config = _without_noise(config)
    whole = _take(_make(labeled, pseudo_labeled, config), 4)
    parts = [
        _take(
            _make(
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
    quiet = _without_noise(config)
    first = _take(_make(labeled, None, quiet), 2)
    other = _take(_make(labeled, None, dataclasses.replace(quiet, seed=8)), 2)
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
    batch = _take(_make(labeled, None, config, unnoised=True), 1)[0]
    for image in batch["labeled_images"]:
        np.testing.assert_array_equal(image[..., 0], image[0, 0, 0])
        np.testing.assert_array_equal(image[..., 1], [range(8)] * 8)


def test_every_batch_mixes_classes(labeled, config):
    quiet = _without_noise(config, labeled_batch_size=8)
    for batch in _take(_make(labeled, None, quiet), 5):
        assert len(set(batch["labels"])) >= 2


def test_another_number_of_classes_is_an_error(labeled, pseudo_labeled, config):
    message = "--data.num_classes: the model has 5 classes, and {} of"
    with pytest.raises(ValueError, match=message.format("labels")):
        _make(labeled, None, config, num_classes=5)
    labeled = dataclasses.replace(labeled, num_classes=5)
    with pytest.raises(ValueError, match=message.format("soft_labels")):
        _make(labeled, pseudo_labeled, config, num_classes=5)


def test_batches_that_hosts_cannot_share_are_an_error(
    labeled, pseudo_labeled, config
):
    with pytest.raises(
        ValueError, match=r"--training.labeled_batch_size is 4: .* 3 hosts"
    ):
        _make(labeled, None, config, input_pipelines=3)
    with pytest.raises(ValueError, match=r"--training.unlabeled_ratio is 6"):
        _make(labeled, pseudo_labeled, config, input_pipelines=4)


def test_padding_beyond_the_image_is_an_error(labeled, config):
    policy = dataclasses.replace(config.augmentation.labeled, pad_pixels=8)
    config = dataclasses.replace(
        config,
        augmentation=dataclasses.replace(config.augmentation, labeled=policy),
    )
    with pytest.raises(ValueError, match=r"pad_pixels=8: .* 8 pixels"):
        _make(labeled, None, config)


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
        _take(_make(labeled, None, _without_noise(config)), 1)


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
    record = schema.add_pseudo_label(
        conftest.make_record(0, None),
        class_id=0,
        probabilities=np.array(probabilities),
        confidence=0.5,
        copies=1,
        iteration=1,
    )
    pseudo_labeled = _one_shard(tmp_path, record, "pseudo_labeled")
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        _take(_make(labeled, pseudo_labeled, _without_noise(config)), 1)


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
    batch = _take(_make(labeled, None, config), 1)[0]
    np.testing.assert_array_equal(batch["labels"], [3, 3, 3, 3])
    np.testing.assert_allclose(batch["labeled_images"], 9, atol=1)


def test_clean_twins_are_the_test_crops_of_the_noised_images(
    labeled, pseudo_labeled, config
):
    stream = _make(
        labeled, pseudo_labeled, config, clean_unlabeled_resolution=6
    )
    assert stream.element_spec["clean_unlabeled_images"] == tf.TensorSpec(
        [6, 6, 6, 3], tf.uint8
    )
    for batch in _take(stream, 3):
        # The red channel tells the record, the label follows from it.
        index = batch["clean_unlabeled_images"][:, 0, 0, 0] - 100
        np.testing.assert_array_equal(
            batch["soft_labels"].argmax(-1), index % 4
        )


def test_an_online_teacher_needs_no_stored_labels(labeled, config):
    stream = _make(
        labeled,
        dataclasses.replace(labeled, num_classes=0),
        _without_noise(config),
        clean_unlabeled_resolution=8,
    )
    batch = _take(stream, 1)[0]
    assert "soft_labels" not in batch
    np.testing.assert_array_equal(
        batch["clean_unlabeled_images"], batch["unlabeled_images"]
    )


def test_ratios_below_one_give_smaller_unlabeled_batches(
    labeled, pseudo_labeled, config
):
    quiet = _without_noise(config, unlabeled_ratio=0.25)
    stream = _make(labeled, pseudo_labeled, quiet)
    shown = [b["unlabeled_images"][:, 0, 0, 0] for b in _take(stream, 60)]
    assert {len(part) for part in shown} == {1}
    # Sixty rows are an epoch: image i has 1 + i % 3 copies.
    counts = np.bincount(np.concatenate(shown), minlength=130)[100:]
    np.testing.assert_array_equal(counts, 1 + np.arange(30) % 3)


def test_hosts_may_have_shards_of_their_own(labeled, pseudo_labeled, config):
    config = dataclasses.replace(
        _without_noise(config),
        runtime=configuration.RuntimeConfig(host_sharding="files"),
    )
    shown = []
    for host in range(2):
        stream = _make(
            labeled,
            pseudo_labeled,
            config,
            input_pipelines=2,
            input_pipeline_index=host,
        )
        batches = _take(stream, 10)
        shown.append(
            {*np.ravel([b["labeled_images"][:, 0, 0, 0] for b in batches])}
        )
    # Ten records a shard; the first host has shards 0 and 2.
    assert shown == [
        {*range(10), *range(20, 30)},
        {*range(10, 20), *range(30, 40)},
    ]
    with pytest.raises(ValueError, match=r"3 shards .* for 6 hosts"):
        _make(
            dataclasses.replace(labeled, paths=labeled.paths * 2),
            pseudo_labeled,
            dataclasses.replace(
                config,
                training=dataclasses.replace(
                    config.training, labeled_batch_size=12
                ),
            ),
            input_pipelines=6,
        )


def _with_broken_pictures(labeled, tmp_path, broken):
    """The labeled set, some of whose pictures are no pictures."""
    records = [
        schema.encode_image(
            image=b"no picture",
            image_id=schema.make_id("test", str(i)),
            label=i // 10,
        )
        if i in broken
        else conftest.make_record(i, i // 10)
        for i in range(40)
    ]
    paths = conftest.write_shards(tmp_path, records, 4, "train")
    return dataclasses.replace(labeled, paths=paths)


def _tolerating(config, fraction):
    return dataclasses.replace(
        config,
        data=configuration.DataConfig(max_corrupt_fraction=fraction),
    )


def test_unreadable_pictures_are_replaced_and_named(
    labeled, config, tmp_path, capfd
):
    config = _tolerating(_without_noise(config), 0.05)
    broken = _with_broken_pictures(labeled, tmp_path, {3, 25})
    intact = _take(_make(labeled, None, config), 20)
    given = _take(_make(broken, None, config), 20)
    for one, other in zip(intact, given, strict=True):
        # All rows but the lost ones keep their places.
        expected = one["labeled_images"][:, 0, 0, 0]
        found = other["labeled_images"][:, 0, 0, 0]
        kept = ~np.isin(expected, [3, 25])
        np.testing.assert_array_equal(found[kept], expected[kept])
        assert not np.isin(found, [3, 25]).any()
    printed = capfd.readouterr().err
    assert "train-00000-of-00004.tfrecord, record 3" in printed
    assert "train-00002-of-00004.tfrecord, record 5" in printed
    tail = _make(broken, None, config, start_step=7)
    _assert_same(_take(tail, 13), given[7:])


@pytest.mark.parametrize("broken", [{1, 2, 3}, set(range(40))])
def test_too_many_unreadable_pictures_are_an_error(
    labeled, config, tmp_path, broken
):
    config = _tolerating(_without_noise(config), 0.05)
    stream = _make(
        _with_broken_pictures(labeled, tmp_path, broken), None, config
    )
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"--data\.max_corrupt_fraction"
    ):
        _take(stream, 20)


def test_shards_of_another_schema_are_an_error(labeled, config):
    other = dataclasses.replace(labeled, schema="imagenet")
    with pytest.raises(ValueError, match="not of the schema 'imagenet'"):
        _make(other, None, config)


def test_mixed_batches_blend_labels_as_they_blend_images(
    labeled, pseudo_labeled, config
):
    quiet = _without_noise(config)
    config = dataclasses.replace(
        quiet,
        augmentation=dataclasses.replace(
            quiet.augmentation, mixup_alpha=1.0, cutmix_alpha=1.0
        ),
    )
    plain = _take(_make(labeled, pseudo_labeled, quiet), 4)
    mixed = _take(_make(labeled, pseudo_labeled, config), 4)
    for before, after in zip(plain, mixed, strict=True):
        np.testing.assert_array_equal(after["labels"], before["labels"])
        assert after["label_probabilities"].shape == (4, 4)
        for key in ("label_probabilities", "soft_labels"):
            np.testing.assert_allclose(after[key].sum(-1), 1, rtol=1e-5)
        own = after["label_probabilities"][range(4), before["labels"]]
        assert (own >= 0.5).all()
    assert any(
        (a["labeled_images"] != b["labeled_images"]).any()
        for a, b in zip(plain, mixed, strict=True)
    )
    tail = _make(labeled, pseudo_labeled, config, start_step=2)
    _assert_same(_take(tail, 2), mixed[2:])
