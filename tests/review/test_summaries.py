import datetime

from noisy_student_tf.records import corrections
from noisy_student_tf.review import exchange, summaries
from tests.review import small_run

WHEN = datetime.datetime(2026, 3, 1, 9, tzinfo=datetime.UTC)


def say(key, name, *, who="ann", minute=0):
    return corrections.Correction(
        image_id=small_run.image_id(key),
        decision="class" if name else "none",
        class_name=name,
        who=who,
        when=WHEN + datetime.timedelta(minutes=minute),
    )


def test_what_people_said_is_told(tmp_path):
    splits = {
        "unlabeled": small_run.Pictures(["1.png", "2.png"]),
        "train": small_run.Pictures(["cat/7.png", "cat/8.png"], [0, 0]),
        "test": small_run.Pictures(["dog/9.png"], [1]),
    }
    workdir = small_run.write(str(tmp_path), splits)
    said = [
        say("1.png", "dog"),
        say("1.png", None, who="bob", minute=1),
        say("2.png", "cow"),
        say("cat/7.png", "cat"),
        say("cat/8.png", "dog"),
        say("dog/9.png", "cat"),
        say("elsewhere", "cat"),
    ]
    summary = summaries.summarize(said, workdir, small_run.CLASS_NAMES)
    lines = summaries.describe(summary).splitlines()

    cells = [line.rsplit(maxsplit=4) for line in lines[2:6]]
    assert cells == [
        ["(none of these)", "1", "0", "0", "0"],
        ["cat", "0", "1", "1", "1"],
        ["cow", "1", "0", "0", "0"],
        ["dog", "0", "0", "1", "0"],
    ]
    text = "\n".join(lines[6:])
    assert "1.png: bob: none of these, ann: dog" in text
    assert "1 decision of held-out images" in text
    assert f"1 image: {small_run.image_id('elsewhere').hex()}" in text
    assert "1 class: cow (1)" in text
    assert "differ on 1 image;" in text


def test_half_lines_are_told():
    read = corrections.Read([say("1.png", "dog")], [2, 5])
    text = summaries.describe_file("a.jsonl", read)
    assert "1 decision; left out 2 half-written lines: 2, 5" in text


def test_what_was_not_taken_is_told():
    taken = exchange.Taken([], 2, ["a"], ["b", "c"], {"cow": 3, "pig": 1})
    text = summaries.describe_taken("a.csv", "a.jsonl", taken)
    assert "0 decisions appended to a.jsonl; 2 were there" in text
    assert "not of this run: 1 image: a" in text
    assert "have this name: 2 images: b, c" in text
    assert "no such class: 2 classes: cow (3), pig (1)" in text
