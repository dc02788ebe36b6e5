"""Tables of robustness as text, and beside what was published."""

from collections.abc import Callable, Mapping, Sequence

from noisy_student_tf import texts
from noisy_student_tf.evaluation import paper_numbers, results, robustness

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


def of_measure(rows: Sequence[results.Row], measure: str) -> list[results.Row]:
    """Return the rows of one measure, in their order."""
    return [row for row in rows if row.get("measure") == measure]


def attack_kinds(rows: Sequence[results.Row]) -> list[tuple[str, float]]:
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


def format_tables(rows: Sequence[results.Row]) -> str:
    """Return the tables of corruptions, sequences and attacks as text."""
    tables = [
        _table(of_measure(rows, robustness.CORRUPTIONS), _CORRUPTIONS),
        _table(of_measure(rows, robustness.PERTURBATIONS), _SEQUENCES),
        _attack_table(rows),
    ]
    if any(row.get("is_recalled") for row in rows):
        tables.append(RECALLED_NOTE + "\n")
    return "\n".join(table for table in tables if table)


def format_all(rows: Sequence[results.Row]) -> str:
    """Return every table as text: accuracies, robustness, publications."""
    plain = [row for row in rows if results.is_accuracy(row)]
    tables = [results.format_table(plain) + "\n"] if plain else []
    tables += [format_tables(rows), _align(compare(rows))]
    return "\n".join(table for table in tables if table)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def number(value: float | None, mark: str = "") -> str:
    """Return a percentage that may be undefined."""
    return "-" if value is None else f"{value:.1f}{mark}"


def flip_rate(row: results.Row) -> str:
    """Return mFR, marked where what normalizes it is recalled."""
    return number(row["mfr"], RECALLED_MARK if row["is_recalled"] else "")


def bounds(interval: Sequence[float] | None) -> str:
    """Return an interval of percentages, if it is known."""
    return f"{interval[0]:.1f} to {interval[1]:.1f}" if interval else "-"


def mean_flip(row: results.Row) -> float:
    """Return the plain mean of the flip probabilities."""
    values = row["flip_probabilities"].values()
    return sum(values) / len(values)


Columns = Mapping[str, Callable[[results.Row], str]]

_NAMES: Columns = {
    "model": lambda row: row["model"],
    "set": lambda row: row["set"],
    "pixels": lambda row: str(row["resolution"]),
}
_CORRUPTIONS: Columns = {
    "images": lambda row: f"{row['num_images']:,}",
    "top-1 %": lambda row: _percent(row["accuracy"]),
    "mCE": lambda row: number(row["mce"]),
    "95 % interval": lambda row: bounds(row.get("mce_interval_95")),
    "by": lambda row: row["normalized_by"],
}
_SEQUENCES: Columns = {
    "frames": lambda row: f"{row['num_images']:,}",
    "top-1 %": lambda row: _percent(row["accuracy"]),
    "mean flip %": lambda row: _percent(mean_flip(row)),
    "relative": lambda row: number(row["relative_flips"]),
    "95 % interval": lambda row: bounds(row.get("relative_flips_interval_95")),
    "mFR": flip_rate,
    "mT5D": lambda row: number(row["mt5d"]),
    "by": lambda row: row["normalized_by"],
}


def _table(rows: Sequence[results.Row], columns: Columns) -> str:
    """Return a line a row; what no row knows, mFR or intervals, is left out."""
    columns = {**_NAMES, **columns}
    lines = [
        {name: cell(row) for name, cell in columns.items()} for row in rows
    ]
    known = [
        name for name in columns if any(line[name] != "-" for line in lines)
    ]
    return _align([{name: line[name] for name in known} for line in lines])


def _attack_table(rows: Sequence[results.Row]) -> str:
    """Return a line a model, and a column an attack."""
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    attacks = [row for row in rows if "epsilon_pixels" in row]
    titles = [f"{attack_title(*kind)} %" for kind in attack_kinds(attacks)]
    for row in attacks:
        names = {name: cell(row) for name, cell in _NAMES.items()}
        line = lines.setdefault(
            tuple(names.values()), names | dict.fromkeys(titles, "-")
        )
        title = attack_title(row["measure"], row["epsilon_pixels"])
        line[f"{title} %"] = _percent(row["accuracy"])
    return _align(list(lines.values()))


def compare(rows: Sequence[results.Row]) -> list[dict[str, str]]:
    """Return measured numbers beside published ones of the architecture.

    Returns:
        Lines of a table, with the name of each column.
    """
    return [
        _beside(row, published, row[published.metric])
        for row in rows
        if "epsilon_pixels" not in row
        for published in paper_numbers.find(
            row.get("architecture", ""), row["set"]
        )
        if row.get(published.metric) is not None
    ]


def _beside(
    row: results.Row, published: paper_numbers.Number, measured: float
) -> dict[str, str]:
    is_share = published.metric.endswith("accuracy")
    is_recalled = row.get("is_recalled") and published.metric == "mfr"
    return {
        "model": row["model"],
        "set": row["set"],
        "metric": _METRIC_NAMES[published.metric],
        "pixels": str(row["resolution"]),
        "measured": number(
            100 * measured if is_share else measured,
            RECALLED_MARK if is_recalled else "",
        ),
        "published": f"{published.percent:.1f}",
        "of": published.method,
        "at pixels": str(published.resolution or "-"),
        "source": published.source,
    }


def _align(lines: Sequence[Mapping[str, str]]) -> str:
    if not lines:
        return ""
    cells = [list(lines[0]), *(list(line.values()) for line in lines)]
    table = texts.align(cells, num_names=results.NUM_NAMES, is_ruled=True)
    return table + "\n"
