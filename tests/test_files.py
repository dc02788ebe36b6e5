import os
import uuid

import pytest
import tensorflow as tf

from noisy_student_tf import files, retries


@pytest.fixture(params=["local", "ram"])
def directory(request, tmp_path) -> str:
    """An empty directory on disk, and one in TensorFlow's memory."""
    if request.param == "local":
        return str(tmp_path)
    path = f"ram://{uuid.uuid4().hex}"
    files.make_directories(path)
    return path


def test_what_is_written_is_read(directory):
    path = files.join(directory, "a", "b.json")
    files.make_directories(files.join(directory, "a"))
    files.write_json(path, {"classes": ["ä", "b"], "count": 3})
    assert files.read_json(path) == {"classes": ["ä", "b"], "count": 3}
    files.write_text(path, "ö")
    assert files.read_text(path) == "ö"
    files.write_bytes(path, b"\x00\xff")
    assert files.read_bytes(path) == b"\x00\xff"
    assert files.size_bytes(path) == 2
    assert files.exists(path)
    assert files.is_directory(files.join(directory, "a"))
    assert not files.is_directory(path)


def test_a_failed_write_leaves_nothing(directory):
    path = files.join(directory, "result")

    def write():
        with files.temporary_name(path) as temporary:
            files.write_bytes(temporary, b"half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write()
    assert files.list_directory(directory) == []
    assert not files.exists(path)


def test_a_failed_write_keeps_what_was_there(directory):
    path = files.join(directory, "result")
    files.write_bytes(path, b"old")

    def write():
        with files.temporary_name(path) as temporary:
            files.write_bytes(temporary, b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert files.read_bytes(path) == b"old"


def test_lists_leave_out_half_written_files(directory):
    for name in ("b", "a"):
        files.write_bytes(files.join(directory, name), b"")
    half_written = files.join(directory, "c.temporary-0123")
    with files.open_file(half_written, "w") as file:
        file.write("x")
    assert files.list_directory(directory) == ["a", "b"]
    pattern = files.join(directory, "*")
    assert files.glob(pattern) == [
        files.join(directory, "a"),
        files.join(directory, "b"),
    ]
    files.remove_temporaries(directory, of={"a"})
    assert files.exists(half_written)
    files.remove_temporaries(directory, of={"a", "c"})
    assert not files.exists(half_written)
    with files.open_file(half_written, "w") as file:
        file.write("x")
    files.remove_temporaries(directory)
    assert not files.exists(half_written)
    assert files.list_directory(directory) == ["a", "b"]


def test_of_several_writers_the_first_one_is_read(directory):
    path = files.join(directory, "kept.json")
    assert [files.write_json_once(path, each) for each in (1, 2)] == [1, 1]
    assert files.list_directory(directory) == ["kept.json"]
    files.remove(path)
    assert files.write_json_once(path, 3) == 3


def test_a_glob_takes_several_patterns(directory):
    for name in ("a-1", "b-1", "c-1"):
        files.write_bytes(files.join(directory, name), b"")
    pattern = ",".join(files.join(directory, part) for part in ("c*", "a*"))
    assert files.glob(pattern) == [
        files.join(directory, "a-1"),
        files.join(directory, "c-1"),
    ]
    assert files.glob(files.join(directory, "x*")) == []


def test_lines_are_appended(directory):
    path = files.join(directory, "metrics.jsonl")
    for line in ("1\n", "2\n"):
        with files.open_file(path, "a") as file:
            file.write(line)
    assert files.read_text(path) == "1\n2\n"


def test_removing_takes_files_and_directories_and_minds_no_missing_one(
    directory,
):
    inner = files.join(directory, "inner")
    files.make_directories(inner)
    files.write_bytes(files.join(inner, "file"), b"")
    files.remove(files.join(inner, "file"))
    assert files.list_directory(inner) == []
    files.write_bytes(files.join(inner, "file"), b"")
    files.remove(inner)
    assert not files.exists(inner)
    files.remove(inner)


def test_copies_are_whole(directory):
    source = files.join(directory, "source")
    files.write_bytes(source, b"content")
    destination = files.join(directory, "destination")
    files.copy(source, destination)
    assert files.read_bytes(destination) == b"content"
    assert files.list_directory(directory) == ["destination", "source"]


def test_a_missing_file_is_an_error(directory):
    with pytest.raises(FileNotFoundError):
        files.read_bytes(files.join(directory, "missing"))
    with pytest.raises(files.errors()):
        files.copy(
            files.join(directory, "missing"), files.join(directory, "there")
        )
    assert files.list_directory(directory) == []


def test_free_space_is_known_of_local_disks_only(tmp_path):
    assert files.free_bytes(str(tmp_path / "not" / "yet" / "there")) > 0
    assert files.free_bytes("gs://bucket/run") is None
    assert files.is_remote("gs://bucket/run")
    assert not files.is_remote("/run")


def test_a_name_that_exists_is_no_pattern(tmp_path):
    root = f"{tmp_path}/run [1]"
    files.make_directories(root)
    for name in ("a,b.tar", "c*.tar", "cd.tar"):
        files.write_bytes(f"{root}/{name}", b"x")
    assert files.glob(f"{root}/a,b.tar") == [f"{root}/a,b.tar"]
    assert files.glob(f"{root}/c*.tar") == [f"{root}/c*.tar"]
    assert files.glob(f"{root}/*d.tar") == [f"{root}/cd.tar"]


def test_scanned_names_say_what_they_are(directory):
    files.make_directories(f"{directory}/folder.jpg")
    for name in ("b.jpg", "a.jpg", "c.jpg.temporary-1"):
        files.write_bytes(f"{directory}/{name}", b"x")
    found = files.scan_directory(directory)
    assert [(each.name, each.is_directory()) for each in found] == [
        ("a.jpg", False),
        ("b.jpg", False),
        ("folder.jpg", True),
    ]
    assert not any(each.is_special() for each in found[:2])
    assert files.real_path(f"{directory}/") == files.real_path(directory)


def failing_once(monkeypatch, name, *, is_done):
    """Let one function of TensorFlow fail at its first call.

    Args:
        monkeypatch: Pytest's.
        name: Of the function.
        is_done: Whether it is the answer alone that is lost.
    """
    gfile, calls = tf.io.gfile, []
    function = getattr(gfile, name)

    def call(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            if is_done:
                function(*arguments, **options)
            raise tf.errors.UnavailableError(None, None, "busy")
        return function(*arguments, **options)

    monkeypatch.setattr(gfile, name, call)
    monkeypatch.setattr(retries.time, "sleep", lambda seconds: None)
    return calls


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("name", ["rename", "remove"])
def test_what_a_lost_answer_has_done_is_no_error(monkeypatch, name, is_done):
    directory = f"ram://{uuid.uuid4().hex}"
    files.make_directories(directory)
    path = files.join(directory, "file")
    calls = failing_once(monkeypatch, name, is_done=is_done)
    files.write_bytes(path, b"content")
    assert files.list_directory(directory) == ["file"]
    assert files.read_bytes(path) == b"content"
    files.remove(path)
    assert files.list_directory(directory) == []
    assert len(calls) == 2


def test_a_disk_is_asked_once(tmp_path, monkeypatch):
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        raise OSError("busy")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="busy"):
        files.write_bytes(f"{tmp_path}/file", b"content")
    assert len(calls) == 1


def test_a_remote_file_that_came_in_part_is_asked_for_again(monkeypatch):
    path = f"ram://{uuid.uuid4().hex}/file"
    files.write_bytes(path, b"content")
    opened = files.open_file
    reads = []

    class Cut:
        """What reads half of a file, the first time."""

        def __init__(self, path):
            self.file = opened(path)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def read(self):
            reads.append(path)
            content = self.file.read()
            return content[:3] if len(reads) == 1 else content

    monkeypatch.setattr(files, "open_file", Cut)
    monkeypatch.setattr(retries.time, "sleep", lambda seconds: None)
    assert files.read_bytes(path) == b"content"
    assert len(reads) == 2


def test_home_directory_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert files.expand_home("~/birds") == "/home/me/birds"
    assert files.expand_home("gs://bucket/~birds") == "gs://bucket/~birds"
