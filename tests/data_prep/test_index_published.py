import functools

import numpy as np
import pytest
import tensorflow as tf

from data_prep import index_published
from noisy_student_tf.records import schema, shards
from tests.data_prep import small_pictures


def write_shard(path, rows, unreadable=()):
    """Write records as the authors' code does: (probabilities, label)."""
    with shards.open_writer(str(path)) as writer:
        for number, (probabilities, label) in enumerate(rows):
            example = tf.train.Example()
            feature = example.features.feature
            picture = small_pictures.png(number)
            if number in unreadable:
                picture = picture[:-40]
            feature["image/encoded"].bytes_list.value[:] = [picture]
            feature["probabilities"].float_list.value[:] = probabilities
            feature["label"].int64_list.value[:] = [label]
            feature["prob"].float_list.value[:] = [max(probabilities)]
            writer.write(example.SerializeToString())


def test_the_authors_shards_are_read_where_they_lie(tmp_path):
    write_shard(tmp_path / "a-0", [([0.25, 0.5, 0.25], 1), ([1, 0, 0], 0)])
    write_shard(tmp_path / "a-1", [([1.0, 0, 0], 0)])
    index_published.index(
        f"{tmp_path}/a-*", directory=f"{tmp_path}/out", num_classes=3
    )
    found = shards.open_split(f"{tmp_path}/out", "pseudo_labeled")
    assert found.schema == "published_pseudo_labeled"
    assert found.num_records == found.num_copies == 3
    manifest = shards.read_manifest(f"{tmp_path}/out")
    assert manifest["counts_per_class"] == {"pseudo_labeled": [2, 1, 0]}
    record = next(shards.read_records(found.paths[0]))
    parsed = schema.parse_published(record, num_classes=3)
    np.testing.assert_allclose(parsed["probabilities"], [0.25, 0.5, 0.25])
    assert parsed["image"] == small_pictures.png(0)


def test_unreadable_pictures_are_left_out_up_to_the_limit(tmp_path):
    sure = [([1.0, 0, 0], 0), ([0, 1.0, 0], 1), ([0, 0, 1.0], 2)]
    write_shard(tmp_path / "a-0", sure, unreadable={1})
    write_shard(tmp_path / "a-1", sure)
    build = functools.partial(
        index_published.index,
        f"{tmp_path}/a-*",
        directory=f"{tmp_path}/out",
        num_classes=3,
    )
    with pytest.raises(
        ValueError, match=r"1 of 6 images cannot be used .*a-0/1: truncated"
    ):
        build(max_corrupt_fraction=0.0)
    build(max_corrupt_fraction=0.2)
    found = shards.open_split(f"{tmp_path}/out", "pseudo_labeled")
    assert found.num_records == 5
    assert found.paths[1] == f"{tmp_path}/a-1"
    original = list(shards.read_records(f"{tmp_path}/a-0"))
    kept = list(shards.read_records(found.paths[0]))
    assert kept == [original[0], original[2]]
    manifest = shards.read_manifest(f"{tmp_path}/out")
    assert manifest["counts_per_class"] == {"pseudo_labeled": [2, 1, 2]}
    assert [e["key"] for e in manifest["corrupt"]] == [f"{tmp_path}/a-0/1"]


@pytest.mark.parametrize(
    "row", [([0.5, 0.5], 1), ([0.5, 0.2, 0.2], 0), ([1, 0, 0], 3)]
)
def test_what_is_no_pseudo_label_is_named(tmp_path, row):
    write_shard(tmp_path / "a-0", [([1, 0, 0], 0), row])
    with pytest.raises(Exception, match=r"a-0/1.*accepted are records of the"):
        index_published.index(
            f"{tmp_path}/a-*", directory=f"{tmp_path}/out", num_classes=3
        )
    assert not shards.is_finished(f"{tmp_path}/out")
