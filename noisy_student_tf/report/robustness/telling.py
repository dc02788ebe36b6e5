"""What a page says of how much its measures of robustness can tell."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from noisy_student_tf.evaluation import metrics
from noisy_student_tf.evaluation.significance import told_apart

# A row of results with its model's `title`; see `robustness_section.style`.
Row = dict[str, Any]

# To either side: what an interval should not exceed.
WANTED_POINTS = 3.0
# Of images that are asked for.
_ROUNDED_TO = 50


def describe(rows: Sequence[Row], what: str, flag: str) -> list[str]:
    """Return which models a table does not tell apart, and what would.

    Args:
        rows: Of one measure, as `told_apart.annotate` returned them.
        what: Images or sequences.
        flag: That has more of them measured.

    Returns:
        Sentences; none where nothing is known of single images.
    """
    found = told_apart.reach(rows)
    if not found:
        return []
    count = f"{found.num_images:,} {what}"
    needed = found.needed(WANTED_POINTS)
    if needed is None or found.points is None:
        return [
            f"{count} are too few to tell any of these models apart: fewer "
            f"than {metrics.MIN_IMAGES} have no interval. {flag} takes more."
        ]
    pairs = _pairs(rows)
    sentences = [
        f"These {count} do not tell apart: {pairs}."
        if pairs
        else f"These {count} tell all models apart."
    ]
    if found.points > WANTED_POINTS:
        sentences.append(
            f"The widest interval reaches {found.points:.0f} points to either "
            f"side. About {_rounded(needed):,} {what} would give "
            f"{WANTED_POINTS:g} ({flag}, as far as there are so many)."
        )
    return sentences


def describe_attacks(of_kinds: Mapping[str, Sequence[Row]]) -> list[str]:
    """Return which models no attack tells apart, and how sure a number is.

    Args:
        of_kinds: Title of an attack -> rows of all models.

    Returns:
        Sentences; none where nothing is known of single images.
    """
    reaches = [*filter(None, map(told_apart.reach, of_kinds.values()))]
    if not reaches:
        return []
    num_images = reaches[0].num_images
    if num_images < metrics.MIN_IMAGES:
        return [f"{num_images:,} images are too few to tell models apart."]
    not_told = [
        f"{title}: {pairs}"
        for title, rows in of_kinds.items()
        if (pairs := _pairs(rows))
    ]
    widest = max(found.points or 0.0 for found in reaches)
    return [
        f"An accuracy here is certain to {widest:.0f} points. Not told apart, "
        f"image by image: {'. '.join(not_told)}."
        if not_told
        else f"An accuracy here is certain to {widest:.0f} points; image by "
        "image all models are told apart under every attack."
    ]


def _pairs(rows: Sequence[Row]) -> str:
    """Return the pairs that are not told apart: "A and B; A and C"."""
    titles = {(row["model"], row["resolution"]): row["title"] for row in rows}
    undecided = {
        (row["model"], row["resolution"]): [
            tuple(name) for name in row.get("not_told_from", [])
        ]
        for row in rows
    }
    return "; ".join(
        f"{titles[first]} and {titles[second]}"
        for first, second in itertools.combinations(titles, 2)
        if second in undecided[first]
    )


def _rounded(count: int) -> int:
    return -(-count // _ROUNDED_TO) * _ROUNDED_TO
