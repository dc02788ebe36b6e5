import collections
import dataclasses
import threading

import pytest

from noisy_student_tf import configs, files
from noisy_student_tf.pipeline import (
    record_store,
    train_sources,
    train_stream,
)
from noisy_student_tf.records import shards
from tests.pipeline import conftest


@pytest.fixture
def directory(tmp_path, labeled):
    """A manifest of remote shards."""
    split = shards.split_manifest(
        paths=[f"file://{path}" for path in labeled.paths],
        num_records=labeled.num_records,
        schema=labeled.schema,
        num_classes=labeled.num_classes,
    )
    shards.write_manifest(str(tmp_path), {"splits": {"train": split}})
    return str(tmp_path)


def requests_of_opening(directory, config, num_hosts, monkeypatch):
    """Count what is asked of the shards until all hosts' streams are made."""
    counts = collections.Counter()

    def counted(name, function):
        def call(*arguments):
            counts[name] += 1
            return function(*arguments)

        return call

    with monkeypatch.context() as patch:
        for module, name in (
            (files, "size_bytes"),
            (files, "exists"),
            (record_store, "_read_all"),
            (train_sources, "_check_first_record"),
        ):
            patch.setattr(module, name, counted(name, getattr(module, name)))
        labeled = shards.open_split(directory, "train")
        for host in range(num_hosts):
            train_stream.make_train_stream(
                labeled=labeled,
                pseudo_labeled=None,
                config=config,
                resolution=8,
                num_classes=conftest.NUM_CLASSES,
                start_step=0,
                input_pipelines=num_hosts,
                input_pipeline_index=host,
            )
    return counts


@pytest.mark.parametrize("sharding", ["rows", "files"])
def test_requests_of_opening_do_not_grow_with_the_hosts(
    sharding, directory, config, monkeypatch
):
    config = dataclasses.replace(
        config,
        runtime=configs.RuntimeConfig(
            cache_megabytes=0, host_sharding=sharding
        ),
    )
    two, four = (
        requests_of_opening(directory, config, num_hosts, monkeypatch)
        for num_hosts in (2, 4)
    )
    assert two == four
    # Each of the four shards is looked at once, and a record of the first.
    assert four["size_bytes"] == 4
    assert four["_check_first_record"] == 1


def test_remote_shards_are_looked_at_side_by_side(directory, monkeypatch):
    together = threading.Barrier(4, timeout=30)

    def size_bytes(path):
        together.wait()
        return 7

    monkeypatch.setattr(files, "size_bytes", size_bytes)
    assert shards.open_split(directory, "train").shard_bytes == (7,) * 4


def test_a_hosts_shards_keep_their_sizes(labeled):
    opened = dataclasses.replace(labeled, shard_bytes=(1, 2, 3, 4))
    own = record_store.of_host(opened, index=1, num_hosts=2)
    assert own.paths == labeled.paths[1::2]
    assert own.shard_bytes == (2, 4)
