"""Shards of folders on which people decided."""

import dataclasses
import datetime

import pytest

from data_prep import build_labeled, build_unlabeled
from data_prep.shards import sidecars
from noisy_student_tf import configs, heaps
from noisy_student_tf.records import corrections, schema, shards
from tests.data_prep import small_pictures

WHEN = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


@pytest.fixture
def data(tmp_path):
    small_pictures.write_class_folders(f"{tmp_path}/birds", num_per_class=4)
    for number in range(6):
        small_pictures.write(
            f"{tmp_path}/heap/{number}.png", small_pictures.png(100 + number)
        )
    return configs.DataConfig(
        labeled=f"folder:{tmp_path}/birds",
        unlabeled=f"files:{tmp_path}/heap",
        corrections=f"{tmp_path}/c.jsonl",
        evaluation_fraction=0.25,
        validation_fraction=0.0,
        split="stratified",
        num_shards=2,
    )


def say(data, source, key, name):
    said = corrections.Correction(
        image_id=schema.make_id(source, key),
        decision="class" if name else "none",
        class_name=name,
        who="ann",
        when=WHEN,
    )
    corrections.append(data.corrections, [said])


def build(data, root):
    labeled, unlabeled = f"{root}/labeled", f"{root}/unlabeled"
    build_labeled.build(data=data, directory=labeled)
    build_unlabeled.build(
        data=data, directory=unlabeled, labeled_directory=labeled
    )
    return labeled, unlabeled


def rows(directory, split):
    """Return key -> label, as the index and as the records have it."""
    paths = shards.index_paths(directory, split)
    keys = sidecars.read_column(paths, "key").to_pylist()
    labels = sidecars.read_column(paths, "label").to_pylist()
    stored = [
        int(schema.parse_image(record)["label"])
        for path in shards.open_split(directory, split).paths
        for record in shards.read_records(path)
    ]
    assert stored == [-1 if each is None else each for each in labels]
    return dict(zip(keys, labels, strict=True))


def test_shards_are_of_what_people_said(data, tmp_path):
    plain = dataclasses.replace(data, corrections="")
    before = build(plain, f"{tmp_path}/before")
    train, test = rows(before[0], "train"), rows(before[0], "test")
    wrong, none = [key for key, label in train.items() if label == 0][:2]
    (held_out,) = [key for key, label in test.items() if label == 1]
    for source, key, name in (
        ("birds", wrong, "owl"),
        ("birds", none, None),
        ("birds", held_out, "cat"),
        ("heap", "1.png", "dog"),
        ("heap", "2.png", None),
        ("heap", "none such", "dog"),
    ):
        say(data, source, key, name)

    labeled, unlabeled = build(data, f"{tmp_path}/after")

    expected = {**train, wrong: 2, "1.png": 1}
    del expected[none]
    assert rows(labeled, "train") == expected
    assert rows(labeled, "test") == test
    heap = {f"{number}.png" for number in (0, 3, 4, 5)}
    assert set(rows(unlabeled, "unlabeled")) == heap
    manifest = shards.read_manifest(labeled)
    assert manifest["splits"]["train"]["num_records"] == len(expected)
    assert manifest["counts_per_class"]["train"] == [1, 4, 4]
    summary = manifest["corrections"]
    assert (summary["num_new"], summary["num_other_label"]) == (1, 1)
    assert (summary["num_none"], summary["num_held_out"]) == (2, 1)
    assert len(summary["unknown_ids"]) == 1
    excluded = shards.read_manifest(unlabeled)["excluded"]
    assert excluded["num_corrected"] == 2

    # The same command, when people have gone on.
    assert [*heaps.changed_sources(labeled, unlabeled)] == []
    say(data, "heap", "3.png", "cat")
    (change,) = heaps.changed_sources(labeled, unlabeled)
    assert "6 decisions of people became 7" in change


def test_both_directories_are_of_the_same_decisions(data, tmp_path):
    say(data, "heap", "1.png", "dog")
    labeled, unlabeled = f"{tmp_path}/labeled", f"{tmp_path}/unlabeled"
    build_labeled.build(data=data, directory=labeled)
    say(data, "heap", "3.png", "cat")
    build_unlabeled.build(
        data=data, directory=unlabeled, labeled_directory=labeled
    )
    assert "3.png" in rows(unlabeled, "unlabeled")
    assert "1.png" not in rows(unlabeled, "unlabeled")


def test_what_the_splits_leave_can_be_confirmed(data, tmp_path):
    alone = dataclasses.replace(data, unlabeled="", labeled_per_class=1)
    plain = dataclasses.replace(alone, corrections="")
    before = build(plain, f"{tmp_path}/before")
    key, other, *rest = rows(before[1], "unlabeled")
    say(alone, "birds", key, "owl")
    say(alone, "birds", other, None)

    labeled, unlabeled = build(alone, f"{tmp_path}/after")

    assert rows(labeled, "train") == {**rows(before[0], "train"), key: 2}
    assert set(rows(unlabeled, "unlabeled")) == set(rest)


def test_a_file_that_is_not_there_is_named(data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"c\.jsonl does not exist"):
        build(data, tmp_path)
