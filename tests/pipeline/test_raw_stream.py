import collections
import dataclasses
import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf.pipeline import raw_stream
from noisy_student_tf.records import schema, shards

SEED = tf.constant([3, 0], tf.int32)
# Held in memory, and read from shards.
BOTH_WAYS = pytest.mark.parametrize("max_memory_bytes", [2**20, 0])


def _rows(shard_set, count, max_memory_bytes, start=0, buffer=16, seed=SEED):
    stream = raw_stream.make_raw_stream(
        shard_set,
        seed=seed,
        start_position=start,
        shuffle_buffer_size=buffer,
        max_memory_bytes=max_memory_bytes,
    )
    return [
        (int(position), record.numpy())
        for position, record in itertools.islice(stream, count)
    ]


def _labels(rows):
    return [
        int(schema.parse_image(tf.constant(record))["label"])
        for _, record in rows
    ]


@BOTH_WAYS
def test_an_epoch_has_every_image_as_often_as_it_has_copies(
    pseudo_labeled, max_memory_bytes
):
    rows = _rows(pseudo_labeled, 120, max_memory_bytes)
    assert [position for position, _ in rows] == list(range(120))
    for epoch in (rows[:60], rows[60:]):
        counts = collections.Counter(record for _, record in epoch)
        assert len(counts) == 30
        for record, count in counts.items():
            assert count == int(schema.parse_copies(tf.constant(record)))


@BOTH_WAYS
def test_epochs_and_seeds_have_orders_of_their_own(labeled, max_memory_bytes):
    rows = _rows(labeled, 80, max_memory_bytes)
    other = _rows(
        labeled, 40, max_memory_bytes, seed=tf.constant([4, 0], tf.int32)
    )
    orders = {
        tuple(record for _, record in epoch)
        for epoch in (rows[:40], rows[40:], other)
    }
    assert len(orders) == 3


@BOTH_WAYS
@pytest.mark.parametrize("start", [0, 7, 60, 100])
def test_a_later_start_gives_the_tail(pseudo_labeled, max_memory_bytes, start):
    rows = _rows(pseudo_labeled, 150, max_memory_bytes)
    tail = _rows(pseudo_labeled, 150 - start, max_memory_bytes, start=start)
    assert tail == rows[start:]


@BOTH_WAYS
def test_the_order_does_not_depend_on_a_global_seed(labeled, max_memory_bytes):
    rows = _rows(labeled, 50, max_memory_bytes)
    tf.random.set_seed(99)
    assert _rows(labeled, 50, max_memory_bytes) == rows


@BOTH_WAYS
def test_a_far_start_reads_one_epoch_at_most(labeled, max_memory_bytes):
    start = 40 * 10**9 + 39
    rows = _rows(labeled, 2, max_memory_bytes, start=start)
    assert [position for position, _ in rows] == [start, start + 1]


@BOTH_WAYS
def test_shards_sorted_by_class_give_mixed_batches(labeled, max_memory_bytes):
    rows = _rows(labeled, 40, max_memory_bytes, buffer=16)
    labels = np.array(_labels(rows)).reshape(5, 8)
    # Eight rows of one class have a chance of 4 * C(10, 8) / C(40, 8) ~ 2e-6
    # when mixed; sorted shards without mixing would give nothing else.
    assert min(len(set(batch)) for batch in labels) >= 2
    assert np.mean([len(set(batch)) for batch in labels]) > 2.9


def test_an_empty_split_is_an_error(labeled):
    empty = dataclasses.replace(labeled, paths=(), num_records=0, num_copies=0)
    with pytest.raises(ValueError, match=r"hold no records\. Build them again"):
        _rows(empty, 1, 0)


def test_a_wrong_number_of_rows_is_an_error_at_once_in_memory(labeled):
    wrong = dataclasses.replace(labeled, num_copies=41)
    with pytest.raises(ValueError, match="hold 40 rows, and their manifest"):
        _rows(wrong, 1, 2**20)


def test_a_wrong_number_of_rows_is_an_error_when_read(labeled):
    wrong = dataclasses.replace(labeled, num_records=41, num_copies=41)
    with pytest.raises(tf.errors.FailedPreconditionError, match="41"):
        _rows(wrong, 41, 0)


def test_damaged_shards_are_an_error(labeled, tmp_path):
    path = tmp_path / shards.shard_name("train", 0, 1)
    content = bytearray(pathlib.Path(labeled.paths[0]).read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    damaged = dataclasses.replace(
        labeled, paths=(str(path),), num_records=10, num_copies=10
    )
    for max_memory_bytes in (2**20, 0):
        with pytest.raises(tf.errors.DataLossError, match="corrupted record"):
            _rows(damaged, 10, max_memory_bytes)
