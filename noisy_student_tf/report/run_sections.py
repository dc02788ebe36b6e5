"""What the report says of the run itself: configuration, data, results.

Everything is read from a working directory, and what is not there yet is left
out: the report may be written after every stage.
"""

import collections
import dataclasses
import json
import os
import platform
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from noisy_student_tf import configs, files, recipes, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.evaluation import results
from noisy_student_tf.records import shards

_MODEL_NAME = re.compile(r"student_(\d+)(_fixres)?")

MAX_CORRUPT_SHOWN = 50

# What a manifest counts among the excluded -> what the report says of it.
_EXCLUDED = {
    "num_identical": "identical to a labeled image",
    "num_same_id": "with the id of a labeled image",
    "num_overlapping": "in the training and the held-out set",
    "num_corrected": "that people gave a class, or none",
}


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of the configuration, beside its preset's value."""

    name: str
    value: str
    preset_value: str

    @property
    def is_changed(self) -> bool:
        """Tell whether the run departs from its preset."""
        return self.value != self.preset_value


@dataclasses.dataclass
class Data:
    """What the manifests of the data directories say.

    Attributes:
        splits: Of the labeled and the unlabeled directory: `name`,
            `num_images` and `num_shards` of each.
        sources: (role, source) pairs: labeled, evaluation, unlabeled.
        class_names: Names of the classes; empty before the builder ran.
        num_corrupt: Images that could not be read.
        corrupt: The first of them: (path, reason).
        excluded: What else was found: (reason, number of images).
        corrections: What became of people's decisions; empty: none were given.
    """

    splits: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    sources: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    class_names: list[str] = dataclasses.field(default_factory=list)
    num_corrupt: int = 0
    corrupt: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    excluded: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    corrections: dict[str, Any] = dataclasses.field(default_factory=dict)


def name(workdir: workdirs.Workdir) -> str:
    """Return what the pages call a run: its folder."""
    return os.path.basename(workdir.root.rstrip("/"))


def model_title(model: str) -> str:
    """Return `Student 1, FixRes` for `student_1_fixres`."""
    if model == "fixres":
        return "FixRes fine-tuning"
    if model == recipes.SUPERVISED:
        return "Supervised baseline"
    match = _MODEL_NAME.fullmatch(model)
    if not match:
        return model.replace("_", " ").capitalize()
    return f"Student {match[1]}" + (", FixRes" if match[2] else "")


def model_kind(model: str) -> str:
    """Return teacher, student, supervised or fixres."""
    if model.endswith("fixres"):
        return "fixres"
    if model == recipes.SUPERVISED:
        return model
    return "student" if model.startswith("student") else "teacher"


def model_order(model: str) -> tuple[int, int]:
    """Return a sort key: teacher, baseline, then students with their FixRes."""
    if model == recipes.SUPERVISED:
        return 0, 1
    match = _MODEL_NAME.fullmatch(model)
    if not match:
        return (10**6, 0) if model.endswith("fixres") else (0, 0)
    return int(match[1]), 1 if match[2] else 0


def compare_with_preset(run_config: configs.Config) -> list[Field]:
    """Return every field with its own value and its preset's."""
    known = presets.PRESETS.get(run_config.preset, configs.Config())
    base = dict(config_tree.flatten(known))
    return [
        Field(name, show_value(value), show_value(base[name]))
        for name, value in config_tree.flatten(run_config)
        if name != "preset"
    ]


def show_value(value: Any) -> str:
    """Return a field's value as pages show it."""
    if isinstance(value, tuple):
        return ", ".join(show_value(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def versions() -> list[tuple[str, str]]:
    """Return (name, version) of what computes here."""
    import keras
    import tensorflow as tf

    return [
        ("Python", platform.python_version()),
        ("TensorFlow", tf.__version__),
        ("Keras", keras.__version__),
    ]


def read_data(workdir: workdirs.Workdir) -> Data:
    """Read the manifests of the data directories that are finished."""
    data = Data()
    excluded: collections.Counter[str] = collections.Counter()
    for directory in (workdir.labeled, workdir.unlabeled):
        if not shards.is_finished(directory):
            continue
        manifest = shards.read_manifest(directory)
        data.splits += [
            {
                "name": split,
                "num_images": entry["num_records"],
                "num_shards": len(entry["paths"]),
            }
            for split, entry in manifest["splits"].items()
        ]
        data.sources += [pair for pair in manifest["source"].items() if pair[1]]
        data.class_names = data.class_names or manifest.get("class_names") or []
        data.num_corrupt += manifest.get("num_corrupt", 0)
        data.corrupt += [
            (str(item["key"]), str(item["reason"]))
            for item in manifest.get("corrupt", [])
        ]
        data.corrections = data.corrections or manifest.get("corrections", {})
        for field, reason in _EXCLUDED.items():
            excluded[reason] += manifest["excluded"].get(field, 0)
    del data.corrupt[MAX_CORRUPT_SHOWN:]
    data.excluded = [(reason, n) for reason, n in excluded.items() if n]
    return data


def read_results(workdir: workdirs.Workdir) -> list[results.Row]:
    """Read results.json: the teacher first, the averaged weights first.

    Returns:
        Rows of plain images, with `title` and `kind` of the model, and
        `low` and `high` of the interval.
    """
    rows = [
        row
        | {
            "title": model_title(row["model"]),
            "kind": model_kind(row["model"]),
            "low": row["interval_95"][0],
            "high": row["interval_95"][1],
        }
        for row in results.read(workdir.results)
        if results.is_accuracy(row)
    ]
    return sorted(
        rows,
        key=lambda row: (row["set"], model_order(row["model"]), row["weights"]),
    )


def tables(
    measured: Sequence[results.Row], comparisons: Sequence[results.Row]
) -> list[dict[str, Any]]:
    """Return a table per split, test images first, with its common axis."""
    found = []
    for split in sorted({row["split"] for row in measured}):
        rows = [row for row in measured if row["split"] == split]
        low = np.floor(20 * min(row["low"] for row in rows)) / 20
        high = np.ceil(20 * max(row["high"] for row in rows)) / 20
        found.append(
            {
                "split": split,
                "rows": rows,
                "comparisons": [
                    row for row in comparisons if row["split"] == split
                ],
                "low": float(low),
                "span": float(max(high - low, 0.05)),
                "has_top5": results.have_top5(rows),
                "has_sets": len({row["set"] for row in rows}) > 1,
            }
        )
    return found


def read_metrics(workdir: workdirs.Workdir) -> dict[str, list[dict[str, Any]]]:
    """Read metrics.jsonl of every model: name -> lines, in training order.

    A resumed run repeats steps; the last line of a step is kept.
    """
    metrics = {}
    for name in files.list_directory(workdir.root):
        path = files.join(workdir.root, name, "metrics.jsonl")
        if not files.exists(path):
            continue
        lines = {}
        for text in files.read_text(path).splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                # A run that is killed may leave half a line.
                continue
            lines[line["kind"], line["step"]] = line
        if lines:
            metrics[name] = sorted(
                lines.values(), key=lambda line: line["step"]
            )
    return dict(sorted(metrics.items(), key=lambda item: model_order(item[0])))
