"""Tables of robustness as text, and beside what was published."""

from collections.abc import Sequence
from typing import Any

from noisy_student_tf import texts
from noisy_student_tf.evaluation import paper_numbers, results, robustness

Row = dict[str, Any]

RECALLED_MARK = "*"
RECALLED_NOTE = (
    "* normalized by AlexNet's flip probabilities as recalled: no public "
    "source of them was found. ResNeXt-101 WSL's raw values give the "
    "published 27.8 with them."
)
_METRIC_NAMES = {
    "accuracy": "top-1 %",
    "top5_accuracy": "top-5 %",
    "mce": "mCE",
    "mfr": "mFR",
}


def of_measure(rows: Sequence[Row], measure: str) -> list[Row]:
    """Return the rows of one measure, in their order."""
    return [row for row in rows if row.get("measure") == measure]


def attack_kinds(rows: Sequence[Row]) -> list[tuple[str, float]]:
    """Return (measure, epsilon in pixels) of all attacks, FGSM first."""
    kinds = {
        (row["measure"], row["epsilon_pixels"])
        for row in rows
        if "epsilon_pixels" in row
    }
    return sorted(kinds)


def attack_title(measure: str, epsilon: float) -> str:
    """Return what one attack is called."""
    if not epsilon:
        return "no attack"
    return f"{measure.upper()} {epsilon:g}"


def format_tables(rows: Sequence[Row]) -> str:
    """Return the tables of corruptions, sequences and attacks as text."""
    tables = [_corruption_table(rows), _sequence_table(rows)]
    tables.append(_attack_table(rows))
    if any(row.get("is_recalled") for row in rows):
        tables.append(RECALLED_NOTE + "\n")
    return "\n".join(table for table in tables if table)


def format_all(rows: Sequence[Row]) -> str:
    """Return every table as text: accuracies, robustness, publications."""
    plain = [row for row in rows if not results.is_robustness(row)]
    tables = [results.format_table(plain) + "\n"] if plain else []
    tables += [format_tables(rows), _published_table(rows)]
    return "\n".join(table for table in tables if table)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def number(value: float | None, mark: str = "") -> str:
    """Return a percentage that may be undefined."""
    return "-" if value is None else f"{value:.1f}{mark}"


def flip_rate(row: Row) -> str:
    """Return mFR; where it is undefined, what is left of it and of how many.

    "93.1 of 8" is the mean over the 8 perturbations under which the model
    that normalizes flips at all.
    """
    if row["mfr"] is not None or row.get("mfr_of_defined") is None:
        mark = RECALLED_MARK if row["is_recalled"] else ""
        return number(row["mfr"], mark)
    num_left = len(row["flip_probabilities"]) - len(row["never_flipped"])
    return f"{number(row['mfr_of_defined'])} of {num_left}"


def _names(row: Row) -> tuple[str, str, str]:
    return row["model"], row["set"], str(row["resolution"])


def _corruption_table(rows: Sequence[Row]) -> str:
    chosen = of_measure(rows, robustness.CORRUPTIONS)
    heading = ("model", "set", "pixels", "images", "top-1 %", "mCE", "by")
    return _align(
        heading,
        [
            (
                *_names(row),
                f"{row['num_images']:,}",
                _percent(row["accuracy"]),
                number(row["mce"]),
                row["normalized_by"],
            )
            for row in chosen
        ],
    )


def _sequence_table(rows: Sequence[Row]) -> str:
    chosen = of_measure(rows, robustness.PERTURBATIONS)
    heading = (
        "model",
        "set",
        "pixels",
        "frames",
        "top-1 %",
        "mean flip %",
        "relative",
        "mFR",
        "mT5D",
        "by",
    )
    return _align(
        heading,
        [
            (
                *_names(row),
                f"{row['num_images']:,}",
                _percent(row["accuracy"]),
                _percent(mean_flip(row)),
                number(row["relative_flips"]),
                flip_rate(row),
                number(row["mt5d"]),
                row["normalized_by"],
            )
            for row in chosen
        ],
    )


def mean_flip(row: Row) -> float:
    """Return the plain mean of the flip probabilities."""
    values = row["flip_probabilities"].values()
    return sum(values) / len(values)


def _attack_table(rows: Sequence[Row]) -> str:
    kinds = attack_kinds(rows)
    models = dict.fromkeys(
        (row["model"], row["set"], row["resolution"])
        for row in rows
        if "epsilon_pixels" in row
    )
    heading = (
        "model",
        "set",
        "pixels",
        *(f"{attack_title(*kind)} %" for kind in kinds),
    )
    found = attack_accuracies(rows)
    return _align(
        heading,
        [
            (
                model,
                set_name,
                str(resolution),
                *(
                    _percent(found.get((model, set_name, resolution, *kind)))
                    for kind in kinds
                ),
            )
            for model, set_name, resolution in models
        ],
    )


def attack_accuracies(
    rows: Sequence[Row],
) -> dict[tuple[str, str, int, str, float], float]:
    """Return (model, set, resolution, measure, epsilon) -> accuracy."""
    return {
        (
            row["model"],
            row["set"],
            row["resolution"],
            row["measure"],
            row["epsilon_pixels"],
        ): row["accuracy"]
        for row in rows
        if "epsilon_pixels" in row
    }


def compare(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return measured numbers beside published ones of the architecture.

    Returns:
        Lines of: model, set, metric, measured at (pixels), measured,
        published, of what, at (pixels), source.
    """
    lines: list[tuple[str, ...]] = []
    for row in rows:
        if "epsilon_pixels" in row:
            continue
        for number_ in paper_numbers.find(
            row.get("architecture", ""), row["set"]
        ):
            value = row.get(number_.metric)
            if value is None:
                continue
            is_share = number_.metric.endswith("accuracy")
            lines.append(
                (
                    row["model"],
                    row["set"],
                    _METRIC_NAMES[number_.metric],
                    str(row["resolution"]),
                    f"{100 * value if is_share else value:.1f}"
                    + (
                        RECALLED_MARK
                        if row.get("is_recalled") and number_.metric == "mfr"
                        else ""
                    ),
                    f"{number_.percent:.1f}",
                    number_.method,
                    str(number_.resolution or "-"),
                    number_.source,
                )
            )
    return lines


COMPARISON_HEADING = (
    "model",
    "set",
    "metric",
    "pixels",
    "measured",
    "published",
    "of",
    "at pixels",
    "source",
)


def _published_table(rows: Sequence[Row]) -> str:
    return _align(COMPARISON_HEADING, compare(rows))


def _align(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    if not lines:
        return ""
    table = texts.align(
        [heading, *lines], num_names=results.NUM_NAMES, is_ruled=True
    )
    return table + "\n"
