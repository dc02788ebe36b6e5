"""Unlabeled shards of whole files, beside those of a listed source."""

import dataclasses
import os

import pytest

from data_prep import build_labeled, build_unlabeled
from data_prep.shards import sidecars
from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.planning import counting
from noisy_student_tf.records import shards
from tests.data_prep import small_pictures
from tests.data_prep.small_pictures import write_tar


@pytest.fixture
def heap(tmp_path):
    """Class folders, and five tars with two of their pictures among others."""
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=8)
    for number in range(5):
        seeds = [0, 5] if number == 3 else [100 + number, 200 + number]
        members = {f"{seed}.png": small_pictures.png(seed) for seed in seeds}
        write_tar(tmp_path / f"{number}.tar", members)
    data = configs.DataConfig(
        labeled=f"folder:{tmp_path}/birds",
        unlabeled=f"tar:{tmp_path}/*.tar",
        num_shards=3,
    )
    build_labeled.build(data=data, directory=f"{tmp_path}/labeled")
    return data


def build(data, root, name, **changes):
    build_unlabeled.build(
        data=dataclasses.replace(data, **changes),
        directory=f"{root}/{name}",
        labeled_directory=f"{root}/labeled",
    )
    return shards.read_manifest(f"{root}/{name}")


def keys(root, name):
    paths = shards.index_paths(f"{root}/{name}", "unlabeled")
    return [sidecars.read_column([path], "key").to_pylist() for path in paths]


def ids(root, name):
    paths = shards.index_paths(f"{root}/{name}", "unlabeled")
    return sorted(sidecars.read_column(paths, "image_id").to_pylist())


def test_shards_of_whole_files_hold_what_a_listing_holds(heap, tmp_path):
    listed = build(heap, tmp_path, "listed")
    by_file = build(heap, tmp_path, "by_file", unlabeled_by_file=True)
    tars = [{key[:5] for key in part} for part in keys(tmp_path, "by_file")]
    assert tars == [{"0.tar"}, {"1.tar", "2.tar"}, {"4.tar"}]
    assert ids(tmp_path, "by_file") == ids(tmp_path, "listed")
    assert by_file["splits"] == listed["splits"]
    for counts in (by_file["excluded"], listed["excluded"]):
        assert counts["num_identical"] == 2
        assert sorted(counts["keys"]) == ["3.tar/0.png", "3.tar/5.png"]


def test_labeled_ids_of_the_same_shards_are_left_out(heap, tmp_path):
    """The labeled source is a split of shards, the heap all their files."""
    os.rename(tmp_path / "labeled", tmp_path / "first")
    data = dataclasses.replace(
        heap,
        labeled=f"{tmp_path}/first#train",
        unlabeled=f"{tmp_path}/first#train",
        labeled_per_class=1,
        evaluation_fraction=0.0,
        validation_fraction=0.0,
    )
    build_labeled.build(data=data, directory=f"{tmp_path}/labeled")
    listed = build(data, tmp_path, "listed")
    by_file = build(data, tmp_path, "by_file", unlabeled_by_file=True)
    assert ids(tmp_path, "by_file") == ids(tmp_path, "listed")
    assert by_file["excluded"]["num_same_id"] > 0
    assert by_file["excluded"] == listed["excluded"]


def test_an_unfinished_build_goes_on_and_a_changed_file_begins_anew(
    heap, tmp_path
):
    build(heap, tmp_path, "out", unlabeled_by_file=True)
    first = f"{tmp_path}/out/{shards.shard_name('unlabeled', 0, 3)}"
    written = os.stat(first).st_mtime_ns
    files.remove(f"{tmp_path}/out/manifest.json")
    build(heap, tmp_path, "out", unlabeled_by_file=True)
    assert os.stat(first).st_mtime_ns == written
    files.remove(f"{tmp_path}/out/manifest.json")
    # Tar files grow in steps of 10 kB.
    large = small_pictures.encode(small_pictures.pixels(900, 80, 80))
    write_tar(tmp_path / "0.tar", {"9.png": large})
    build(heap, tmp_path, "out", unlabeled_by_file=True)
    assert keys(tmp_path, "out")[0] == ["0.tar/9.png"]


def test_a_dry_run_counts_by_the_first_file(heap, tmp_path):
    data = dataclasses.replace(heap, unlabeled_by_file=True)
    counts = counting.count_images(
        configs.Config(data=data), workdirs.Workdir(f"{tmp_path}/none")
    )
    assert counts.unlabeled == 10
    assert counts.bytes_per_image > 100


@pytest.mark.parametrize(
    ("unlabeled", "message"),
    [
        ("files:birds", "accepted are sources of files that hold many"),
        ("tar:{root}/*.tar,{root}/more/*.tar", "have the same name"),
    ],
)
def test_what_cannot_be_built_by_file_is_refused(
    heap, tmp_path, unlabeled, message
):
    os.mkdir(tmp_path / "more")
    write_tar(tmp_path / "more/0.tar", {"9.png": small_pictures.png(900)})
    with pytest.raises(ValueError, match=message):
        build(
            heap,
            tmp_path,
            "out",
            unlabeled=unlabeled.format(root=tmp_path),
            unlabeled_by_file=True,
        )
