import io
import re
import subprocess
import sys
import time

import pytest

from noisy_student_tf import terminal


class Stream(io.StringIO):
    """What is written, by a program or on a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Tell which of the two."""
        return self._is_terminal


def test_a_terminal_shows_one_line_and_clears_it(monkeypatch):
    monkeypatch.setattr(terminal, "_TERMINAL_SECONDS", 0.01)
    stream = Stream(is_terminal=True)
    with terminal.ticking(lambda seconds: "compiling", stream):
        while "compiling" not in stream.getvalue():
            time.sleep(0.01)
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r\033[K")


def test_elsewhere_lines_come(monkeypatch):
    monkeypatch.setattr(terminal, "_FIRST_LINE_SECONDS", 0.01)
    stream = Stream(is_terminal=False)
    with terminal.ticking(lambda seconds: "compiling", stream):
        while "compiling\n" not in stream.getvalue():
            time.sleep(0.01)
    assert "\r" not in stream.getvalue()


def test_short_work_shows_nothing():
    stream = Stream(is_terminal=False)
    with terminal.ticking(lambda seconds: "compiling", stream):
        pass
    assert not stream.getvalue()


@pytest.mark.parametrize(
    "line",
    [
        b"I0000 00:00:1795953650.803 25376 port.cc:153] oneDNN custom",
        b"W0000 00:00:1795953650.803 25376 cudart_stub.cc:31] no cuda",
        b"WARNING: All log messages before absl::InitializeLog() is called",
        b"2026-11-29 12:41:32.1: I tensorflow/core/platform/cpu.cc:227]",
        b"E0000 00:00:1 1 cuda_platform.cc:51] failed call to cuInit: x",
        b"To enable the following instructions: AVX2 FMA, rebuild",
        b"Improper call to JPEG library in state 201",
        b"Corrupt JPEG data: premature end of data segment",
        b"libpng error: IDAT: CRC error",
    ],
)
def test_remarks_are_told(line):
    assert terminal.is_remark(line)


@pytest.mark.parametrize(
    "line",
    [
        b"E0000 00:00:1795953650.8 1 checkpoint.cc:1] no space left on device",
        b"F0000 00:00:1795953650.8 1 tensor.cc:1] Check failed",
        b"free(): invalid next size (normal)",
        b"error: --preset is missing",
        b"",
    ],
)
def test_what_is_wrong_stays(line):
    assert not terminal.is_remark(line)


_PROGRAM = """
import os, sys
from noisy_student_tf import terminal
terminal.begin_program(["-m"])
os.write(2, b"I0000 00:00:1 a remark\\n")
os.write(2, b"E0000 00:00:1 no space left\\n")
print("python's own", file=sys.stderr)
from absl import app, logging
def main(_):
    logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
    logging.warning("our own warning")
    logging.info("it goes on")
    os.write(2, b"dying")
    os.abort()
app.run(terminal.guarded(main))
"""


def test_a_program_s_last_words_are_kept():
    finished = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, check=False
    )
    assert finished.returncode < 0
    said = finished.stderr
    assert b"no space left" in said and b"python's own" in said
    assert re.search(rb"^\d\d:\d\d:\d\d warning: our own warning$", said, re.M)
    assert re.search(rb"^\d\d:\d\d:\d\d it goes on$", said, re.M)
    assert said.rstrip().endswith(b"dying")
    assert b"a remark" not in said


@pytest.mark.parametrize("option", ["--verbosity=1", "-v=1"])
def test_verbose_programs_show_everything(option):
    finished = subprocess.run(
        [sys.executable, "-c", _PROGRAM, option],
        capture_output=True,
        check=False,
    )
    assert b"a remark" in finished.stderr
    assert re.search(rb"^W\d{4} .*\] our own warning$", finished.stderr, re.M)


def raising(error: Exception):
    def main(_):
        raise error

    return terminal.guarded(main)


@pytest.mark.parametrize(
    "error", [ValueError("no such"), FileNotFoundError("no such")]
)
def test_what_can_be_mended_is_one_line(error, capsys):
    with pytest.raises(SystemExit) as caught:
        raising(error)([])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: no such\n"


def test_an_error_of_ours_keeps_its_traceback():
    with pytest.raises(KeyError):
        raising(KeyError("ours"))([])


def test_arguments_are_handed_on():
    found = []
    terminal.guarded(found.append)(["script", "a"])
    assert found == [["script", "a"]]
