"""What a terminal shows: progress, errors that a user can mend, no remarks."""

import contextlib
import logging as std_logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from noisy_student_tf import files

_TERMINAL_SECONDS = 0.5
_FIRST_LINE_SECONDS = 2.0
_LAST_LINE_SECONDS = 60.0

# Lines of TensorFlow's C++ libraries that nobody has to act on: remarks and
# warnings, what is said before their log is set up, that a CPU is no GPU, and
# what decoders say of a damaged picture without its name, which we do say.
_REMARK = re.compile(
    rb"[IW]\d{4} \d\d:\d\d:|[IW]0000 |WARNING: All log messages before absl::"
    rb"|\d{4}-\d\d-\d\d [\d:.]+: [IW] "
    rb"|E.*(cuInit|Unable to register cu|Could not find cuda|oneDNN supports )"
    rb"|To enable the following instructions:"
    rb"|Improper call to JPEG library|Corrupt JPEG data|Premature end of JPEG"
    rb"|Not a JPEG file|Invalid JPEG file|Unsupported JPEG|Bogus |libpng "
)
# Anything else is ours, and shows its traceback.
_MENDABLE: tuple[type[Exception], ...] = (
    ValueError,
    FloatingPointError,
    ImportError,
)
_USAGE_ERROR_CODE = 2
_MODULE_OPTION = "-m"
_READ_BYTES = 1 << 16

_is_filtered = False


@contextlib.contextmanager
def ticking(
    line: Callable[[float], str], stream: TextIO | None = None
) -> Iterator[None]:
    """Show how something stands while the block runs.

    A terminal shows a line that is written over. Elsewhere, in a file or
    another program, lines come at growing intervals.

    Args:
        line: Seconds since the beginning -> what is shown.
        stream: Where to; standard error by default.
    """
    shown_on = stream or sys.stderr
    started = time.monotonic()
    is_over = threading.Event()

    def show() -> None:
        is_terminal = shown_on.isatty()
        wait = _TERMINAL_SECONDS if is_terminal else _FIRST_LINE_SECONDS
        while not is_over.wait(wait):
            text = line(time.monotonic() - started)
            # Back at its beginning, what a log says is written over it.
            shown_on.write(f"\r{text}\033[K\r" if is_terminal else f"{text}\n")
            shown_on.flush()
            if not is_terminal:
                wait = min(2 * wait, _LAST_LINE_SECONDS)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        if shown_on.isatty():
            shown_on.write("\r\033[K")
            shown_on.flush()


def working(title: str) -> contextlib.AbstractContextManager[None]:
    """Show what is being done, and for how long, while the block runs."""
    return ticking(lambda seconds: f"{title}: {seconds:.0f} s")


def begin_program(arguments: Sequence[str]) -> None:
    """Keep remarks of TensorFlow's C++ libraries from a program's terminal.

    Does nothing unless a program is being started by its module's name or as
    `noisy-student`, since its standard error is replaced. `--verbosity=1` and
    more shows everything.

    Args:
        arguments: `sys.argv`, as it is while the program is imported.
    """
    global _is_filtered
    name = os.path.basename(arguments[0]) if arguments else ""
    is_program = name in (_MODULE_OPTION, "noisy-student")
    is_child = multiprocessing.parent_process() is not None
    is_able = hasattr(os, "fork") and sys.stderr is not None
    if not is_program or not is_able:
        return
    if not (is_child or _is_filtered or _is_verbose()):
        _is_filtered = True
        # Of broken metadata; what it does to a picture is told otherwise.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        _filter_native_errors()


def _is_verbose() -> bool:
    # While a module is looked for, the interpreter's own list has them all.
    text = " ".join(sys.orig_argv)
    return bool(re.search(r"--?(verbosity|v)[= ][1-9]", text))


def _filter_native_errors() -> None:
    """Let what is written to descriptor 2 pass through a process of its own.

    Python's own errors, and progress, go where they went. A process, not a
    thread: it also passes on what a crash leaves behind, and cannot be kept
    from reading by the lock that a thread would need.
    """
    terminal = os.dup(2)
    sys.stderr = os.fdopen(os.dup(terminal), "w", 1, errors="backslashreplace")
    read_end, write_end = os.pipe()
    # Nobody waits for it: the grandchild belongs to the system.
    child = os.fork()
    if not child:
        if os.fork():
            os._exit(0)
        os.close(write_end)
        _pass_on(read_end, terminal)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(read_end)
    os.dup2(write_end, 2)
    os.close(write_end)
    os.close(terminal)


def _pass_on(source: int, target: int) -> None:
    """Copy lines that are no remarks until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.close(2)
    os.close(1)
    waiting = b""
    while chunk := os.read(source, _READ_BYTES):
        *lines, waiting = (waiting + chunk).split(b"\n")
        kept = [line for line in lines if not is_remark(line)]
        if kept:
            os.write(target, b"\n".join([*kept, b""]))
    if waiting and not is_remark(waiting):
        os.write(target, waiting)


def is_remark(line: bytes) -> bool:
    """Tell whether a line of TensorFlow's C++ log needs no reader."""
    return bool(_REMARK.match(line))


class _Lines(std_logging.Formatter):
    """Lines for people: the time, how bad it is, and what is said.

    `--verbosity=1` shows processes, files and lines of code.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: std_logging.LogRecord) -> str:
        if record.levelno > std_logging.INFO:
            word = record.levelname.lower()
            record.message = f"{word}: {record.message}"
        return super().formatMessage(record)


def guarded(main: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """Return a script's `main` that prints such errors and exits with 2.

    `--verbosity=1` shows their traceback too.
    """

    # Not before `begin_program`: its handler keeps the stream that it finds.
    from absl import logging

    def run(arguments: list[str]) -> None:
        if not logging.level_debug():
            logging.get_absl_handler().setFormatter(_Lines())
        try:
            main(arguments)
        except _MENDABLE + files.errors() as error:
            if logging.level_debug():
                traceback.print_exc()
            print(f"error: {error}", file=sys.stderr)
            sys.exit(_USAGE_ERROR_CODE)

    return run
