"""The table of results: rows in `results.json`, and as text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from noisy_student_tf import files, texts

Row = dict[str, Any]

_KEY = ("model", "set", "split", "resolution", "weights")
# What distinguishes rows of robustness: only they have a measure.
_ROBUSTNESS_KEY = ("measure", "epsilon_pixels", "difficulty")
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


def have_top5(rows: Sequence[Row]) -> bool:
    """Tell whether any row is of enough classes to have a top 5."""
    return any(row["top5_accuracy"] is not None for row in rows)


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
    """Return the rows as an aligned text table, without robustness.

    What no row knows has no column: the top 5 of five classes or fewer.
    """
    plain = [row for row in rows if not is_robustness(row)]
    columns = {
        title: [cell(row) for row in plain] for title, cell in _COLUMNS.items()
    }
    shown = {
        title: cells
        for title, cells in columns.items()
        if not plain or set(cells) != {_UNKNOWN}
    }
    lines = [[*shown], *map(list, zip(*shown.values(), strict=True))]
    return texts.align(lines, num_names=NUM_NAMES, is_ruled=True)


def _number(name: str, digits: int, scale: float = 1.0) -> Callable[[Row], str]:
    """Return what shows a value that some rows do not have."""

    def show(row: Row) -> str:
        value = row.get(name)
        return _UNKNOWN if value is None else f"{scale * value:.{digits}f}"

    return show


def _interval(row: Row) -> str:
    low, high = row["interval_95"]
    return f"{100 * low:.2f} to {100 * high:.2f}"


_UNKNOWN = "-"
_COLUMNS: Mapping[str, Callable[[Row], str]] = {
    "model": lambda row: row["model"],
    "set": lambda row: row["set"],
    "split": lambda row: row["split"],
    "pixels": lambda row: str(row["resolution"]),
    "weights": lambda row: row["weights"],
    "images": lambda row: f"{row['num_images']:,}",
    "top-1 %": _number("accuracy", 2, 100),
    "95 % interval": _interval,
    "most frequent class %": _number("majority_rate", 2, 100),
    "macro-F1": _number("macro_f1", 3),
    "AUROC": _number("auroc", 3),
    "top-5 %": _number("top5_accuracy", 2, 100),
    "loss": _number("loss", 4),
    "calibration error": _number("calibration_error", 4),
}
