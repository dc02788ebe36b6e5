import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.records import schema

from . import conftest, train_streams


def test_clean_twins_are_the_test_crops_of_the_noised_images(
    labeled, pseudo_labeled, config
):
    stream = train_streams.make(
        labeled, pseudo_labeled, config, clean_unlabeled_resolution=6
    )
    assert stream.element_spec["clean_unlabeled_images"] == tf.TensorSpec(
        [6, 6, 6, 3], tf.uint8
    )
    for batch in train_streams.take(stream, 3):
        # The red channel tells the record, the label follows from it.
        index = batch["clean_unlabeled_images"][:, 0, 0, 0] - 100
        np.testing.assert_array_equal(
            batch["soft_labels"].argmax(-1), index % 4
        )


def test_an_online_teacher_needs_no_stored_labels(labeled, config):
    stream = train_streams.make(
        labeled,
        dataclasses.replace(labeled, num_classes=0),
        train_streams.without_noise(config),
        clean_unlabeled_resolution=8,
    )
    batch = train_streams.take(stream, 1)[0]
    assert "soft_labels" not in batch
    np.testing.assert_array_equal(
        batch["clean_unlabeled_images"], batch["unlabeled_images"]
    )


def test_ratios_below_one_give_smaller_unlabeled_batches(
    labeled, pseudo_labeled, config
):
    quiet = train_streams.without_noise(config, unlabeled_ratio=0.25)
    stream = train_streams.make(labeled, pseudo_labeled, quiet)
    shown = [
        b["unlabeled_images"][:, 0, 0, 0]
        for b in train_streams.take(stream, 60)
    ]
    assert {len(part) for part in shown} == {1}
    # Sixty rows are an epoch: image i has 1 + i % 3 copies.
    counts = np.bincount(np.concatenate(shown), minlength=130)[100:]
    np.testing.assert_array_equal(counts, 1 + np.arange(30) % 3)


def test_hosts_may_have_shards_of_their_own(labeled, pseudo_labeled, config):
    config = dataclasses.replace(
        train_streams.without_noise(config),
        runtime=configs.RuntimeConfig(host_sharding="files"),
    )
    shown = []
    for host in range(2):
        stream = train_streams.make(
            labeled,
            pseudo_labeled,
            config,
            input_pipelines=2,
            input_pipeline_index=host,
        )
        batches = train_streams.take(stream, 10)
        shown.append(
            {*np.ravel([b["labeled_images"][:, 0, 0, 0] for b in batches])}
        )
    # Ten records a shard; the first host has shards 0 and 2.
    assert shown == [
        {*range(10), *range(20, 30)},
        {*range(10, 20), *range(30, 40)},
    ]
    with pytest.raises(ValueError, match=r"3 shards .* for 6 hosts"):
        train_streams.make(
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


@pytest.mark.parametrize("cache_megabytes", [1, 0])
def test_an_unreadable_picture_is_an_error_with_its_name(
    labeled, config, tmp_path, cache_megabytes
):
    config = dataclasses.replace(
        train_streams.without_noise(config),
        runtime=configs.RuntimeConfig(cache_megabytes=cache_megabytes),
    )
    broken = _with_broken_pictures(labeled, tmp_path, {25})
    intact = train_streams.take(train_streams.make(labeled, None, config), 20)
    shows_it = [25 in b["labeled_images"][:, 0, 0, 0] for b in intact]
    given = iter(train_streams.make(broken, None, config))
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=r"train-00002-of-00004.tfrecord, record 5: the picture cannot be "
        r"decoded.*build them again",
    ):
        for _ in range(shows_it.index(True) + 1):
            next(given)


def test_shards_of_another_schema_are_an_error(labeled, config):
    other = dataclasses.replace(labeled, schema="imagenet")
    with pytest.raises(ValueError, match="not of the schema 'imagenet'"):
        train_streams.make(other, None, config)


def test_mixed_batches_blend_labels_as_they_blend_images(
    labeled, pseudo_labeled, config
):
    quiet = train_streams.without_noise(config)
    config = dataclasses.replace(
        quiet,
        augmentation=dataclasses.replace(
            quiet.augmentation, mixup_alpha=1.0, cutmix_alpha=1.0
        ),
    )
    plain = train_streams.take(
        train_streams.make(labeled, pseudo_labeled, quiet), 4
    )
    mixed = train_streams.take(
        train_streams.make(labeled, pseudo_labeled, config), 4
    )
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
    tail = train_streams.make(labeled, pseudo_labeled, config, start_step=2)
    train_streams.assert_same(train_streams.take(tail, 2), mixed[2:])
