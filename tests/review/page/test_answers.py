import pytest

from noisy_student_tf.records import corrections
from noisy_student_tf.review.page import answers
from tests.review import small_run

ONE, TWO, THREE = map(small_run.image_id, ["1.png", "2.png", "3.png"])
NOTHING = [{}]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "corrections.jsonl")


def held(found):
    return {
        image_id: each and (each.class_name, each.who)
        for image_id, each in found.items()
    }


def test_decisions_are_on_the_disk_and_known(path):
    kept = answers.Answers(path, "ann")
    kept.add([(ONE, "cat")], [{"queue": "label_next"}])
    (said,) = corrections.read(path).corrections
    assert said.shown == {"queue": "label_next"}
    assert (said.class_name, said.who) == ("cat", "ann")
    assert held(kept.since(0)) == {ONE: ("cat", "ann")}


def test_a_new_process_goes_on(path):
    answers.Answers(path, "ann").add([(ONE, "cat")], NOTHING)
    kept = answers.Answers(path, "ann")
    assert held(kept.since(0)) == {ONE: ("cat", "ann")}
    assert kept.undo() == [ONE]


def test_only_what_changed_since_is_told(path):
    kept = answers.Answers(path, "ann")
    kept.add([(ONE, "cat")], NOTHING)
    version = kept.version
    kept.add([(TWO, None), (THREE, "dog")], NOTHING * 2)
    assert held(kept.since(version)) == {
        TWO: (None, "ann"),
        THREE: ("dog", "ann"),
    }
    version = kept.version
    assert set(kept.undo()) == {TWO, THREE}
    assert held(kept.since(version)) == {TWO: None, THREE: None}
    assert kept.undo() == [ONE]
    assert kept.undo() == []


def test_what_others_append_is_read(path):
    ann, bob = answers.Answers(path, "ann"), answers.Answers(path, "bob")
    ann.add([(ONE, "cat")], NOTHING)
    bob.add([(ONE, "dog"), (TWO, "dog")], NOTHING * 2)
    ann.refresh()
    assert held(ann.since(1)) == {ONE: ("dog", "bob"), TWO: ("dog", "bob")}
    # Her own one, not his.
    assert ann.undo() == [ONE]
    assert held(ann.since(0))[ONE] == ("dog", "bob")


def test_half_a_line_is_told_and_waited_for(path):
    kept = answers.Answers(path, "ann")
    kept.add([(ONE, "cat"), (TWO, "dog")], NOTHING * 2)
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content[:-20])
    kept = answers.Answers(path, "ann")
    assert kept.damaged == [2]
    assert held(kept.since(0)) == {ONE: ("cat", "ann")}
    kept.add([(THREE, "dog")], NOTHING)
    assert set(kept.since(0)) == {ONE, THREE}


def test_another_file_in_its_place(path):
    kept = answers.Answers(path, "ann")
    kept.add([(ONE, "cat"), (TWO, "dog")], NOTHING * 2)
    with open(path, "w"):
        pass
    kept.refresh()
    assert kept.since(0) == {}


def test_a_full_disk_keeps_what_was_there():
    kept = answers.Answers("/dev/full", "ann")
    with pytest.raises(OSError, match="No space left"):
        kept.add([(ONE, "cat")], NOTHING)
    assert kept.since(0) == {}


def test_remote_files_are_refused():
    with pytest.raises(ValueError, match="local file"):
        answers.Answers("gs://bucket/corrections.jsonl", "ann")
