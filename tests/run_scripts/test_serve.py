"""The server as a process: what only a real one shows."""

import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from tests.serving import small_exports

PICTURES = [small_exports.encode(each) for each in small_exports.IMAGES]
TOKEN = "0123456789abcdef0123"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
_START_SECONDS = 120


class Server:
    """A server that runs, and what it wrote."""

    def __init__(self, directory, tmp_path, *arguments):
        self.directory = directory
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (tmp_path / "token").write_text(TOKEN + "\n")
        self.log = tmp_path / "access.jsonl"
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            *(sys.executable, "-m", "run_scripts.serve"),
            f"--export={directory}",
            f"--port={self.port}",
            f"--token_file={tmp_path}/token",
            "--read_seconds=2",
            "--reload_seconds=0.2",
            *arguments,
        ]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log)
        self.wait()

    def wait(self):
        """Return when it is ready."""
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return
            time.sleep(0.2)
        raise RuntimeError("the server did not start")

    def classify(self, content):
        """Return the answer to a picture."""
        return httpx.post(
            f"{self.url}/classify",
            content=content,
            headers=HEADERS,
            timeout=60,
        )

    def end(self):
        """Send SIGTERM, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def server(small_export, tmp_path):
    directory = str(tmp_path / "export")
    shutil.copytree(small_export.directory, directory)
    running = Server(directory, tmp_path)
    yield running
    running.process.kill()


def head_of(num_bytes):
    """Return the head of a request with a body of so many bytes."""
    lines = (
        "POST /classify HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {TOKEN}",
        f"Content-Length: {num_bytes}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def trickle(server):
    """Return what a client is told that sends byte by byte."""
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(head_of(100))
        with contextlib.suppress(OSError):
            for _ in range(40):
                slow.sendall(b"x")
                time.sleep(0.1)
        return slow.recv(1000).decode()


def hang_up(server):
    """Ask, and do not wait for the answer."""
    with socket.create_connection(("127.0.0.1", server.port)) as gone:
        gone.sendall(head_of(len(PICTURES[0])) + PICTURES[0])


def test_good_and_bad_clients_a_reload_and_the_end(server):
    alone = [server.classify(each).json() for each in PICTURES]
    bodies = [*PICTURES, b"no picture"] * 25
    with concurrent.futures.ThreadPoolExecutor(18) as pool:
        slow = pool.submit(trickle, server)
        for _ in range(5):
            pool.submit(hang_up, server)
        asked = [pool.submit(server.classify, body) for body in bodies]
        # A newer export while it answers.
        newer = f"{server.directory}.newer"
        shutil.copytree(server.directory, newer)
        os.rename(server.directory, f"{server.directory}.old")
        os.rename(newer, server.directory)
        answers = [each.result() for each in asked]
    for index, answer in enumerate(answers):
        place = index % (len(PICTURES) + 1)
        if place < len(PICTURES):
            assert answer.status_code == 200
            assert answer.json()["class"] == alone[place]["class"]
        else:
            assert answer.status_code == 415
    assert "408" in slow.result().splitlines()[0]
    end = time.monotonic() + 30
    while time.monotonic() < end:
        text = httpx.get(f"{server.url}/metrics", headers=HEADERS).text
        if 'reloads_total{is_good="true"} 1.0' in text:
            break
        time.sleep(0.2)
    else:
        pytest.fail("the newer export was not taken")
    # What was taken before the end is answered.
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(server.classify, PICTURES[0]) for _ in range(16)]
        concurrent.futures.wait(
            asked, return_when=concurrent.futures.FIRST_COMPLETED
        )
        # As of any program that SIGTERM ends.
        assert server.end() == -signal.SIGTERM
        codes = set()
        for each in asked:
            with contextlib.suppress(httpx.TransportError):
                codes.add(each.result().status_code)
    assert codes == {200}
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {line["status"] for line in lines} >= {200, 408, 415}


def is_closed(connection):
    """Tell whether the server has closed a connection; wait a little."""
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_connections_that_ask_nothing_are_closed(small_export, tmp_path):
    server = Server(small_export.directory, tmp_path, "--max_connections=8")
    try:
        with contextlib.ExitStack() as stack:
            opened = [
                stack.enter_context(
                    socket.create_connection(("127.0.0.1", server.port))
                )
                for _ in range(40)
            ]
            opened[0].sendall(b"POST /classify HTTP/1.1\r\nHost: a")
            # Twice as many as may ask are let in.
            assert sum(map(is_closed, opened)) >= 24
            end = time.monotonic() + 30
            while not all(map(is_closed, opened)):
                assert time.monotonic() < end
        # Nobody is kept from asking by them, nor by a head without end.
        with socket.create_connection(("127.0.0.1", server.port)) as bomb:
            with contextlib.suppress(ConnectionError):
                bomb.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000)
            with contextlib.suppress(ConnectionError):
                assert b" 400 " in bomb.recv(1000).partition(b"\r\n")[0]
        assert server.classify(PICTURES[0]).status_code == 200
    finally:
        server.process.kill()


def test_a_port_in_use_is_told(server, small_export):
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "run_scripts.serve"),
            f"--export={small_export.directory}",
            f"--port={server.port}",
        ],
        capture_output=True,
        text=True,
        timeout=_START_SECONDS,
        check=False,
    )
    assert finished.returncode == 2
    assert f"--port={server.port}" in finished.stderr
    assert "Traceback" not in finished.stderr
