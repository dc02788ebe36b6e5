"""How far work on shards is: counted in all processes, shown by one."""

import contextlib
import threading
from typing import Any

from noisy_student_tf import terminal, texts


class _Counter:
    """Images that are done, in one process."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def get_lock(self) -> threading.Lock:
        """Return what has to be held while the number changes."""
        return self._lock


# What `advance` adds to; workers set it to what their parent reads.
_counter: Any = _Counter()


def advance(count: int) -> None:
    """Count images as done."""
    counter = _counter
    with counter.get_lock():
        counter.value += count


def count_in(counter: Any) -> None:
    """Count in a number that processes share, or, given None, here."""
    global _counter
    _counter = _Counter() if counter is None else counter


def shown(
    title: str, total: int | None
) -> contextlib.AbstractContextManager[None]:
    """Show what is counted while the block runs.

    Args:
        title: What is counted.
        total: How many there will be; None or 0 if that is not known.
    """
    counter, first = _counter, _counter.value
    return terminal.ticking(
        lambda seconds: describe(title, counter.value - first, total, seconds)
    )


def describe(
    title: str, num_done: int, total: int | None, elapsed_seconds: float
) -> str:
    """Return how far something is, how fast, and how long it will take."""
    if not num_done:
        return f"{title}: {elapsed_seconds:.0f} s"
    rate = num_done / max(elapsed_seconds, 1e-9)
    if not total:
        return f"{title}: {num_done:,}, {rate:,.0f}/s"
    left = texts.duration((total - num_done) / rate, 0)
    return f"{title}: {num_done:,} of {total:,}, {rate:,.0f}/s, {left} left"
