import datetime

import pytest

from data_prep.shards import corrected, splits
from data_prep.sources import items
from noisy_student_tf import configs
from noisy_student_tf.records import corrections

NAMES = ("cat", "dog")
WHEN = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


def item(key, label=None):
    return items.make_item("source", key, label, key)


def answers(**said):
    """Key -> class, or None for none of them."""
    by_id = {
        item(key).image_id: corrections.Correction(
            image_id=item(key).image_id,
            decision="class" if name else "none",
            class_name=name,
            who="ann",
            when=WHEN,
        )
        for key, name in said.items()
    }
    return corrected.Answers(by_id, 1)


def keys(found):
    return [(each.key, each.label) for each in found]


def test_every_image_goes_where_people_put_it():
    assignment = splits.Assignment(
        {
            "train": [item("a", 0), item("b", 0), item("c", 1), item("d", 1)],
            "test": [item("e", 0), item("f", 1)],
        },
        [item("g", 1), item("h", 1), item("i", 0)],
    )
    said = answers(
        a="cat",
        b="dog",
        c=None,
        e="dog",
        f="dog",
        g="cat",
        h=None,
        j="dog",
        k=None,
        unknown="cat",
    )
    unlabeled = [item("j"), item("k"), item("l"), item("a")]

    made, confirmed, summary = corrected.apply(
        assignment, unlabeled, said, NAMES
    )

    assert keys(made.splits["train"]) == [
        ("a", 0),
        ("b", 1),
        ("d", 1),
        ("g", 0),
    ]
    assert made.splits["test"] == assignment.splits["test"]
    assert keys(made.rest) == [("i", 0)]
    assert keys(confirmed) == [("j", 1)]
    assert summary == {
        "num_decisions": 10,
        "num_disagreements": 1,
        "num_same_label": 1,
        "num_other_label": 1,
        "num_none": 3,
        "num_new": 2,
        "num_held_out": 1,
        "unknown_ids": [item("unknown").image_id.hex()],
    }


def test_decisions_that_cannot_be_applied_are_refused():
    data = configs.DataConfig(
        labeled="folder:birds", unlabeled="tar:a", corrections="c.jsonl"
    )
    corrected.check(answers(a="cat"), NAMES, data)
    with pytest.raises(ValueError, match=r"cow \(1\).*Its classes are cat"):
        corrected.check(answers(a="cow", b="dog"), NAMES, data)
    by_file = configs.DataConfig(
        unlabeled="tar:a", unlabeled_by_file=True, corrections="c.jsonl"
    )
    with pytest.raises(ValueError, match="unlabeled_by_file"):
        corrected.check(answers(a="cat"), NAMES, by_file)


def test_files_are_merged_and_a_copy_is_kept(tmp_path):
    paths = [str(tmp_path / f"{who}.jsonl") for who in ("ann", "bob")]
    for minute, (path, name) in enumerate(zip(paths, NAMES, strict=True)):
        (said,) = answers(a=name).by_id.values()
        changes = {
            "who": path,
            "when": WHEN + datetime.timedelta(minutes=minute),
        }
        corrections.append(
            path, [corrections.Correction(**{**vars(said), **changes})]
        )
    data = configs.DataConfig(corrections=",".join(paths))

    found = corrected.read(data)

    assert found.label(item("a"), NAMES) == 1
    assert found.num_disagreements == 1
    corrected.keep_copy(found, str(tmp_path))
    # People go on deciding.
    corrections.append(paths[0], list(answers(b="cat").by_id.values()))
    copied = corrected.read(data, str(tmp_path))
    assert copied.by_id == found.by_id
    assert corrected.source_of(data) == {
        "corrections": f"corrections:{','.join(paths)}"
    }


def test_without_files_nothing_is_said():
    data = configs.DataConfig()
    assert corrected.read(data) == corrected.Answers()
    assert corrected.source_of(data) == {}
    listed = [item("a"), item("b")]
    assert corrected.without_decided(listed, corrected.read(data)) == listed
    assert corrected.without_decided(listed, answers(a=None)) == listed[1:]
