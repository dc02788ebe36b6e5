import functools

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.devices import pod
from noisy_student_tf.pipeline import eval_stream
from noisy_student_tf.pseudo_labels import label_stream
from noisy_student_tf.records import shards
from tests.pipeline import conftest as pictures

# In one process, as if they were two.
HOSTS = ("/cpu:0", "/cpu:1")


@pytest.fixture
def shard_set(tmp_path):
    records = [pictures.make_record(i, i // 10) for i in range(38)]
    paths = pictures.write_shards(tmp_path, records, 5, "train")
    return shards.ShardSet(paths, 38, "image", 4, 38)


def test_parts_of_two_hosts_are_the_batches_of_one(shard_set):
    make_part = functools.partial(
        eval_stream.make_eval_stream,
        shard_set,
        resolution=8,
        batch_size=12,
        crop="whole",
    )
    stream = pod.made_on(HOSTS, make_part)
    together, alone = list(stream), list(make_part())
    assert len(together) == len(alone) == 4
    assert len(list(stream.take(2))) == 2
    spec = stream.element_spec
    assert [each.shape[0] for each in spec["images"]] == [6, 6]
    assert spec["labels"] == make_part().element_spec["labels"]
    for batch, expected in zip(together, alone, strict=True):
        images = np.concatenate(batch.pop("images"))
        np.testing.assert_array_equal(images, expected["images"])
        for name, values in batch.items():
            np.testing.assert_array_equal(values, expected[name])
    with pytest.raises(ValueError, match=r"batch_size=11.*the 2 hosts"):
        make_part(batch_size=11, input_pipelines=2)


def labels_of(shard_set, hosts, *, batch_size):
    """Return each shard's ids and classes, in the order they were written."""
    make_part = functools.partial(
        eval_stream.make_shards_stream,
        shard_set.paths,
        resolution=8,
        batch_size=batch_size,
        crop="whole",
    )
    stream = pod.made_on(hosts, make_part) if hosts else make_part()

    def predict(images):
        if isinstance(images, tuple):
            images = tf.concat(images, 0)
        number = tf.cast(images[:, 0, 0, 0], tf.int32)
        return tf.one_hot(number % 7, 7)

    label = label_stream.compile_labeling(
        predict, stream.element_spec["images"], num_classes=7
    )
    labels = label_stream.label(
        label, stream, shard_set.paths, lambda place: frozenset()
    )
    grouped = label_stream.by_place(
        labels, len(shard_set.paths), num_hosts=max(1, len(hosts))
    )
    return [
        (
            place,
            [
                (row_id.tobytes(), int(row_class))
                for each in batches
                for row_id, row_class in zip(
                    each.rows.ids, each.rows.class_ids, strict=True
                )
            ],
        )
        for place, batches in grouped
    ]


@pytest.mark.parametrize("num_hosts", [1, 2, 3])
def test_hosts_label_shards_of_their_own(shard_set, num_hosts, tmp_path):
    # Of unequal sizes: 8, 8, 8, 7 and 7, and one that is empty.
    empty = str(tmp_path / "empty")
    with shards.open_writer(empty):
        pass
    paths = (*shard_set.paths[:2], empty, *shard_set.paths[2:])
    shard_set = shards.ShardSet(paths, 38, "image", 4, 38)
    expected = labels_of(shard_set, (), batch_size=4)
    assert [len(rows) for _, rows in expected] == [8, 8, 0, 8, 7, 7]
    hosts = (*HOSTS, "/cpu:2")[:num_hosts]
    found = labels_of(shard_set, hosts, batch_size=3 * num_hosts)
    assert found == expected
