"""One heap with everything in it that people have in theirs."""

import os
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import build_labeled, build_unlabeled
from data_prep.shards import sidecars
from noisy_student_tf import configs
from noisy_student_tf.records import shards
from tests.data_prep import small_pictures

# Seeds of pictures; classes have 40, 6 and 1.
CLASSES = {
    "cat [1]": range(40),
    "dog,s": range(100, 106),
    "owl": range(200, 201),
}
HELD_OUT = range(300, 306)
UNLABELED = range(400, 420)
SHARED = 999


def png(*seeds: int) -> list[bytes]:
    return [small_pictures.png(seed) for seed in seeds]


def write_labeled(root: pathlib.Path) -> None:
    """Write class folders, and what cameras and systems add to them."""
    for name, seeds in CLASSES.items():
        for seed in seeds:
            path = f"{root}/{name}/more/{seed}.PNG"
            small_pictures.write(path, small_pictures.png(seed))
    for name in ("cat [1]", "dog,s"):
        small_pictures.write(f"{root}/{name}/same.png", *png(SHARED))
        small_pictures.write(f"{root}/{name}/._same.png", b"fork")
    cat = root / "cat [1]"
    small_pictures.write(f"{cat}/IMG_1.DNG", b"x")
    small_pictures.write(f"{cat}/notes.txt", b"x")
    small_pictures.write(f"{cat}/truncated.png", png(1)[0][:80])
    small_pictures.write(f"{cat}/@eaDir/0.png/SYNOPHOTO_THUMB.jpg", *png(0))
    small_pictures.write(f"{root}/@eaDir/x.png", *png(0))
    small_pictures.write(f"{root}/__MACOSX/owl/._1.png", b"fork")
    small_pictures.write(f"{root}/.ipynb_checkpoints/x.png", *png(0))
    small_pictures.write(f"{root}/stray.png", *png(7))
    (cat / "u0.jpg").mkdir()
    os.symlink("..", cat / "again")
    os.symlink(".", root / "loop")
    os.mkfifo(cat / "pipe.png")


def write_held_out(root: pathlib.Path) -> None:
    """Write the same classes as Hugging Face writes them."""
    rows = [
        {"image": {"bytes": picture, "path": None}, "label": name}
        for number, picture in enumerate(png(*HELD_OUT))
        for name in [[*CLASSES][number % 3]]
    ]
    root.mkdir(parents=True)
    pq.write_table(
        pa.Table.from_pylist(rows), root / "test-00000-of-00001.parquet"
    )


def write_unlabeled(root: pathlib.Path) -> None:
    """Write pictures anywhere, some that are labeled, and other files."""
    for seed in UNLABELED:
        path = f"{root}/{seed % 3}/{seed}.png"
        small_pictures.write(path, small_pictures.png(seed))
    small_pictures.write(f"{root}/copy.png", *png(CLASSES["owl"][0]))
    small_pictures.write(f"{root}/empty.png", b"")
    small_pictures.write(f"{root}/archive.zip", b"x")
    os.symlink("nowhere", root / "gone.png")
    os.symlink(root, root / "0" / "above")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the heap's shards; return the root and the two manifests."""
    root = tmp_path_factory.mktemp("heap [2024]")
    write_labeled(root / "labeled")
    write_held_out(root / "held out")
    write_unlabeled(root / "unlabeled")
    data = configs.DataConfig(
        labeled=f"folder:{root}/labeled",
        evaluation=f"parquet:{root}/held out",
        unlabeled=f"files:{root}/unlabeled",
        split="stratified",
        max_corrupt_fraction=0.1,
        # The picture of two classes trains and is held out.
        allow_overlap=True,
        num_shards=2,
    )
    labeled, unlabeled = f"{root}/shards/labeled", f"{root}/shards/unlabeled"
    build_labeled.build(data=data, directory=labeled)
    build_unlabeled.build(
        data=data, directory=unlabeled, labeled_directory=labeled
    )
    return (
        root / "shards",
        shards.read_manifest(labeled),
        shards.read_manifest(unlabeled),
    )


def keys(root: pathlib.Path, folder: str) -> list[str]:
    directory = f"{root}/{folder}"
    return [
        key
        for split in shards.read_manifest(directory)["splits"]
        for path in shards.index_paths(directory, split)
        for key in sidecars.read_column([path], "key").to_pylist()
    ]


def test_the_right_images_are_labeled(built):
    root, labeled, _ = built
    assert labeled["class_names"] == sorted(CLASSES)
    expected = [
        f"{name}/more/{seed}.PNG"
        for name, seeds in CLASSES.items()
        for seed in seeds
    ]
    expected += [f"{name}/same.png" for name in ("cat [1]", "dog,s")]
    expected += [f"test-00000-of-00001.parquet/{n}" for n in range(6)]
    assert sorted(keys(root, "labeled")) == sorted(expected)
    counts = labeled["counts_per_class"]
    assert counts["test"] == [2, 2, 2]
    # The class of one image trains.
    assert counts["validation"] == [4, 1, 0]
    assert counts["train"] == [37, 6, 1]


def test_what_was_left_out_is_reported_with_the_reason(built):
    _, labeled, _ = built
    assert labeled["ignored"]["labeled"] == {
        ".DNG": 1,
        ".txt": 1,
        "hidden": 2,
        "@eaDir/": 1,
        "in no class folder": 1,
        "no regular file": 1,
        "link to a folder that is read already": 1,
    }
    (corrupt,) = labeled["corrupt"]
    assert corrupt["key"] == "cat [1]/truncated.png"
    assert corrupt["reason"]
    assert labeled["in_several_classes"] == [
        "cat [1]/same.png (cat [1]) = dog,s/same.png (dog,s)"
    ]


def test_the_right_images_are_unlabeled(built):
    root, _, unlabeled = built
    assert sorted(keys(root, "unlabeled")) == sorted(
        f"{seed % 3}/{seed}.png" for seed in UNLABELED
    )
    assert unlabeled["excluded"]["keys"] == ["copy.png"]
    assert unlabeled["ignored"]["unlabeled"] == {
        ".zip": 1,
        "link to a folder that is read already": 1,
    }
    reasons = {each["key"]: each["reason"] for each in unlabeled["corrupt"]}
    assert reasons == {
        "empty.png": "the file is empty",
        "gone.png": "no such file",
    }
