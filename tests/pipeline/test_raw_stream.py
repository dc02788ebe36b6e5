import collections
import dataclasses
import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from noisy_student_tf import configs
from noisy_student_tf.pipeline import raw_stream, record_store
from noisy_student_tf.records import schema, shards

# Held in memory, and found by their offsets.
BOTH_WAYS = pytest.mark.parametrize("cache_megabytes", [1, 0])


def _stream(
    shard_set,
    cache_megabytes,
    *,
    start_step=0,
    seed=3,
    part=None,
    chunk_size=4,
    cache_directory="",
):
    return raw_stream.make_rows(
        shard_set,
        seed=seed,
        part=part or raw_stream.BatchPart(batch_size=10),
        start_step=start_step,
        chunk_size=chunk_size,
        runtime=configs.RuntimeConfig(
            cache_megabytes=cache_megabytes, cache_directory=cache_directory
        ),
        shuffle_buffer_size=16,
    )


def _rows(shard_set, count, cache_megabytes, *, part=None, **options):
    """Return the first (position, record) pairs."""
    part = part or raw_stream.BatchPart(batch_size=10)
    rows = _stream(shard_set, cache_megabytes, part=part, **options).unbatch()
    return [
        (int(part.positions(number)), record.numpy())
        for number, record, _ in itertools.islice(rows, count)
    ]


def _labels(rows):
    return [
        int(schema.parse_image(tf.constant(record))["label"])
        for _, record in rows
    ]


@BOTH_WAYS
def test_an_epoch_has_every_image_as_often_as_it_has_copies(
    pseudo_labeled, cache_megabytes
):
    rows = _rows(pseudo_labeled, 120, cache_megabytes)
    assert [position for position, _ in rows] == list(range(120))
    for epoch in (rows[:60], rows[60:]):
        counts = collections.Counter(record for _, record in epoch)
        assert len(counts) == 30
        for record, count in counts.items():
            assert count == int(schema.parse_copies(tf.constant(record)))


def test_rows_do_not_depend_on_where_records_are_held(pseudo_labeled, tmp_path):
    held = _rows(pseudo_labeled, 90, 1)
    assert _rows(pseudo_labeled, 90, 0) == held
    copied = _rows(pseudo_labeled, 90, 0, cache_directory=str(tmp_path / "x"))
    assert copied == held
    assert len(list((tmp_path / "x").iterdir())) == 3


def test_epochs_and_seeds_have_orders_of_their_own(labeled):
    rows = _rows(labeled, 80, 1)
    other = _rows(labeled, 40, 1, seed=4)
    orders = {
        tuple(record for _, record in epoch)
        for epoch in (rows[:40], rows[40:], other)
    }
    assert len(orders) == 3


@BOTH_WAYS
def test_a_later_start_gives_the_tail(pseudo_labeled, cache_megabytes):
    rows = _rows(pseudo_labeled, 150, cache_megabytes)
    tail = _rows(pseudo_labeled, 80, cache_megabytes, start_step=7)
    assert tail == rows[70:]


def test_the_order_does_not_depend_on_a_global_seed(labeled):
    rows = _rows(labeled, 50, 1)
    tf.random.set_seed(99)
    assert _rows(labeled, 50, 1) == rows


def test_hosts_take_every_nth_row(labeled):
    whole = _rows(labeled, 40, 1)
    for host in range(2):
        part = raw_stream.BatchPart(batch_size=10, host=host, num_hosts=2)
        assert _rows(labeled, 20, 1, part=part) == whole[host::2]


def test_a_far_start_reads_only_its_own_rows(labeled, tmp_path):
    """Its records are intact, all others are not: any other read would show."""
    records, begins = [], []
    path = tmp_path / shards.shard_name("train", 0, 1)
    first = _rows(labeled, 1, 1, start_step=10**6)[0][1]
    for shard in labeled.paths:
        records += list(shards.read_records(shard))
    with shards.open_writer(str(path)) as writer:
        for record in records:
            writer.write(record)
    begins = record_store.record_offsets(str(path))
    content = bytearray(path.read_bytes())
    for record, begin in zip(records, begins, strict=True):
        if record != first:
            content[begin + 20] ^= 0xFF
    path.write_bytes(content)
    damaged = dataclasses.replace(labeled, paths=(str(path),))
    options = {"start_step": 10**6, "chunk_size": 1}
    assert _rows(damaged, 1, 0, **options) == [(10**7, first)]
    with pytest.raises(tf.errors.InvalidArgumentError, match="is damaged"):
        _rows(damaged, 2, 0, **options)


@BOTH_WAYS
def test_shards_sorted_by_class_give_the_mix_of_chance(
    labeled, cache_megabytes
):
    rows = _rows(labeled, 800, cache_megabytes)
    labels = np.array(_labels(rows)).reshape(100, 8)
    counts = np.stack([(labels == c).sum(1) for c in range(4)])
    # Drawn without replacement: 8 * 1/4 * 3/4 * 32/39 = 1.23; five deviations
    # of a variance over 400 counts are 0.45.
    assert abs(counts.mean() - 2) < 1e-9
    assert abs(counts.var() - 1.23) < 0.45


def test_copies_meet_in_a_batch_as_rarely_as_chance_gives():
    # 30 images of 20 copies: of the C(20, 2) pairs of an image's places among
    # 600, a share of 9 / 599 lies within the same batch of 10: 85.6 of all.
    places = tf.range(600 * 40, dtype=tf.int64)
    rows = raw_stream.shuffled(
        places % 600, epochs=places // 600, size=600, seed=5
    ).numpy()
    batches = (rows // 20).reshape(40 * 60, 10)
    pairs = sum(
        count * (count - 1) / 2
        for batch in batches
        for count in np.bincount(batch)
    )
    # 40 epochs; a deviation is about the root of the count, 58.
    assert abs(pairs - 40 * 85.6) < 5 * 58.5


@pytest.mark.parametrize("size", [1, 5, 40, 1000])
def test_an_order_has_every_row_once(size):
    places = tf.range(size, dtype=tf.int64)
    order = raw_stream.shuffled(
        places, epochs=tf.zeros_like(places) + 2, size=size, seed=9
    )
    assert sorted(order.numpy()) == list(range(size))


def test_all_orders_of_four_rows_are_equally_likely():
    places = tf.range(4 * 2400, dtype=tf.int64)
    orders = raw_stream.shuffled(places % 4, epochs=places // 4, size=4, seed=1)
    counts = collections.Counter(map(tuple, orders.numpy().reshape(-1, 4)))
    assert len(counts) == 24
    # 100 each; five deviations.
    assert max(abs(count - 100) for count in counts.values()) < 50


def test_hosts_that_all_read_everything_are_told_what_would_not(
    labeled, caplog
):
    remote = [f"file://{path}" for path in labeled.paths]
    shard_set = dataclasses.replace(labeled, paths=tuple(remote))

    def opened(host, num_hosts):
        caplog.clear()
        part = raw_stream.BatchPart(
            batch_size=10, host=host, num_hosts=num_hosts
        )
        _stream(shard_set, 0, part=part)
        return caplog.text

    assert "each of 2 hosts reads all" in opened(0, 2)
    # Once is enough, and one host has to.
    assert opened(1, 2) == opened(0, 1) == ""


def test_remote_shards_are_shuffled_and_copies_lie_apart(pseudo_labeled):
    remote = []
    for path in pseudo_labeled.paths:
        remote.append(f"ram://rows/{pathlib.Path(path).name}")
        tf.io.gfile.copy(path, remote[-1], overwrite=True)
    shard_set = dataclasses.replace(pseudo_labeled, paths=tuple(remote))
    rows = _rows(shard_set, 120, 0)
    assert [position for position, _ in rows] == list(range(120))
    for epoch in (rows[:60], rows[60:]):
        counts = collections.Counter(record for _, record in epoch)
        assert sorted(counts.values()) == [1] * 10 + [2] * 10 + [3] * 10
    assert _rows(shard_set, 50, 0, start_step=7) == rows[70:]


def test_an_empty_split_is_an_error(labeled):
    empty = dataclasses.replace(labeled, paths=(), num_records=0, num_copies=0)
    with pytest.raises(ValueError, match=r"hold no records\. Build them again"):
        _rows(empty, 1, 0)


@BOTH_WAYS
def test_a_wrong_number_of_rows_is_an_error_at_once(labeled, cache_megabytes):
    wrong = dataclasses.replace(labeled, num_records=41, num_copies=41)
    with pytest.raises(ValueError, match="hold 40 rows, and their manifest"):
        _rows(wrong, 1, cache_megabytes)


def _damaged_shard(labeled, tmp_path):
    """A copy of the first shard, whose record 4 of 10 is damaged."""
    path = tmp_path / shards.shard_name("train", 0, 1)
    content = bytearray(pathlib.Path(labeled.paths[0]).read_bytes())
    content[record_store.record_offsets(labeled.paths[0])[4] + 30] ^= 0xFF
    path.write_bytes(content)
    return dataclasses.replace(
        labeled, paths=(str(path),), num_records=10, num_copies=10
    )


@BOTH_WAYS
def test_a_damaged_record_is_an_error_with_its_name(
    labeled, tmp_path, cache_megabytes
):
    damaged = _damaged_shard(labeled, tmp_path)
    with pytest.raises(
        (ValueError, tf.errors.InvalidArgumentError),
        match=r"train-00000-of-00001.tfrecord, record 4: it is damaged.*build",
    ):
        _rows(damaged, 10, cache_megabytes)


@BOTH_WAYS
def test_rows_have_the_names_of_their_records(pseudo_labeled, cache_megabytes):
    names = {}
    for path in pseudo_labeled.paths:
        for number, record in enumerate(shards.read_records(path)):
            names[record] = f"{path}, record {number}"
    rows = _stream(pseudo_labeled, cache_megabytes).unbatch()
    for _, record, name in itertools.islice(rows, 60):
        assert name.numpy().decode() == names[record.numpy()]


def test_a_truncated_shard_is_an_error(labeled, tmp_path):
    damaged = _damaged_shard(labeled, tmp_path)
    path = pathlib.Path(damaged.paths[0])
    path.write_bytes(path.read_bytes()[:-7])
    for cache_megabytes, number in ((0, 9), (1, 4)):
        message = f"record {number}: .* the file is truncated"
        with pytest.raises(ValueError, match=message):
            _rows(damaged, 1, cache_megabytes)


def test_hosts_have_shards_of_their_own(pseudo_labeled):
    parts = [
        record_store.of_host(pseudo_labeled, index=i, num_hosts=2)
        for i in range(2)
    ]
    assert [part.paths for part in parts] == [
        pseudo_labeled.paths[::2],
        pseudo_labeled.paths[1::2],
    ]
    assert [part.num_records for part in parts] == [20, 10]
    assert sum(part.num_copies for part in parts) == 60


def test_fewer_shards_than_hosts_are_an_error(labeled):
    with pytest.raises(ValueError, match=r"4 shards .* for 5 hosts: .*rows"):
        record_store.of_host(labeled, index=0, num_hosts=5)


def test_positions_of_the_hosts_do_not_overlap():
    numbers = tf.range(6, dtype=tf.int64)
    positions = [
        raw_stream.BatchPart(batch_size=6, host=i, num_hosts=3)
        .positions(numbers)
        .numpy()
        for i in range(3)
    ]
    assert sorted(np.concatenate(positions)) == list(range(18))


def test_streams_are_not_tuned_and_keep_their_order():
    """An iterator that is dropped waits for a tuner, up to a minute."""
    numbers = tf.data.Dataset.range(100)
    stream = raw_stream.finish(
        raw_stream.map_in_order(numbers, lambda number: 2 * number).batch(10)
    )
    options = stream.options()
    assert not options.autotune.enabled
    assert options.deterministic
    given = np.concatenate(list(stream.as_numpy_iterator()))
    assert given.tolist() == list(range(0, 200, 2))
