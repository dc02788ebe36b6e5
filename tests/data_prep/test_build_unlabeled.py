import io

import pyarrow.parquet as pq
import pytest
from absl import flags

from data_prep import build_labeled, build_unlabeled
from data_prep.shards import sidecars
from noisy_student_tf import configs, files
from noisy_student_tf.records import schema, shards
from tests.data_prep import small_pictures


def build(data, root) -> dict:
    """Build both directories below a root; return the unlabeled manifest."""
    build_labeled.build(data=data, directory=f"{root}/labeled")
    build_unlabeled.build(
        data=data,
        directory=f"{root}/unlabeled",
        labeled_directory=f"{root}/labeled",
    )
    return shards.read_manifest(f"{root}/unlabeled")


def read_truth(root) -> list[dict]:
    path = f"{root}/unlabeled/{sidecars.TRUTH}"
    return pq.read_table(io.BytesIO(files.read_bytes(path))).to_pylist()


def read_column(directory, split, column) -> list:
    paths = shards.index_paths(directory, split)
    return sidecars.read_column(paths, column).to_pylist()


def test_rest_of_the_labeled_source_is_unlabeled_with_truth_aside(tmp_path):
    data = configs.DataConfig(labeled="digits", labeled_per_class=4)
    manifest = build(data, tmp_path)
    num_images = manifest["splits"]["unlabeled"]["num_records"]
    labeled = shards.read_manifest(f"{tmp_path}/labeled")["splits"]
    num_labeled = sum(entry["num_records"] for entry in labeled.values())
    assert num_images + num_labeled == 1797
    assert manifest["splits"]["unlabeled"]["num_classes"] == 0
    assert manifest["class_names"] == list("0123456789")

    ids = read_column(f"{tmp_path}/unlabeled", "unlabeled", "image_id")
    for split in labeled:
        held = read_column(f"{tmp_path}/labeled", split, "image_id")
        assert not set(ids) & set(held)
    labels = read_column(f"{tmp_path}/unlabeled", "unlabeled", "label")
    assert set(labels) == {None}
    truth = read_truth(tmp_path)
    assert [row["image_id"] for row in truth] == ids
    assert {row["label"] for row in truth} == set(range(10))

    shard_set = shards.open_split(f"{tmp_path}/unlabeled", "unlabeled")
    record = next(shards.read_records(shard_set.paths[0]))
    assert int(schema.parse_image(record)["label"]) == schema.NO_LABEL


def test_copies_of_labeled_images_are_left_out_and_counted(tmp_path):
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=8)
    for seed in (0, 5, 100, 101):
        path = f"{tmp_path}/more/deep/{seed}.png"
        small_pictures.write(path, small_pictures.png(seed))
    data = configs.DataConfig(
        labeled=f"folder:{tmp_path}/birds",
        unlabeled=f"files:{tmp_path}/more",
        num_shards=2,
    )
    manifest = build(data, tmp_path)
    keys = read_column(f"{tmp_path}/unlabeled", "unlabeled", "key")
    assert sorted(keys) == ["deep/100.png", "deep/101.png"]
    excluded = manifest["excluded"]
    assert excluded["num_identical"] == 2
    assert sorted(excluded["keys"]) == ["deep/0.png", "deep/5.png"]
    assert read_truth(tmp_path) == []


def test_the_same_source_twice_leaves_out_the_labeled_ids(tmp_path):
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=8)
    source = f"folder:{tmp_path}/birds"
    data = configs.DataConfig(
        labeled=source, unlabeled=source, labeled_per_class=1, num_shards=1
    )
    manifest = build(data, tmp_path)
    labeled = shards.read_manifest(f"{tmp_path}/labeled")["counts_per_class"]
    num_labeled = sum(map(sum, labeled.values()))
    assert manifest["excluded"]["num_same_id"] == num_labeled
    assert len(read_truth(tmp_path)) == 24 - num_labeled


def test_what_a_source_leaves_without_labels_is_unlabeled(tmp_path):
    small_pictures.write_class_folders(f"{tmp_path}/a/train", num_per_class=8)
    for seed in (100, 101):
        path = f"{tmp_path}/a/unlabeled/{seed}.png"
        small_pictures.write(path, small_pictures.png(seed))
    data = configs.DataConfig(
        labeled=f"splits:{tmp_path}/a", split="stratified", num_shards=1
    )
    build(data, tmp_path)
    keys = read_column(f"{tmp_path}/unlabeled", "unlabeled", "key")
    assert sorted(keys) == ["unlabeled/100.png", "unlabeled/101.png"]
    assert read_truth(tmp_path) == []


def test_nothing_left_is_an_error(tmp_path):
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=8)
    data = configs.DataConfig(labeled=f"folder:{tmp_path}/birds")
    with pytest.raises(ValueError, match="no unlabeled image is left"):
        build(data, tmp_path)


def test_only_copies_is_an_error(tmp_path):
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=8)
    data = configs.DataConfig(
        labeled=f"folder:{tmp_path}/birds",
        unlabeled=f"files:{tmp_path}/birds",
    )
    with pytest.raises(ValueError, match="no unlabeled image is left"):
        build(data, tmp_path)


def test_unfinished_labeled_directory_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing or unfinished"):
        build_unlabeled.build(
            data=configs.DataConfig(labeled="digits"),
            directory=f"{tmp_path}/unlabeled",
            labeled_directory=f"{tmp_path}/labeled",
        )


def test_main_takes_the_settings_of_the_labeled_directory(
    tmp_path, caplog, monkeypatch
):
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=8)
    build_labeled.build(
        data=configs.DataConfig(
            labeled=f"folder:{tmp_path}/birds",
            labeled_per_class=2,
            num_shards=3,
        ),
        directory=f"{tmp_path}/labeled",
    )
    values = flags.FlagValues()
    build_unlabeled.define_flags(values)
    values(
        [
            "build_unlabeled",
            f"--labeled_dir={tmp_path}/labeled",
            f"--output_dir={tmp_path}/unlabeled",
        ]
    )
    monkeypatch.setattr(build_unlabeled, "FLAGS", values)
    build_unlabeled.main(["build_unlabeled"])
    manifest = shards.read_manifest(f"{tmp_path}/labeled")
    num_labeled = sum(map(sum, manifest["counts_per_class"].values()))
    num_left = 24 - num_labeled
    assert f"unlabeled: {num_left} images" in caplog.text
    # Not the flag's default.
    assert len(files.glob(f"{tmp_path}/unlabeled/*.tfrecord")) == 3
