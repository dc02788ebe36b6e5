"""Local files that only ever grow, by lines that the disk has on return."""

import os


def append_line(path: str, line: str) -> None:
    """Append a line, or several, to a local file, and wait for the disk.

    What returned survives a kill and a loss of power. A half line, left by a
    writer that was killed, is closed first, and so harms no other.

    Raises:
        OSError: The disk is full, or the file cannot be written.
    """
    is_new = not os.path.exists(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        is_half = size and os.pread(descriptor, 1, size - 1) != b"\n"
        content = ("\n" if is_half else "") + line + "\n"
        left = content.encode("utf-8")
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if is_new:
        _wait_for_name(os.path.dirname(path) or ".")


def _wait_for_name(directory: str) -> None:
    """Wait until the disk has a directory's new names."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
