"""What a page says of robustness: tables, plots, and corrupted pictures."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from noisy_student_tf import files
from noisy_student_tf.evaluation import robustness
from noisy_student_tf.records import robustness_sets, schema, shards
from noisy_student_tf.report import run_sections, thumbnails
from noisy_student_tf.report.robustness import (
    robustness_plots,
    robustness_tables,
    telling,
)

Row = dict[str, Any]

# Colors of models that are no teacher, student or fine-tuned one.
_COLORS = ("student", "teacher", "fixres", "right", "wrong", "ink")
_SHOWN_SEVERITIES = (1, 3, 5)
_SHOWN_IMAGES = 2


def contents(
    rows: Sequence[Row], *, sets_directory: str = ""
) -> dict[str, Any] | None:
    """Return what the template shows of one set; None without any row.

    Args:
        rows: Of robustness, of several models on the same images.
        sets_directory: Our sets, whose pictures are shown; empty: none.
    """
    if not rows:
        return None
    rows = style(rows)
    return {
        "corruptions": _corruptions(rows),
        "sequences": _sequences(rows),
        "attacks": _attacks(rows),
        "gallery": _gallery(sets_directory) if sets_directory else [],
    }


def _key(row: Row) -> tuple[str, int]:
    return row["model"], row["resolution"]


def style(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with how each model, at a resolution, is shown.

    Added are its `title`, the name of its `color`, and the `opacity`.
    """
    keys = list(dict.fromkeys(map(_key, rows)))
    names = [model for model, _ in keys]
    # A teacher that is a table of probabilities is not shown images.
    is_run = bool({"teacher", "student_1"} & set(names))
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for number, (model, resolution) in enumerate(keys):
        title = run_sections.model_title(model) if is_run else model
        if names.count(model) > 1:
            title = f"{title} at {resolution} px"
        color = (
            run_sections.model_kind(model)
            if is_run
            else _COLORS[number % len(_COLORS)]
        )
        same = [s for s in found.values() if s["color"] == color]
        found[model, resolution] = {
            "title": title,
            "color": color,
            "opacity": (1.0, 0.6, 0.35)[len(same) % 3],
        }
    return [row | found[_key(row)] for row in rows]


def _corruptions(rows: Sequence[Row]) -> dict[str, Any] | None:
    chosen = robustness_tables.of_measure(rows, robustness.CORRUPTIONS)
    if not chosen:
        return None
    names = list(chosen[0]["errors"])
    counted = robustness_sets.CORRUPTIONS
    return {
        "rows": chosen,
        "told": telling.describe(
            chosen, "images", "--evaluation.robustness_images"
        ),
        "by_corruption": robustness_plots.grouped_bars(
            names,
            chosen,
            lambda row: [sum(row["errors"][name]) / 5 for name in names],
            description=f"{chosen[0]['set']}: error by corruption",
            label="error, mean of severities",
        ),
        "by_severity": robustness_plots.lines(
            robustness_sets.SEVERITIES,
            chosen,
            lambda row: [
                sum(row["errors"][name][severity - 1] for name in counted)
                / len(counted)
                for severity in robustness_sets.SEVERITIES
            ],
            description=f"{chosen[0]['set']}: error by severity",
            x_label="severity",
            y_label="error, mean of corruptions",
        ),
    }


def _sequences(rows: Sequence[Row]) -> dict[str, Any] | None:
    chosen = robustness_tables.of_measure(rows, robustness.PERTURBATIONS)
    if not chosen:
        return None
    names = list(chosen[0]["flip_probabilities"])
    return {
        "told": telling.describe(
            chosen, "sequences", "--evaluation.robustness_sequences"
        ),
        "has_mfr": all(row["mfr"] is not None for row in chosen),
        "rows": [
            row
            | {
                "mean_flip": robustness_tables.mean_flip(row),
                "flip_rate": robustness_tables.flip_rate(row),
            }
            for row in chosen
        ],
        "plot": robustness_plots.grouped_bars(
            names,
            chosen,
            lambda row: [row["flip_probabilities"][name] for name in names],
            description=f"{chosen[0]['set']}: flip probability by perturbation",
            label="flip probability",
        ),
    }


def _attacks(rows: Sequence[Row]) -> dict[str, Any] | None:
    kinds = robustness_tables.attack_kinds(rows)
    if not kinds:
        return None
    attacks = [row for row in rows if "epsilon_pixels" in row]
    found = {
        (_key(row), row["measure"], row["epsilon_pixels"]): row
        for row in attacks
    }
    fgsm = [epsilon for kind, epsilon in kinds if kind == robustness.FGSM]
    firsts: dict[tuple[str, int], Row] = {}
    for row in attacks:
        firsts.setdefault(_key(row), row)
    of_kinds = {
        robustness_tables.attack_title(*kind): [
            row
            for row in attacks
            if (row["measure"], row["epsilon_pixels"]) == kind
        ]
        for kind in kinds
    }
    return {
        "told": telling.describe_attacks(of_kinds),
        "kinds": [robustness_tables.attack_title(*kind) for kind in kinds],
        "rows": [
            row | {"cells": [found.get((_key(row), *kind)) for kind in kinds]}
            for row in firsts.values()
        ],
        "num_images": attacks[0]["num_images"],
        "pgd": next(
            (row for row in attacks if row["measure"] == robustness.PGD), None
        ),
        "plot": robustness_plots.lines(
            fgsm,
            list(firsts.values()),
            lambda row: [
                found[_key(row), robustness.FGSM, epsilon]["accuracy"]
                for epsilon in fgsm
            ],
            description=f"{attacks[0]['set']}: accuracy under FGSM by epsilon",
            x_label="epsilon in pixels of [0, 255]",
            y_label="accuracy under FGSM",
        ),
    }


def _gallery(sets_directory: str) -> list[dict[str, Any]]:
    """Return pictures of the first images, corrupted: a line a corruption."""
    root = files.join(sets_directory, robustness_sets.CORRUPTED)
    lines = []
    for name in robustness_sets.CORRUPTIONS:
        pictures: list[tuple[int, int, str]] = []
        for severity in _SHOWN_SEVERITIES:
            directory = robustness_sets.corruption_directory(
                root, name, severity
            )
            if not shards.is_finished(directory):
                return []
            paths = shards.open_split(directory, robustness_sets.SPLIT).paths
            pictures += [
                (number, severity, uri)
                for number, uri in enumerate(_first(paths[0]))
            ]
        # One image after the other, each at rising severity.
        pictures.sort()
        lines.append(
            {
                "name": name.replace("_", " "),
                "pictures": [picture[1:] for picture in pictures],
            }
        )
    return lines


def _first(path: str) -> list[str]:
    """Return the first pictures of a shard as data URIs."""
    uris = []
    for record in tf.data.TFRecordDataset(path).take(_SHOWN_IMAGES):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        encoded = feature[schema.IMAGE].bytes_list.value[0]
        uris.append(thumbnails.make(encoded) or "")
    return uris
