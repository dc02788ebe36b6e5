"""The table of results: rows in `results.json`, and as text."""

from collections.abc import Sequence
from typing import Any

from noisy_student_tf import files, texts

Row = dict[str, Any]

_KEY = ("model", "set", "split", "resolution", "weights")
# What distinguishes rows of robustness: only they have a measure.
_ROBUSTNESS_KEY = ("measure", "epsilon_pixels", "difficulty")
_HEADER = (
    "model",
    "set",
    "split",
    "pixels",
    "weights",
    "images",
    "top-1 %",
    "95 % interval",
    "top-5 %",
    "loss",
    "calibration error",
)
# Columns of names, before those of numbers.
NUM_NAMES = 3


def read(path: str) -> list[Row]:
    """Return the rows of a results file; a missing file has none."""
    if not files.exists(path):
        return []
    return files.read_json(path)


def add(path: str, row: Row) -> None:
    """Write a row in place of the one it repeats, or behind the others.

    A row repeats another with the same model, set, split, resolution and
    weights, and, of robustness, with the same measure and strength.
    """
    rows = read(path)
    keys = [_key(existing) for existing in rows]
    if _key(row) in keys:
        rows[keys.index(_key(row))] = row
    else:
        rows.append(row)
    files.write_json(path, rows)


def _key(row: Row) -> tuple[Any, ...]:
    return (
        *(row[name] for name in _KEY),
        *(row.get(name) for name in _ROBUSTNESS_KEY),
    )


def is_robustness(row: Row) -> bool:
    """Tell whether a row is of corruptions, sequences or an attack."""
    return "measure" in row


def headline_rows(rows: Sequence[Row]) -> list[Row]:
    """Return one row a model: held-out images, at its own resolution.

    A model's own resolution comes first among its rows of a split. Without
    test images the validation images stand for them.
    """
    for split in ("test", "validation"):
        first: dict[str, Row] = {}
        for row in rows:
            if row["split"] == split and not is_robustness(row):
                first.setdefault(row["model"], row)
        if first:
            return list(first.values())
    return []


def format_table(rows: Sequence[Row]) -> str:
    """Return the rows as an aligned text table, without robustness."""
    plain = [row for row in rows if not is_robustness(row)]
    cells = [_HEADER, *map(_cells, plain)]
    return texts.align(cells, num_names=NUM_NAMES, is_ruled=True)


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row["interval_95"]

    def number(name: str, digits: int, scale: float = 1.0) -> str:
        # Of images with several right classes some are undefined.
        value = row[name]
        return "-" if value is None else f"{scale * value:.{digits}f}"

    return (
        row["model"],
        row["set"],
        row["split"],
        str(row["resolution"]),
        row["weights"],
        f"{row['num_images']:,}",
        f"{100 * row['accuracy']:.2f}",
        f"{100 * low:.2f} to {100 * high:.2f}",
        number("top5_accuracy", 2, 100),
        number("loss", 4),
        number("calibration_error", 4),
    )
