"""What the report says of the run itself: configuration, data, results.

Everything is read from a working directory, and what is not there yet is left
out: the report may be written after every stage.
"""

import collections
import dataclasses
import json
import platform
import re
from typing import Any

import keras
import tensorflow as tf

from noisy_student_tf import configs, files, workdirs
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


@dataclasses.dataclass(frozen=True)
class Split:
    """Images of one split of one data directory."""

    name: str
    num_images: int
    num_shards: int


@dataclasses.dataclass(frozen=True)
class Data:
    """What the manifests of the data directories say.

    Attributes:
        splits: Splits of the labeled and the unlabeled directory.
        sources: (role, source) pairs: labeled, evaluation, unlabeled.
        class_names: Names of the classes; empty before the builder ran.
        num_corrupt: Images that could not be read.
        corrupt: The first of them: (path, reason).
        excluded: What else was found: (reason, number of images).
    """

    splits: list[Split]
    sources: list[tuple[str, str]]
    class_names: list[str]
    num_corrupt: int
    corrupt: list[tuple[str, str]]
    excluded: list[tuple[str, int]]


@dataclasses.dataclass(frozen=True)
class Result:
    """One row of results.json; shares are in [0, 1], None where unknown."""

    model: str
    title: str
    set: str
    split: str
    weights: str
    resolution: int | None
    num_images: int
    accuracy: float
    low: float
    high: float
    top5_accuracy: float | None
    loss: float | None
    calibration_error: float | None

    @property
    def kind(self) -> str:
        """Return teacher, student or fixres: what its color stands for."""
        return model_kind(self.model)


@dataclasses.dataclass(frozen=True)
class Headline:
    """The comparison that the whole run is about."""

    teacher: Result
    student: Result

    @property
    def points(self) -> float:
        """Return the gain in percentage points."""
        return 100 * (self.student.accuracy - self.teacher.accuracy)


def model_title(model: str) -> str:
    """Return `Student 1, FixRes` for `student_1_fixres`."""
    if model == "fixres":
        return "FixRes fine-tuning"
    match = _MODEL_NAME.fullmatch(model)
    if not match:
        return model.replace("_", " ").capitalize()
    return f"Student {match[1]}" + (", FixRes" if match[2] else "")


def model_kind(model: str) -> str:
    """Return teacher, student or fixres."""
    if model.endswith("fixres"):
        return "fixres"
    return "student" if model.startswith("student") else "teacher"


def model_order(model: str) -> tuple[int, int]:
    """Return a sort key: the teacher, then students with their FixRes."""
    match = _MODEL_NAME.fullmatch(model)
    if not match:
        return (10**6, 0) if model.endswith("fixres") else (0, 0)
    return int(match[1]), 1 if match[2] else 0


def compare_with_preset(run_config: configs.Config) -> list[Field]:
    """Return every field with its own value and its preset's."""
    known = presets.PRESETS.get(run_config.preset, configs.Config())
    base = dict(config_tree.flatten(known))
    return [
        Field(name, _show(value), _show(base[name]))
        for name, value in config_tree.flatten(run_config)
        if name != "preset"
    ]


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_show(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def versions() -> list[tuple[str, str]]:
    """Return (name, version) of what computes here."""
    return [
        ("Python", platform.python_version()),
        ("TensorFlow", tf.__version__),
        ("Keras", keras.__version__),
    ]


def read_data(workdir: workdirs.Workdir) -> Data:
    """Read the manifests of the data directories that are finished."""
    data = Data([], [], [], 0, [], [])
    num_corrupt = 0
    excluded: collections.Counter[str] = collections.Counter()
    for directory in (workdir.labeled, workdir.unlabeled):
        if not shards.is_finished(directory):
            continue
        manifest = shards.read_manifest(directory)
        data.splits.extend(
            Split(split, entry["num_records"], len(entry["paths"]))
            for split, entry in manifest["splits"].items()
        )
        data.sources.extend(
            (role, source)
            for role, source in manifest["source"].items()
            if source
        )
        data.class_names.extend(
            manifest.get("class_names") or [] if not data.class_names else []
        )
        num_corrupt += manifest.get("num_corrupt", 0)
        data.corrupt.extend(
            (str(item["key"]), str(item["reason"]))
            for item in manifest.get("corrupt", [])
        )
        for name, reason in _EXCLUDED.items():
            excluded[reason] += manifest["excluded"].get(name, 0)
    del data.corrupt[MAX_CORRUPT_SHOWN:]
    return dataclasses.replace(
        data,
        num_corrupt=num_corrupt,
        excluded=[(reason, n) for reason, n in excluded.items() if n],
    )


def read_results(workdir: workdirs.Workdir) -> list[Result]:
    """Read results.json: the teacher first, the averaged weights first."""
    return sorted(
        (
            _result(row)
            for row in results.read(workdir.results)
            if not results.is_robustness(row)
        ),
        key=lambda row: (row.set, model_order(row.model), row.weights),
    )


def _result(row: results.Row) -> Result:
    low, high = row["interval_95"]
    return Result(
        model=row["model"],
        title=model_title(row["model"]),
        set=row["set"],
        split=row["split"],
        weights=row["weights"],
        resolution=row.get("resolution"),
        num_images=row["num_images"],
        accuracy=row["accuracy"],
        low=low,
        high=high,
        top5_accuracy=row.get("top5_accuracy"),
        loss=row.get("loss"),
        calibration_error=row.get("calibration_error"),
    )


def headline(rows: list[Result]) -> Headline | None:
    """Compare the last student with the teacher on the same held-out images.

    Test images count before validation images, and averaged weights before
    raw ones. None where one of the two is not evaluated yet.
    """
    for split in ("test", "validation"):
        for weights in ("ema", "raw"):
            comparable = [
                row
                for row in rows
                if (row.split, row.weights) == (split, weights)
            ]
            teachers = [row for row in comparable if row.model == "teacher"]
            students = [row for row in comparable if row.kind == "student"]
            if teachers and students:
                teacher = teachers[0]
                same_set = [row for row in students if row.set == teacher.set]
                last = same_set[-1].model if same_set else ""
                # A model's first row is of its own resolution.
                for row in same_set:
                    if row.model == last:
                        return Headline(teacher, row)
    return None


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
