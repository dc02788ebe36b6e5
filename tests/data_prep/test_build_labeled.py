import dataclasses
import hashlib
import re

import pytest
import tensorflow as tf
from absl import flags

from data_prep import build_labeled, build_unlabeled
from data_prep.shards import sidecars
from noisy_student_tf import configs, files
from noisy_student_tf.records import parquet_files, schema, shards
from tests.data_prep import small_pictures


@pytest.fixture
def data(tmp_path) -> configs.DataConfig:
    """Three classes of ten images each, and how to split them."""
    small_pictures.write_class_folders(
        str(tmp_path / "birds"), num_per_class=10
    )
    return configs.DataConfig(
        labeled=f"folder:{tmp_path}/birds",
        evaluation_fraction=0.3,
        validation_fraction=0.2,
        num_shards=2,
    )


def build(data, directory, **changes):
    build_labeled.build(
        data=dataclasses.replace(data, **changes), directory=str(directory)
    )
    return shards.read_manifest(str(directory))


def contents(directory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_digits_are_built_as_the_manifest_says(tmp_path):
    directory = str(tmp_path / "labeled")
    build_labeled.build(
        data=configs.DataConfig(labeled="digits", labeled_per_class=4),
        directory=directory,
    )
    manifest = shards.read_manifest(directory)
    assert manifest["class_names"] == list("0123456789")
    assert manifest["counts_per_class"]["train"] == [4] * 10
    assert set(manifest["splits"]) == {"train", "validation", "test"}
    for split in manifest["splits"]:
        shard_set = shards.open_split(directory, split)
        indexes = shards.index_paths(directory, split)
        rows = parquet_files.read_table(indexes[0]).to_pylist()
        records = shards.read_records(shard_set.paths[0])
        for record, row in zip(records, rows, strict=True):
            parsed = schema.parse_image(record)
            picture = parsed["image"].numpy()
            assert tf.io.decode_png(picture).shape == (8, 8, 1)
            assert row == {
                "image_id": parsed["image_id"].numpy(),
                "image_sha256": hashlib.sha256(picture).digest(),
                "label": int(parsed["label"]),
                "key": row["key"],
            }
            assert row["image_id"] == schema.make_id("digits", row["key"])
        num_records = sum(parquet_files.read_table(i).num_rows for i in indexes)
        assert shard_set.num_records == num_records
        assert shard_set.num_classes == 10
    for name, digest in manifest["checksums"].items():
        assert shards.fingerprint(files.join(directory, name)) == digest


def test_interrupted_build_ends_with_identical_bytes(
    data, tmp_path, monkeypatch
):
    build(data, tmp_path / "whole")
    write_index = sidecars.write_index

    def write_one_index(path, **arguments):
        if "train-00001" in path:
            raise OSError("no space left")
        write_index(path, **arguments)

    directory = tmp_path / "interrupted"
    with monkeypatch.context() as patch:
        patch.setattr(sidecars, "write_index", write_one_index)
        with pytest.raises(OSError, match="no space left"):
            build(data, directory)
    assert not shards.is_finished(str(directory))
    # What a killed process leaves of a shard.
    (directory / "test-00000-of-00002.tfrecord.temporary-1").write_bytes(b"x")
    kept = directory / "train-00000-of-00002.tfrecord"
    written_at = kept.stat().st_mtime_ns
    build(data, directory)
    assert contents(directory) == contents(tmp_path / "whole")
    assert kept.stat().st_mtime_ns == written_at


def test_unfinished_build_of_other_settings_starts_over(data, tmp_path):
    directory = tmp_path / "labeled"
    build(data, directory)
    (directory / "manifest.json").unlink()
    small_pictures.write(
        f"{tmp_path}/birds/cat/new.png", small_pictures.png(99)
    )
    manifest = build(data, directory, num_shards=3)
    counts = manifest["counts_per_class"].values()
    assert sum(map(sum, counts)) == 31
    assert not list(directory.glob("*-of-00002*"))


def test_finished_build_is_left_alone_or_refused(data, tmp_path):
    directory = tmp_path / "labeled"
    build(data, directory)
    before = contents(directory)
    build(data, directory, beam_runner="AnotherRunner")
    assert contents(directory) == before
    with pytest.raises(
        ValueError, match=r"num_shards: 2 became 3\). Remove .*labeled to build"
    ):
        build(data, directory, num_shards=3)


def test_held_out_source_is_all_test_and_remote_paths_work(data):
    root = "ram://test_build_labeled"
    small_pictures.write_class_folders(f"{root}/train", num_per_class=6)
    small_pictures.write_class_folders(
        f"{root}/held_out", num_per_class=3, first_seed=100
    )
    build_labeled.build(
        data=dataclasses.replace(
            data,
            labeled=f"folder:{root}/train",
            evaluation=f"folder:{root}/held_out",
        ),
        directory=f"{root}/labeled",
    )
    manifest = shards.read_manifest(f"{root}/labeled")
    assert manifest["counts_per_class"]["test"] == [3, 3, 3]
    labeled = manifest["counts_per_class"]
    assert sum(labeled["train"]) + sum(labeled["validation"]) == 18
    assert shards.open_split(f"{root}/labeled", "test").num_records == 9


def test_held_out_source_may_lack_classes(data, tmp_path):
    for name, seed in (("owl", 50), ("cat", 51), ("owl", 52)):
        path = f"{tmp_path}/other/{name}/{seed}.png"
        small_pictures.write(path, small_pictures.png(seed))
    evaluation = f"folder:{tmp_path}/other"
    manifest = build(data, tmp_path / "out", evaluation=evaluation)
    assert manifest["class_names"] == ["cat", "dog", "owl"]
    assert manifest["counts_per_class"]["test"] == [1, 0, 2]
    with pytest.raises(ValueError, match=r"Missing: \['cat', 'dog', 'owl'\]"):
        build(data, tmp_path / "b", evaluation=f"files:{tmp_path}/other")


def test_held_out_source_with_other_classes_is_an_error(data, tmp_path):
    small_pictures.write(f"{tmp_path}/other/cat/1.png", small_pictures.png(50))
    small_pictures.write(f"{tmp_path}/other/hen/1.png", small_pictures.png(51))
    with pytest.raises(
        ValueError, match=r"Missing: \['dog', 'owl'\]; unknown: \['hen'\]"
    ):
        build(data, tmp_path / "out", evaluation=f"folder:{tmp_path}/other")


def test_missing_and_empty_folders_are_errors(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        build(data, tmp_path / "out", labeled=f"folder:{tmp_path}/nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no class folders"):
        build(data, tmp_path / "out", labeled=f"folder:{tmp_path}/empty")
    with pytest.raises(ValueError, match=r"--data.labeled .* is empty"):
        build(data, tmp_path / "out", labeled="")


def test_class_without_image_is_an_error(data, tmp_path):
    (tmp_path / "birds" / "wren").mkdir()
    with pytest.raises(ValueError, match="no usable image of class 'wren'"):
        build(data, tmp_path / "out")


@pytest.mark.parametrize("num_classes", [2, 4])
def test_other_number_of_classes_is_an_error(data, tmp_path, num_classes):
    with pytest.raises(
        ValueError,
        match=rf"3 classes \(cat, dog, owl\).*num_classes={num_classes}",
    ):
        build(data, tmp_path / "out", num_classes=num_classes)


def test_too_few_images_of_a_class_are_an_error(data, tmp_path):
    with pytest.raises(
        ValueError, match=r"labeled_per_class=9\).* fewer of cat: \d, dog: \d"
    ):
        build(data, tmp_path / "out", labeled_per_class=9)


def test_source_without_classes_is_an_error(data, tmp_path):
    with pytest.raises(ValueError, match="needs at least 2 classes"):
        build(data, tmp_path / "out", labeled=f"files:{tmp_path}/birds")


def test_overlap_is_an_error_unless_allowed(data, tmp_path):
    small_pictures.write(f"{tmp_path}/other/cat/a.png", small_pictures.png(3))
    for name in ("dog", "owl"):
        seed = hash(name) % 1000 + 1000
        path = f"{tmp_path}/other/{name}/a.png"
        small_pictures.write(path, small_pictures.png(seed))
    changes = {
        "evaluation": f"folder:{tmp_path}/other",
        "validation_fraction": 0.0,
    }
    with pytest.raises(
        ValueError, match=r"1 training images .*: cat/003.png = cat/a.png\."
    ):
        build(data, tmp_path / "out", **changes)
    manifest = build(data, tmp_path / "out", allow_overlap=True, **changes)
    assert manifest["excluded"] == {"num_overlapping": 1}
    # What was accepted is no other configuration.
    assert build(data, tmp_path / "out", **changes) == manifest


def test_corrupt_images_are_listed_and_beyond_the_fraction_an_error(
    data, tmp_path
):
    path = f"{tmp_path}/birds/cat/003.png"
    small_pictures.write(path, small_pictures.png(3)[:100])
    small_pictures.write(f"{tmp_path}/birds/dog/001.png", b"")
    with pytest.raises(
        ValueError,
        match=r"2 of 30 images cannot be used \(.*max_corrupt_fraction=0.01",
    ) as error:
        build(data, tmp_path / "out")
    assert "cat/003.png: truncated or damaged data" in str(error.value)
    assert "dog/001.png: the file is empty" in str(error.value)
    # Each of the advised ways on.
    (advised,) = re.findall(r"accept them with --data.(\S+) ", str(error.value))
    assert advised == "max_corrupt_fraction=0.067"
    manifest = build(data, tmp_path / "out", max_corrupt_fraction=0.067)
    assert manifest["num_corrupt"] == 2
    assert {"key": "dog/001.png", "reason": "the file is empty"} in manifest[
        "corrupt"
    ]
    assert sum(map(sum, manifest["counts_per_class"].values())) == 28
    files.remove(f"{tmp_path}/out/manifest.json")
    with pytest.raises(ValueError, match="Remove or mend them"):
        build(data, tmp_path / "out")
    small_pictures.write(path, small_pictures.png(3))
    files.remove(f"{tmp_path}/birds/dog/001.png")
    manifest = build(data, tmp_path / "out")
    assert manifest["num_corrupt"] == 0
    assert sum(map(sum, manifest["counts_per_class"].values())) == 29


def test_mended_picture_is_read_when_the_build_goes_on(data, tmp_path):
    for index in range(2):
        small_pictures.write(f"{tmp_path}/birds/cat/00{index}.png", b"")
    with pytest.raises(ValueError, match="2 of 30 images cannot be used"):
        build(data, tmp_path / "out")
    for index in range(2):
        path = f"{tmp_path}/birds/cat/00{index}.png"
        small_pictures.write(path, small_pictures.png(500 + index))
    assert build(data, tmp_path / "out")["num_corrupt"] == 0


def test_one_bad_file_is_a_warning_unless_none_is_accepted(
    data, tmp_path, caplog
):
    small_pictures.write(f"{tmp_path}/birds/cat/003.png", b"x")
    assert build(data, tmp_path / "out")["num_corrupt"] == 1
    assert "1 of 30 images cannot be used (cat/003.png: not a" in caplog.text
    with pytest.raises(ValueError, match="1 of 30 images"):
        build(data, tmp_path / "other", max_corrupt_fraction=0.0)


def test_files_that_cannot_be_read_are_named(data, tmp_path, monkeypatch):
    read_bytes = files.read_bytes

    def read(path):
        if path.endswith("cat/000.png"):
            raise PermissionError(13, "Permission denied", path)
        return read_bytes(path)

    monkeypatch.setattr(files, "read_bytes", read)
    manifest = build(data, tmp_path / "out")
    assert [entry["key"] for entry in manifest["corrupt"]] == ["cat/000.png"]
    assert "cannot be read" in manifest["corrupt"][0]["reason"]


def test_network_that_fails_ends_the_build(data, tmp_path, monkeypatch):
    def fail(path):
        raise tf.errors.UnavailableError(None, None, "no route")

    monkeypatch.setattr(files, "read_bytes", fail)
    with pytest.raises(OSError, match="no route"):
        build(data, tmp_path / "out")


def test_missing_files_of_a_table_are_found_before_anything_is_written(
    data, tmp_path
):
    lines = [f"cat/00{index}.png,cat" for index in range(8)]
    lines += ["dog/000.png,dog", "dog/x.png,dog", "dog/y.png,dog"]
    (tmp_path / "birds" / "list.csv").write_text("\n".join(lines))
    with pytest.raises(
        ValueError, match=r"2 of 11 images .*line 10: dog/x.png: no such file"
    ):
        build(data, tmp_path / "out", labeled=f"csv:{tmp_path}/birds/list.csv")
    assert not (tmp_path / "out").exists()


def test_pictures_of_two_classes_are_named(data, tmp_path, caplog):
    for name in ("cat", "dog"):
        path = f"{tmp_path}/birds/{name}/same.png"
        small_pictures.write(path, small_pictures.png(999))
    manifest = build(data, tmp_path / "out", allow_overlap=True)
    named = "cat/same.png (cat) = dog/same.png (dog)"
    assert manifest["in_several_classes"] == [named]
    assert "1 pictures stand in several classes (by content)" in caplog.text
    assert named in caplog.text


def test_splits_of_the_source_are_kept(data, tmp_path):
    for split, first in (("train", 50), ("val", 100), ("test", 200)):
        small_pictures.write_class_folders(
            f"{tmp_path}/set/{split}", num_per_class=3, first_seed=first
        )
    source = f"splits:{tmp_path}/set"
    data = dataclasses.replace(data, split="stratified")
    manifest = build(data, tmp_path / "out", labeled=source)
    assert manifest["counts_per_class"] == {
        "train": [3, 3, 3],
        "validation": [3, 3, 3],
        "test": [3, 3, 3],
    }
    with pytest.raises(ValueError, match="has test images of its own") as error:
        build(data, tmp_path / "b", labeled=source, evaluation=data.labeled)
    assert "splits:DIR#train" in str(error.value)
    manifest = build(
        data, tmp_path / "b", labeled=f"{source}#train", evaluation=data.labeled
    )
    assert manifest["counts_per_class"]["test"] == [10, 10, 10]


def test_ignored_files_are_in_the_manifest(data, tmp_path):
    small_pictures.write(f"{tmp_path}/birds/cat/a.DNG", b"x")
    assert build(data, tmp_path / "out")["ignored"] == {"labeled": {".DNG": 1}}


def test_main_builds_from_flags(data, tmp_path, caplog, monkeypatch):
    values = flags.FlagValues()
    build_labeled.define_flags(values)
    arguments = values(
        [
            "build_labeled",
            f"--source={data.labeled}",
            f"--output_dir={tmp_path}/out",
            "--labeled_per_class=2",
            "--num_shards=1",
            "--evaluation_fraction=0.3",
            "--split_seed=5",
            "--",
            "--direct_num_workers=1",
        ]
    )
    monkeypatch.setattr(build_labeled, "FLAGS", values)
    build_labeled.main(arguments)
    assert "train: 6 images, per class [2, 2, 2]" in caplog.text
    made_with = shards.read_manifest(f"{tmp_path}/out")["configuration"]
    assert made_with["split_seed"] == 5


def test_every_field_is_a_flag_of_a_builder():
    # What follows a bare `--` is for Beam.
    fields = {each.name for each in dataclasses.fields(configs.DataConfig)}
    flagged = set()
    for builder in (build_labeled, build_unlabeled):
        flagged |= set(builder._FIELDS.values())
    assert flagged == fields - {"beam_options"}
