"""SIGTERM, the signal by which a machine that is taken away says so."""

import contextlib
import signal
import threading
from collections.abc import Iterator

# What a shell reports of a process that SIGTERM ended: 128 + 15. A run that
# exits with it has saved its state; the same command goes on from there.
EXIT_CODE = 143


@contextlib.contextmanager
def watch() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM sets, in place of ending the process.

    Outside the main thread, where Python takes no signals, it is never set.
    """
    is_preempted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield is_preempted
        return
    previous = signal.signal(
        signal.SIGTERM, lambda number, frame: is_preempted.set()
    )
    try:
        yield is_preempted
    finally:
        signal.signal(signal.SIGTERM, previous)
