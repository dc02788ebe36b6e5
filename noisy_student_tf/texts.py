"""Tables and quantities as people read them."""

from collections.abc import Sequence

_UNITS = (("days", 86_400), ("hours", 3_600), ("minutes", 60))


def align(
    rows: Sequence[Sequence[str]], *, num_names: int = 1, is_ruled: bool = False
) -> str:
    """Return lines of cells as a text table with aligned columns.

    Args:
        rows: As many cells each, a heading first.
        num_names: So many first columns are aligned left, the others right.
        is_ruled: Whether a line is drawn below the heading.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place < num_names else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if is_ruled:
        lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)


def duration(seconds: float, digits: int = 1) -> str:
    """Return a time in the largest unit of which it has two."""
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:,.{digits}f} {unit}"
    text = f"{seconds:,.0f}"
    return f"{text} second" if text == "1" else f"{text} seconds"


def gigabytes(num_bytes: float, digits: int = 1) -> str:
    """Return a size in GB, from 1,000 of them in TB."""
    if num_bytes >= 1e12:
        return f"{num_bytes / 1e12:,.{digits}f} TB"
    return f"{num_bytes / 1e9:,.{digits}f} GB"
