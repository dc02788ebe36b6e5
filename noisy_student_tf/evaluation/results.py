"""The table of results: rows in `results.json`, and as text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from noisy_student_tf import files, texts
from noisy_student_tf.evaluation import metrics

Row = dict[str, Any]

_KEY = ("model", "set", "split", "resolution", "weights")
# What distinguishes rows of robustness and comparisons: only they have a
# measure.
_MEASURE_KEY = ("measure", "epsilon_pixels", "difficulty", "baseline")
COMPARISON = "comparison"
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
        *(row.get(name) for name in _MEASURE_KEY),
    )


def is_robustness(row: Row) -> bool:
    """Tell whether a row is of corruptions, sequences or an attack."""
    return not is_accuracy(row) and not is_comparison(row)


def is_accuracy(row: Row) -> bool:
    """Tell whether a row is of a model's answers to plain images."""
    return "measure" not in row


def is_comparison(row: Row) -> bool:
    """Tell whether a row compares two models on the same images."""
    return row.get("measure") == COMPARISON


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
            if row["split"] == split and is_accuracy(row):
                first.setdefault(row["model"], row)
        if first:
            return list(first.values())
    return []


def format_table(rows: Sequence[Row]) -> str:
    """Return the rows as an aligned text table: those of plain images.

    What no row knows has no column: the top 5 of five classes or fewer.
    """
    plain = list(filter(is_accuracy, rows))
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
    "pixels": lambda row: str(row["resolution"] or _UNKNOWN),
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


def is_shown(row: Row) -> bool:
    """Tell whether a comparison shows any difference of the accuracies.

    The interval must not contain zero, and McNemar's test must agree: where
    few images tell the models apart the bootstrap is too sure.
    """
    low, high = row["interval_95"]
    return (low > 0 or high < 0) and row["p_value"] < metrics.SIGNIFICANCE


def format_comparisons(rows: Sequence[Row]) -> str:
    """Return a line for each comparison on the images of the headline."""
    splits = {row["split"] for row in headline_rows(rows)}
    return "".join(
        describe_comparison(row)
        for row in rows
        if is_comparison(row) and row["split"] in splits
    )


def describe_comparison(row: Row) -> str:
    """Return a comparison as a line of text."""
    low, high = (100 * value for value in row["interval_95"])
    return (
        f"{row['model']} against {row['baseline']}, {row['num_images']:,} "
        f"{row['split']} images: "
        + ("" if is_shown(row) else "no difference shown: ")
        + f"{100 * row['difference']:+.1f} points (95 % interval {low:+.1f} "
        f"to {high:+.1f}; McNemar's p {format_p(row['p_value'])})\n"
    )


def format_p(p_value: float) -> str:
    """Return a probability with its relation: `= 0.12`, `< 0.001`."""
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.2g}"
