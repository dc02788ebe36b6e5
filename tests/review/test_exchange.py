import csv
import datetime
import io
import json

import pytest

from noisy_student_tf.records import corrections
from noisy_student_tf.review import exchange, places
from tests.review import small_run

KEYS = ["a/1.png", "a/2.png", "b/1.png"]
WHEN = datetime.datetime(2026, 3, 1, 9, tzinfo=datetime.UTC)
Answer = exchange.Answer


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    splits = {
        "unlabeled": small_run.Pictures(KEYS),
        "train": small_run.Pictures(["cat/7.png"], [0]),
    }
    return small_run.write(str(tmp_path_factory.mktemp("run")), splits)


def take(workdir, answers, known=()):
    return exchange.take(
        answers,
        workdir,
        class_names=small_run.CLASS_NAMES,
        known=list(known),
        who="ann",
    )


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_what_is_exported_is_imported_again(workdir, tmp_path):
    owl = small_run.CLASS_NAMES[2]
    said = [
        corrections.Correction(
            image_id=small_run.image_id(key),
            decision="class" if name else "none",
            class_name=name,
            who="bob, jr.",
            when=WHEN + datetime.timedelta(minutes=number),
        )
        for number, (key, name) in enumerate(
            [("b/1.png", owl), ("a/1.png", None)]
        )
    ]
    merged = corrections.merge(said)
    table = exchange.to_csv(
        merged, places.find_ids(workdir, list(merged.answers))
    )
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["key"] for row in rows] == ["b/1.png", "a/1.png"]
    assert [row["class"] for row in rows] == [owl, ""]

    path = write(tmp_path, "answers.csv", table)
    answers = exchange.read_answers(path)
    assert take(workdir, answers).corrections == said
    again = take(workdir, answers, said)
    assert (again.corrections, again.num_known) == ([], 2)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_names_files(workdir, tmp_path, separator):
    lines = [
        ("file", "class"),
        ("heap/a/1.png", "dog"),
        ("a/2.png", "none of these"),
        ("1.png", "cat"),
        ("c/5.png", "cat"),
        ("b/1.png", "cow"),
        ("b/1.png", ""),
    ]
    text = "\n".join(separator.join(line) for line in lines)
    path = write(tmp_path, "answers.csv", f"\ufeff{text}\n")

    taken = take(workdir, exchange.read_answers(path))

    assert [
        (each.image_id, each.decision, each.class_name, each.who)
        for each in taken.corrections
    ] == [
        (small_run.image_id("a/1.png"), "class", "dog", "ann"),
        (small_run.image_id("a/2.png"), "none", None, "ann"),
    ]
    assert taken.ambiguous_images == ["1.png"]
    assert taken.unknown_images == ["c/5.png"]
    assert taken.unknown_classes == {"cow": 1}


def task(image, choices, **fields):
    result = [{"type": "choices", "value": {"choices": choices}}]
    annotation = {"result": result, "completed_by": 3, **fields}
    return {"id": 1, "data": {"image": image}, "annotations": [annotation]}


def test_label_studio(tmp_path):
    tasks = [
        task(
            "/data/local-files/?d=heap/a/1%20b.png",
            ["cat"],
            created_at="2026-03-01T09:00:00.000000Z",
        ),
        task("s3://bucket/a/2.png", ["nothing"], completed_by={"email": "e"}),
        task("a/3.png", ["cat"], was_cancelled=True),
        task("a/4.png", [], result=[]),
    ]
    path = write(tmp_path, "export.json", json.dumps(tasks))
    assert exchange.read_answers(path, none_name="nothing") == [
        Answer("heap/a/1 b.png", "cat", "Label Studio 3", WHEN),
        Answer("/a/2.png", None, "e", None),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "picture,class\n", "first line is 'picture,class'"),
        ("a.csv", "key,class,when\nx,cat,today\n", "line 2: the time"),
        ("a.json", '[{"image": "a", "choice": "cat"}]', "kind JSON"),
        ("a.json", "no JSON", "kind JSON"),
        ("a.json", json.dumps([task("a", ["x", "y"])]), "one class an image"),
        (
            "a.json",
            json.dumps([{**task("a", ["x"]), "data": {"text": "b"}}]),
            "its data have",
        ),
        ("a.jsonl", "", "--corrections=a.jsonl,b.jsonl"),
    ],
)
def test_what_is_no_table_of_answers_is_named(tmp_path, name, text, message):
    path = write(tmp_path, name, text)
    with pytest.raises(ValueError, match=message):
        exchange.read_answers(path)
