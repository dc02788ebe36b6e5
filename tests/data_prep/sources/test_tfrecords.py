import dataclasses
import gzip
import subprocess

import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data_prep import build_labeled, build_unlabeled, sources
from data_prep.sources import tfrecords
from noisy_student_tf import configs
from noisy_student_tf.records import schema, shards
from tests.data_prep import small_pictures

SYNSETS = ("n01440764", "n01443537", "n01484850")


def imagenet_record(seed: int, label: int, cut: int = 0) -> bytes:
    """Return a record with the keys of the published ImageNet records."""

    def text(value: str) -> tf.train.Feature:
        values = tf.train.BytesList(value=[value.encode()])
        return tf.train.Feature(bytes_list=values)

    def number(value: int) -> tf.train.Feature:
        values = tf.train.Int64List(value=[value])
        return tf.train.Feature(int64_list=values)

    picture = small_pictures.encode(small_pictures.pixels(seed), "JPEG")
    picture = picture[: len(picture) - cut]
    feature = {
        "image/encoded": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[picture])
        ),
        "image/format": text("JPEG"),
        "image/colorspace": text("RGB"),
        "image/channels": number(3),
        "image/height": number(10),
        "image/width": number(12),
        "image/filename": text(f"{SYNSETS[label - 1]}_{seed}.JPEG"),
        "image/class/label": number(label),
        "image/class/synset": text(SYNSETS[label - 1]),
        "image/class/text": text("tench, Tinca tinca"),
    }
    return tf.train.Example(
        features=tf.train.Features(feature=feature)
    ).SerializeToString()


def write_imagenet(
    directory, split: str, *, num_shards: int, first_seed: int = 0
) -> str:
    """Write shards of six images each; return their source."""
    for index in range(num_shards):
        path = f"{directory}/{split}-{index:05d}-of-{num_shards:05d}"
        with tf.io.TFRecordWriter(path) as writer:
            for number in range(6):
                seed = first_seed + index * 6 + number
                writer.write(imagenet_record(seed, number % 3 + 1))
    return f"imagenet:{directory}/{split}-*"


@pytest.fixture
def data(tmp_path) -> configs.DataConfig:
    """Six training files and two for evaluation."""
    return configs.DataConfig(
        labeled=write_imagenet(tmp_path, "train", num_shards=6),
        evaluation=write_imagenet(
            tmp_path, "validation", num_shards=2, first_seed=100
        ),
        num_shards=2,
    )


def build(data, directory, **changes):
    build_labeled.build(
        data=dataclasses.replace(data, **changes), directory=str(directory)
    )
    return shards.read_manifest(str(directory))


def test_imagenet_files_are_read_where_they_lie(data, tmp_path):
    manifest = build(data, tmp_path / "labeled")
    assert manifest["class_names"] == list(SYNSETS)
    assert manifest["counts_per_class"] == {
        "train": [10, 10, 10],
        "validation": [2, 2, 2],
        "test": [4, 4, 4],
    }
    assert not list((tmp_path / "labeled").glob("*.tfrecord"))
    seen: set[str] = set()
    for split, num_files in (("train", 5), ("validation", 1), ("test", 2)):
        shard_set = shards.open_split(str(tmp_path / "labeled"), split)
        assert shard_set.schema == "imagenet"
        assert len(shard_set.paths) == num_files
        for path in shard_set.paths:
            for record in shards.read_records(path):
                assert 0 <= int(schema.parse_imagenet(record)["label"]) < 3
        seen.update(shard_set.paths)
    assert len(seen) == 8
    index = pq.read_table(
        tmp_path / "labeled" / "test-00001-of-00002.index.parquet"
    ).to_pylist()
    assert [row["label"] for row in index] == [0, 1, 2, 0, 1, 2]
    assert index[1]["key"] == "validation-00001-of-00002/1"


def test_unreadable_imagenet_pictures_are_left_out_up_to_the_limit(
    data, tmp_path
):
    foreign = tmp_path / "validation-00001-of-00002"
    records = [
        imagenet_record(200 + i, i % 3 + 1, 60 * (i == 4)) for i in range(6)
    ]
    with tf.io.TFRecordWriter(str(foreign)) as writer:
        for record in records:
            writer.write(record)
    data = dataclasses.replace(data, max_corrupt_fraction=0.0)
    with pytest.raises(
        ValueError, match=r"1 of 12 images .*validation-00001-of-00002/4"
    ):
        build(data, tmp_path / "labeled", max_corrupt_fraction=0.0)
    manifest = build(data, tmp_path / "labeled", max_corrupt_fraction=0.1)
    assert manifest["num_corrupt"] == 1
    assert manifest["counts_per_class"]["test"] == [4, 3, 4]
    found = shards.open_split(str(tmp_path / "labeled"), "test")
    assert found.num_records == 11
    assert found.paths[0] == f"{tmp_path}/validation-00000-of-00002"
    kept = list(shards.read_records(found.paths[1]))
    assert kept == records[:4] + records[5:]
    assert {"test-00001-of-00002.tfrecord"} == {
        path.name for path in (tmp_path / "labeled").glob("*.tfrecord")
    }


def test_test_files_are_held_out_without_an_evaluation_source(data, tmp_path):
    manifest = build(data, tmp_path / "labeled", evaluation="")
    records = {
        split: entry["num_records"]
        for split, entry in manifest["splits"].items()
    }
    assert records == {"train": 24, "validation": 6, "test": 6}


def test_subset_of_imagenet_is_written_and_the_rest_unlabeled(data, tmp_path):
    data = dataclasses.replace(data, labeled_per_class=2)
    manifest = build(data, tmp_path / "labeled")
    assert manifest["counts_per_class"]["train"] == [2, 2, 2]
    assert manifest["splits"]["train"]["schema"] == "image"
    assert manifest["splits"]["test"]["schema"] == "imagenet"
    build_unlabeled.build(
        data=data,
        directory=str(tmp_path / "unlabeled"),
        labeled_directory=str(tmp_path / "labeled"),
    )
    unlabeled = shards.read_manifest(str(tmp_path / "unlabeled"))["splits"]
    num_validation = manifest["splits"]["validation"]["num_records"]
    assert unlabeled["unlabeled"]["num_records"] == 36 - 6 - num_validation


def test_imagenet_overlap_is_found_by_content(data, tmp_path):
    copies = write_imagenet(tmp_path, "copies", num_shards=1)
    with pytest.raises(ValueError, match="training images are in the held-out"):
        build(
            data,
            tmp_path / "labeled",
            evaluation=copies,
            validation_fraction=0.0,
        )


def test_imagenet_classes_are_checked(data, tmp_path):
    with pytest.raises(ValueError, match="no usable image of class '3'"):
        build(data, tmp_path / "out", num_classes=4)
    with pytest.raises(ValueError, match=r"3 classes .*num_classes=2"):
        build(data, tmp_path / "out", num_classes=2)
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=1)
    with pytest.raises(ValueError, match="its classes are not those"):
        build(data, tmp_path / "out", evaluation=f"folder:{tmp_path}/birds")


def test_too_few_imagenet_files_to_hold_out_are_an_error(data, tmp_path):
    labeled = data.labeled.replace("train-*", "train-00000*")
    with pytest.raises(ValueError, match="1 files match, of which 1 would"):
        build(data, tmp_path / "out", labeled=labeled)
    # Following the advice.
    build(data, tmp_path / "out", labeled=labeled, validation_fraction=0.0)


def test_damaged_and_foreign_records_are_errors(data, tmp_path):
    path = tmp_path / "train-00002-of-00006"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="train-00002-of-00006: the file is"):
        sources.open_source(data.labeled)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(
            schema.encode_image(image=b"x", image_id=b"0" * 16, label=0)
        )
    with pytest.raises(ValueError, match=r"label is \[\]; ImageNet records"):
        sources.open_source(data.labeled)
    pattern = f"{tmp_path}/validation-*"
    with pytest.raises(ValueError, match=r"read as imagenet:\S+/validation-0"):
        sources.open_source(pattern)
    # Following the advice.
    assert sources.open_source(f"imagenet:{pattern}").list_items().images


def test_our_own_shards_keep_ids_labels_and_class_names(tmp_path):
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=8)
    directory = f"{tmp_path}/labeled"
    build(
        configs.DataConfig(labeled=f"folder:{tmp_path}/birds", num_shards=2),
        directory,
    )
    original = sources.open_source(f"folder:{tmp_path}/birds")
    expected = {
        item.image_id: item.label for item in original.list_items().images
    }
    source = sources.open_source(directory)
    listed = tuple(sources.list_checked(source).images)
    assert {item.image_id: item.label for item in listed} == expected
    assert source.class_names == ("cat", "dog", "owl")
    with source.reader(listed) as read:
        pictures = {read(item) for item in listed}
    assert pictures == {small_pictures.png(seed) for seed in range(24)}
    num_test = shards.open_split(directory, "test").num_records
    for specification in (f"{directory}#test", f"{directory}/test-*.tfrecord"):
        assert (
            len(sources.open_source(specification).list_items().images)
            == num_test
        )


def test_gzipped_file_is_named_as_that(tmp_path):
    path = tmp_path / "train-0.gz"
    path.write_bytes(gzip.compress(b"records"))
    with tf.io.TFRecordWriter(str(tmp_path / "train-0")) as writer:
        writer.write(schema.encode_image(image=b"x", image_id=b"0" * 16))
    path.write_bytes(gzip.compress((tmp_path / "train-0").read_bytes()))
    with pytest.raises(ValueError, match=r"is gzipped.*gunzip \S+train-0.gz\."):
        next(tfrecords.read_examples(str(path)))
    # Following the advice.
    (tmp_path / "train-0").unlink()
    subprocess.run(["gunzip", str(path)], check=True)
    assert next(tfrecords.read_examples(str(tmp_path / "train-0")))
