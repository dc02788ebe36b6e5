import pyarrow as pa
import pytest

from data_prep.shards import identical
from noisy_student_tf import files


def contents(*rows) -> pa.Table:
    """Return rows of a picture's first byte, key, label and split."""
    return pa.Table.from_pylist(
        [
            {
                "image_sha256": bytes([picture]) * 32,
                "key": key,
                "label": label,
                "split": split,
            }
            for picture, key, label, split in rows
        ],
        identical.SCHEMA,
    )


def test_training_images_that_are_held_out_are_an_error_and_listed(tmp_path):
    path = f"{tmp_path}/overlap.txt"
    table = contents(
        (1, "a", 0, "train"),
        (1, "b", 0, "validation"),
        (2, "c", 0, "train"),
        (2, "d", 0, "train"),
        (2, "e", 0, "test"),
        (3, "f", 0, "train"),
        (4, "g", 0, "test"),
    )
    with pytest.raises(ValueError, match=r"3 training .*a = b; c = e; d = e"):
        identical.check_overlap(table, allow_overlap=False, list_path=path)
    assert files.read_text(path) == "a\nc\nd\n"
    assert identical.check_overlap(table, True, list_path=path) == 3
    assert not files.exists(path)


def test_validation_images_that_are_test_images_are_named(caplog):
    table = contents(
        (1, "a", 0, "validation"), (1, "b", 0, "test"), (2, "c", 0, "train")
    )
    assert identical.check_overlap(table, allow_overlap=False) == 0
    assert "1 validation images are test images, too" in caplog.text
    assert "a = b" in caplog.text


def test_pictures_of_several_classes_are_named_with_them():
    table = contents(
        (1, "a", 0, "train"),
        (1, "b", 1, "test"),
        (2, "c", 1, "train"),
        (2, "d", 1, "train"),
    )
    named = identical.name_contradictions(table, ["cat", "dog"])
    assert named == ["a (cat) = b (dog)"]


def test_no_pictures_are_no_copies():
    empty = identical.read([])
    assert identical.check_overlap(empty, allow_overlap=False) == 0
    assert identical.name_contradictions(empty, []) == []
