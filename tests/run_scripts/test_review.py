import concurrent.futures
import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import corrections, held_out, shards
from run_scripts import review as script
from run_scripts import write_requirements
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


def write_doubts(root):
    """Write a run with six labels, which teachers of folds doubt."""
    pictures = small_run.Pictures([f"cat/{n}.png" for n in range(6)], [0] * 6)
    unlabeled = small_run.Pictures(["1.png", "2.png"])
    splits = {"unlabeled": unlabeled, "train": pictures}
    workdir = small_run.write(root, splits)
    files.make_directories(workdir.folds)
    path = held_out.path(workdir.folds, "folds")
    with held_out.open_writer(path, 3) as keep:
        logits = np.tile(np.float32([0, 3, 1]), [6, 1])
        keep(logits, np.array(pictures.labels), pictures.ids())
    shards.write_manifest(workdir.folds, {"num_folds": 2})
    return workdir


@contextlib.contextmanager
def server(workdir):
    """Yield a server's process and address; it is killed in the end."""
    flags = (f"--workdir={workdir.root}", "--port=0", "--who=ann")
    process = subprocess.Popen(
        [sys.executable, "-m", "run_scripts.review", *flags],
        cwd=write_requirements.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if line.startswith("http://"):
                break
        yield process, line.strip()
    finally:
        process.kill()
        process.communicate()


def ask(address, content=None):
    request = urllib.request.Request(
        address,
        None if content is None else json.dumps(content).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def decide(address, image_id):
    """Return whether the server has acknowledged a decision."""
    decision = {"id": image_id, "class_name": "dog"}
    batch = {"queue": "wrong_labels", "decisions": [decision]}
    try:
        return image_id in ask(f"{address}answers", batch)["answers"]
    except (OSError, http.client.HTTPException):
        return False


def test_a_server_killed_between_answers_loses_none(tmp_path):
    workdir = write_doubts(str(tmp_path / "run"))
    with server(workdir) as (process, address):
        queues = {e["name"]: e for e in ask(f"{address}session")["queues"]}
        ids = [e["id"] for e in queues["wrong_labels"]["entries"]]
        assert len(ids) == 6
        assert decide(address, ids[0])
        with concurrent.futures.ThreadPoolExecutor() as executor:
            # Killed while some of these are under way.
            pending = [executor.submit(decide, address, e) for e in ids[1:4]]
            assert pending[0].result()
            process.send_signal(signal.SIGKILL)
            done = [each.result() for each in pending]
        assert process.wait() == -signal.SIGKILL
    acknowledged = {ids[0]} | {
        each for each, is_done in zip(ids[1:4], done, strict=True) if is_done
    }
    # A kill of the machine may leave half a line.
    with open(workdir.corrections, "a") as file:
        file.write('{"image_id": "5f')

    with server(workdir) as (_, address):
        held = ask(f"{address}answers")["answers"]
        assert acknowledged <= set(held) <= set(ids[:4])
        assert all(each["class_name"] == "dog" for each in held.values())
        assert decide(address, ids[5])
    read = corrections.read(workdir.corrections)
    assert {e.image_id.hex() for e in read.corrections} == {*held, ids[5]}
    assert len(read.damaged) == 1
