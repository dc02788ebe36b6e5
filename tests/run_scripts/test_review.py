import socket

import pytest

from noisy_student_tf import workdirs
from run_scripts import review as script
from tests.review import small_run
from tests.run_scripts import scripts


@pytest.fixture
def workdir(tmp_path):
    splits = {
        "unlabeled": small_run.Pictures(["1.png", "2.png"]),
        "train": small_run.Pictures(["cat/7.png"], [0]),
    }
    return small_run.write(str(tmp_path / "run"), splits)


def session(workdir, *arguments):
    given = (f"--workdir={workdir.root}", *arguments)
    with scripts.parsed_flags(script.define_flags, *given):
        return script.make_session(workdir, 8502)


def test_the_address_and_what_is_missing_are_told(workdir):
    made = session(workdir, "--who=ann")
    lines = script.describe(made).splitlines()
    assert lines[0].startswith("Label these next There is no network yet")
    assert f"Decisions of ann go to {workdir.corrections}" in lines
    assert lines[-1] == f"http://127.0.0.1:8502/{made.token}/"
    assert len(made.token) >= 16
    assert made.token != session(workdir).token


def test_half_written_lines_are_told(workdir, tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text("")
    made = session(workdir, f"--corrections={path}")
    made.answers.add([(small_run.image_id("1.png"), "cat")], [{}])
    path.write_text(path.read_text() + '{"image')
    made = session(workdir, f"--corrections={path}")
    assert "kill or a full disk: [2]" in script.describe(made)


def test_one_file_takes_new_decisions(workdir):
    with pytest.raises(ValueError, match="name it alone"):
        session(workdir, "--corrections=a.jsonl,b.jsonl")


def test_there_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError):
        session(workdirs.Workdir(str(tmp_path)))


def test_a_port_in_use_is_named():
    with script.listen(0) as listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(OSError, match=f"--port={port}.*--port=0"):
            script.listen(port)
        with socket.create_connection((host, port)):
            pass
