"""What errors about images advise is followed, and works."""

import dataclasses
import gzip
import json
import os
import pathlib
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import build_labeled, build_unlabeled
from data_prep.shards import labeled_plans
from noisy_student_tf import configs
from noisy_student_tf.records import shards
from tests.data_prep import small_pictures


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Lie in a folder with pictures of three classes, and others."""
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=10)
    small_pictures.write_class_folders(
        f"{tmp_path}/more", num_per_class=2, first_seed=500
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_kinds(root) -> None:
    """Write Parquet, WebDataset's and IDX files whose labels are to choose."""
    rows = [{"x": b"1", "kind": f"c{n % 2}"} for n in range(24)]
    pq.write_table(pa.Table.from_pylist(rows), root / "kinds.parquet")
    members = {}
    for number in range(24):
        content = {"kind": f"c{number % 2}"}
        if number % 2:
            content["label"] = "x"
        members[f"{number}.jpg"] = b"1"
        members[f"{number}.json"] = json.dumps(content).encode()
    small_pictures.write_tar(root / "kinds.tar", members)
    images = bytes([0, 0, 8, 3, *(0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0, 1)])
    labels = bytes([0, 0, 8, 1, 0, 0, 0, 24])
    for name, head in (("images-idx3", images), ("labels-idx1", labels)):
        path = f"{root}/digits/t10k-{name}-ubyte"
        small_pictures.write(path, head + bytes([0, 1] * 12))


def plan(**settings) -> None:
    """Plan labeled and unlabeled shards, as the dry run and builders do."""
    data = configs.DataConfig(
        **{"labeled": "folder:birds", "split": "stratified", **settings}
    )
    labeled_plans.plan_all(data, "out")
    if data.unlabeled or data.labeled_per_class:
        build_unlabeled.plan(data, "out")


@pytest.mark.parametrize(
    ("settings", "message", "advised"),
    [
        (
            {"labeled": "foldr:birds"},
            r"Did you mean folder:birds\?",
            {"labeled": "folder:birds"},
        ),
        (
            {"unlabeled": "folder:birds/cat"},
            r"or use files:birds/cat for images without classes",
            {"unlabeled": "files:birds/cat"},
        ),
        (
            {"num_classes": 4},
            r"has 3 classes .*num_classes=4. Correct the flag",
            {"num_classes": 3},
        ),
        (
            {"labeled_per_class": 9},
            r"Ask for fewer, hold out less",
            {"labeled_per_class": 5},
        ),
        (
            {"labeled_per_class": 9, "unlabeled": "files:more"},
            r"Ask for fewer, hold out less",
            {"validation_fraction": 0.0, "evaluation_fraction": 0.1},
        ),
        (
            {"validation_fraction": 0.0, "evaluation_fraction": 0.001}
            | {"split": "hashed"},
            r"evaluation_fraction=0.001 .* holds out none. Raise it, or set",
            {"evaluation_fraction": 0.3},
        ),
        (
            {"validation_fraction": 0.001, "split": "hashed"},
            r"validation_fraction=0.001 .* or set it to 0 to do without",
            {"validation_fraction": 0.0},
        ),
        (
            {"unlabeled": "files:more", "unlabeled_by_file": True},
            r"or list them all with --data.unlabeled_by_file=False",
            {"unlabeled_by_file": False},
        ),
        (
            {"labeled": "csv:birds/list.csv"},
            r"which column holds the labels\?.*csv:FILE#path=COLUMN&label",
            {"labeled": "csv:birds/list.csv#path=image&label=kind"},
        ),
        (
            {"labeled": "birds"},
            r"write folder:DIR or files:DIR",
            {"labeled": "folder:birds"},
        ),
        (
            {"unlabeled": "tar:heap.tar.gz"},
            r"unpack them with gunzip",
            {"unlabeled": "tar:heap.tar"},
        ),
        (
            {"unlabeled": "tar:heap.tar,copy/heap.tar"},
            r"Rename one of them",
            {"unlabeled": "tar:heap.tar,copy/other.tar"},
        ),
        (
            {"labeled_per_class": 7},
            r"no unlabeled image is left .* Give a source with --data.unlabel",
            {"unlabeled": "files:more"},
        ),
        (
            {"labeled_per_class": 7},
            r"or label fewer with --data.labeled_per_class, which is 7",
            {"labeled_per_class": 5},
        ),
        (
            {"labeled": "csv:birds/list.csv#label=kin"},
            r"no column 'kin'. The columns are .*'kind'",
            {"labeled": "csv:birds/list.csv#label=kind"},
        ),
        (
            {"labeled": "parquet:kinds.parquet"},
            r"at least 2 classes; .* chosen by #label=NAME",
            {"labeled": "parquet:kinds.parquet#label=kind"},
        ),
        (
            {"labeled": "parquet:kinds.parquet#label=kin"},
            r"choose with parquet:kinds.parquet#image=COLUMN&label=COLUMN",
            {"labeled": "parquet:kinds.parquet#image=x&label=kind"},
        ),
        (
            {"labeled": "wds:kinds.tar"},
            r"12 of 24 samples have no label.*another key: #label=KEY",
            {"labeled": "wds:kinds.tar#label=kind"},
        ),
        (
            {"labeled": "idx:digits"},
            r"Test images are addressed as idx:digits#t10k",
            {"labeled": "idx:digits#t10k"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_advice_of_an_error_works(root, settings, message, advised):
    rows = "".join(f"{n},cat/00{n}.png,c{n % 2},x\n" for n in range(10))
    (root / "birds/list.csv").write_text(f"id,image,kind,note\n{rows}")
    write_kinds(root)
    os.mkdir(root / "copy")
    small_pictures.write_tar(root / "heap.tar", {"1.png": b"1"})
    (root / "heap.tar.gz").write_bytes(
        gzip.compress((root / "heap.tar").read_bytes())
    )
    for name in ("heap", "other"):
        shutil.copy(root / "heap.tar", root / f"copy/{name}.tar")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        plan(**settings)
    assert re.search(message, str(caught.value)), caught.value
    plan(**settings | advised)


def test_class_that_is_empty_may_be_removed_or_filled(root):
    os.mkdir(root / "birds/wren")
    with pytest.raises(ValueError, match="Add images, or remove the class"):
        plan()
    os.rmdir(root / "birds/wren")
    plan()
    small_pictures.write("birds/wren/1.png", small_pictures.png(900))
    plan()


def test_images_of_the_same_id_may_be_renamed(root):
    small_pictures.write_tar(root / "a.tar", {"1.png": b"1", "./1.png": b"2"})
    with pytest.raises(ValueError, match="Rename or remove one of them"):
        plan(unlabeled="tar:a.tar")
    small_pictures.write_tar(root / "a.tar", {"1.png": b"1", "./2.png": b"2"})
    plan(unlabeled="tar:a.tar")


def test_copies_in_training_and_test_images_may_be_removed(root):
    for index in range(4):
        path = f"birds/cat/copy {index}.png"
        small_pictures.write(path, small_pictures.png(index))
    data = configs.DataConfig(labeled="folder:birds", split="stratified")
    with pytest.raises(ValueError, match="Remove one of each") as caught:
        build_labeled.build(data=data, directory="out")
    path = re.search(r"\((\S+) lists the training images\)", str(caught.value))
    names = (root / path[1]).read_text().splitlines()
    assert names
    for name in names:
        os.remove(root / "birds" / name)
    build_labeled.build(data=data, directory="out")
    assert not os.path.exists(root / path[1])


def test_copies_in_training_and_test_images_may_be_accepted(root):
    small_pictures.write("more/cat/copy.png", small_pictures.png(0))
    data = configs.DataConfig(
        labeled="folder:birds", evaluation="folder:more", validation_fraction=0
    )
    with pytest.raises(ValueError, match="accept them with --data"):
        build_labeled.build(data=data, directory="out")
    data = dataclasses.replace(data, allow_overlap=True)
    build_labeled.build(data=data, directory="out")


def write_text(path: str, *lines: str) -> None:
    pathlib.Path(path).write_text("\n".join(lines))


def write_flat() -> None:
    for number in range(8):
        small_pictures.write(f"flat/{number}.png", b"1")


def put_into_class_folders() -> None:
    for name, numbers in (("a", range(4)), ("b", range(4, 8))):
        os.makedirs(f"flat/{name}")
        for number in numbers:
            os.rename(f"flat/{number}.png", f"flat/{name}/{number}.png")


_LINES = [f"cat/00{n}.png,c{n % 2}" for n in range(8)]


@pytest.mark.parametrize(
    ("settings", "break_it", "message", "mend"),
    [
        (
            {"labeled": "folder:flat"},
            write_flat,
            r"Put the images of each class into a folder named after",
            put_into_class_folders,
        ),
        (
            {"evaluation": "folder:more"},
            lambda: os.rename("more/owl", "more/hen"),
            r"unknown: \['hen'\].* all others need the names of labeled ones",
            lambda: os.rename("more/hen", "more/owl"),
        ),
        (
            {},
            lambda: os.rename("birds/owl", "birds/o\nwl"),
            r"has a line break or another character .* Rename it",
            lambda: os.rename("birds/o\nwl", "birds/owl"),
        ),
        (
            {"labeled": "csv:birds/a.csv"},
            lambda: write_text("birds/a.csv", *_LINES, "cat/000.png,c1"),
            r"lines 1 and 9 give 'cat/000.png' two labels.* remove one",
            lambda: write_text("birds/a.csv", *_LINES),
        ),
        (
            {"labeled": "csv:birds/a.csv"},
            lambda: write_text("birds/a.csv", *_LINES, "cat/009.png"),
            r"line 9 is \['cat/009.png'\].* Mend or remove it",
            lambda: write_text("birds/a.csv", *_LINES, "cat/009.png,c0"),
        ),
        (
            {"labeled": "csv:birds/a.csv"},
            lambda: write_text("birds/a.csv", *(f"birds/{n}" for n in _LINES)),
            r"looked for in birds: .* Paths are relative to the table",
            lambda: write_text("birds/a.csv", *_LINES),
        ),
        (
            {"unlabeled": "tar:a.tar"},
            lambda: small_pictures.write_tar("a.tar", {"/a/1.png": b"1"}),
            r"Make the archive anew from inside its folder",
            lambda: small_pictures.write_tar("a.tar", {"1.png": b"1"}),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_an_error_asks_to_mend_is_enough(
    root, settings, break_it, message, mend
):
    break_it()
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        plan(**settings)
    assert re.search(message, str(caught.value)), caught.value
    mend()
    plan(**settings)


def test_a_directory_of_another_configuration_may_be_removed(root):
    data = configs.DataConfig(labeled="folder:birds", split="stratified")
    build_labeled.build(data=data, directory="out")
    data = dataclasses.replace(data, validation_fraction=0.0)
    with pytest.raises(ValueError, match="Remove out to build it anew, or"):
        build_labeled.build(data=data, directory="out")
    build_labeled.build(data=data, directory="another")
    shutil.rmtree("out")
    build_labeled.build(data=data, directory="out")
    assert "validation" not in shards.read_manifest("out")["splits"]


def test_a_damaged_shard_is_written_again_alone(root):
    data = configs.DataConfig(
        labeled="folder:birds", unlabeled="files:more", num_shards=2
    )
    build_labeled.build(data=data, directory="out")
    places = {"directory": "heap", "labeled_directory": "out"}
    build_unlabeled.build(data=data, **places)
    first, second = sorted(pathlib.Path("heap").glob("*.tfrecord"))
    whole, written = second.read_bytes(), first.stat().st_mtime_ns
    second.write_bytes(whole[:-7])
    # As the writer of pseudo-labels asks where it meets such a record.
    os.remove("heap/manifest.json")
    os.remove(second.with_suffix(".index.parquet"))
    build_unlabeled.build(data=data, **places)
    assert second.read_bytes() == whole
    assert first.stat().st_mtime_ns == written
