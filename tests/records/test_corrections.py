import datetime

import pytest

from noisy_student_tf.records import corrections

START = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
IMAGE, OTHER = bytes(15) + b"a", bytes(15) + b"b"


def say(name, *, who="ann", minute=0, image=IMAGE, decision="class"):
    return corrections.Correction(
        image_id=image,
        decision=decision,
        class_name=name,
        who=who,
        when=START + datetime.timedelta(minutes=minute),
        shown={"queue": "label_next", "best": [["dog", 0.4]]},
    )


def withdraw(**options):
    return say(None, decision="withdrawn", **options)


def test_what_is_appended_is_read(tmp_path):
    path = str(tmp_path / "corrections.jsonl")
    said = [say("cat"), say(None, decision="none", minute=1, image=OTHER)]

    corrections.append(path, said[:1])
    corrections.append(path, said[1:])
    corrections.append(path, [])

    assert corrections.read(path) == corrections.Read(said, [])


def test_a_half_line_is_left_out_and_harms_no_other(tmp_path):
    path = tmp_path / "corrections.jsonl"
    corrections.append(str(path), [say("cat"), say("dog", minute=1)])
    whole = path.read_bytes()
    for cut in (len(whole) - 2, len(whole) - 60):
        path.write_bytes(whole[:cut])
        assert corrections.read(str(path)) == corrections.Read(
            [say("cat")], [2]
        )
        corrections.append(str(path), [say("bird", minute=2)])
        assert corrections.read(str(path)) == corrections.Read(
            [say("cat"), say("bird", minute=2)], [2]
        )


def test_a_line_without_its_end_is_whole(tmp_path):
    path = tmp_path / "corrections.jsonl"
    corrections.append(str(path), [say("cat")])
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    corrections.append(str(path), [say("dog", minute=1)])
    read = corrections.read(str(path))
    assert [each.class_name for each in read.corrections] == ["cat", "dog"]
    assert read.damaged == []


def test_a_full_disk_is_an_error():
    with pytest.raises(OSError, match="No space left"):
        corrections.append("/dev/full", [say("cat")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"class": "cat"', '"class": null'), "class is None"),
        (('"decision": "class"', '"decision": "may be"'), "may be"),
        (("+00:00", ""), "no time zone"),
        (('"who": "ann"', '"who": 3'), "who is no text"),
        (('"image_id": "00', '"image_id": "'), "32 digits"),
        (('"image_id": "00', '"image": "'), "KeyError"),
    ],
)
def test_what_is_no_decision_is_named(tmp_path, change, message):
    path = tmp_path / "corrections.jsonl"
    line = corrections.to_line(say("cat"))
    path.write_text(f"{line}\n{line.replace(*change)}\n")
    with pytest.raises(ValueError, match=f"line 2.*{message}"):
        corrections.read(str(path))


def test_another_kind_of_file_is_refused(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("image_id,class\n00,cat\n")
    with pytest.raises(ValueError, match="--import_from="):
        corrections.read(str(path))


def test_no_file_says_who_writes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run_scripts\.review"):
        corrections.read(str(tmp_path / "corrections.jsonl"))


def test_the_later_one_holds_and_disagreements_are_listed():
    bob = say("dog", who="bob", minute=2)
    merged = corrections.merge([bob, say("cat"), say("cat", image=OTHER)])
    assert merged.answers == {IMAGE: bob, OTHER: say("cat", image=OTHER)}
    assert merged.disagreements == {IMAGE: [bob, say("cat")]}


def test_who_changes_his_mind_does_not_differ_from_himself():
    merged = corrections.merge([say("cat"), say("dog", minute=1)])
    assert merged.answers[IMAGE].class_name == "dog"
    assert merged.disagreements == {}


def test_what_is_taken_back_uncovers_what_was_said_before():
    said = [say("cat", who="bob"), say("dog", minute=1), withdraw(minute=2)]
    assert corrections.merge(said).answers[IMAGE].class_name == "cat"
    again = [say("cat"), say("dog", minute=1), withdraw(minute=2)]
    assert corrections.merge(again).answers[IMAGE].class_name == "cat"
    assert corrections.merge([say("cat"), withdraw(minute=1)]).answers == {}


def test_a_batch_is_taken_back_as_a_whole_and_then_the_one_before():
    said = [say("cat"), say("dog", minute=1), say("dog", minute=1, image=OTHER)]
    said.append(say("bird", who="bob", minute=3))

    for minute, images in ((4, {IMAGE, OTHER}), (5, {IMAGE}), (6, set())):
        when = START + datetime.timedelta(minutes=minute)
        back = corrections.takes_back(said, "ann", when)
        assert {each.image_id for each in back} == images
        assert {each.decision for each in back} <= {"withdrawn"}
        said += back

    (left,) = corrections.merge(said).answers.values()
    assert left.who == "bob"


def test_classes_that_do_not_exist_are_counted():
    said = [say("cat"), say("cow"), say("cow"), say(None, decision="none")]
    assert corrections.unknown_classes(said, ["cat", "dog"]) == {"cow": 2}
