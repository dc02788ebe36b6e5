"""What errors about images advise is followed, and works."""

import dataclasses
import gzip
import os
import re
import shutil

import pytest

from data_prep import build_labeled, build_unlabeled
from data_prep.shards import labeled_plans
from noisy_student_tf import configs
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
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_advice_of_an_error_works(root, settings, message, advised):
    rows = "".join(f"{n},cat/00{n}.png,c{n % 2},x\n" for n in range(10))
    (root / "birds/list.csv").write_text(f"id,image,kind,note\n{rows}")
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
