"""What is kept of a finished run: one small JSON file, without weights.

The file says what ran (the whole configuration), what was measured, and how
training went. Tables and plots are made of these files alone.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from noisy_student_tf import configs, files, workdirs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import shards
from noisy_student_tf.report import label_counts
from study import sharing

# Of the curves, about so many points are kept.
_MAX_POINTS = 40
_DIGITS = 6
_CURVES = {
    "train": ("epoch", "loss", "labeled_loss", "unlabeled_loss"),
    "validation": ("raw_accuracy", "ema_accuracy", "ema_loss"),
}


@dataclasses.dataclass(frozen=True)
class Record:
    """A finished run.

    Attributes:
        arm: The configuration's name.
        seed: Of all its random draws.
        content: What the file holds.
    """

    arm: str
    seed: int
    content: dict[str, Any]

    def rows(self, model: str) -> list[dict[str, Any]]:
        """Return the measurements of one model."""
        return [row for row in self.content["results"] if row["model"] == model]


def path_of(directory: str, arm: str, seed: int) -> str:
    """Return where the record of a run lies."""
    return files.join(directory, arm, f"seed_{seed}.json")


def of_run(
    run: workdirs.Workdir, *, arm: str, seed: int, study_directory: str
) -> Record:
    """Gather the record of a finished run from its folder.

    Args:
        run: Its folders.
        arm: The configuration's name.
        seed: Of all its random draws.
        study_directory: What the record calls {workdir}: no path of a machine
            is kept.
    """
    config = workdirs.read_config(run)
    names = _model_names(run, config.self_training.num_iterations)
    return Record(
        arm,
        seed,
        {
            "arm": arm,
            "seed": seed,
            "models": dict(_model(run, name) for name in names),
            "labeled": shards.read_manifest(run.labeled)["counts_per_class"],
            "pseudo_labels": list(_pseudo_labels(run, config)),
            "shared": sharing.taken(run),
            "results": list(_results(run, names)),
            "curves": {name: _curves(run, name) for name in names},
            "config": json.loads(
                config_tree.to_json(config).replace(
                    study_directory, "{workdir}"
                )
            ),
        },
    )


def of_peer(
    run: workdirs.Workdir,
    config: configs.Config,
    *,
    arm: str,
    seed: int,
) -> Record:
    """Gather the record of a method that is not ours."""
    return Record(
        arm,
        seed,
        {
            "arm": arm,
            "seed": seed,
            "models": {},
            "results": files.read_json(run.results),
            "threshold": config.selection.confidence_threshold,
        },
    )


def _results(
    run: workdirs.Workdir, names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield the measurements of all models, the robust ones last."""
    folders = [files.join(run.root, name) for name in names]
    if shards.is_finished(run.robustness):
        folders.append(run.robustness)
    for folder in folders:
        yield from shards.read_manifest(folder)["results"]


def _model_names(run: workdirs.Workdir, num_iterations: int) -> list[str]:
    names = ["teacher"]
    names += [f"student_{i}" for i in range(1, num_iterations + 1)]
    names.append("fixres")
    return [
        name for name in names if shards.is_finished(files.join(run.root, name))
    ]


def _model(run: workdirs.Workdir, folder: str) -> tuple[str, dict[str, Any]]:
    """Return a model's name and what its manifest says of it."""
    manifest = shards.read_manifest(files.join(run.root, folder))
    kept = ("num_parameters", "resolution", "total_steps", "fingerprint")
    return manifest["model"], {key: manifest.get(key) for key in kept}


def _pseudo_labels(
    run: workdirs.Workdir, config: configs.Config
) -> Iterator[dict[str, Any]]:
    """Yield how right each student's teacher was, and what was selected."""
    num_classes = len(shards.read_manifest(run.labeled)["class_names"])
    truth = label_counts.read_truth(run)
    for iteration in range(1, config.self_training.num_iterations + 1):
        if not shards.is_finished(run.selection(iteration)):
            continue
        labels = label_counts.read_predictions(
            run.predictions(iteration),
            num_classes=num_classes,
            threshold=config.selection.confidence_threshold,
            truth=truth,
        )
        selection = label_counts.read_selection(
            run.selection(iteration),
            num_classes=num_classes,
            classes=[],
            truth=truth,
        )
        yield {
            "iteration": iteration,
            "num_images": int(labels.predicted.images.sum()),
            "accuracy": labels.predicted.accuracy,
            "num_selected": int(selection.selected.images.sum()),
            "selected_accuracy": selection.selected.accuracy,
            "rows_per_class": selection.rows.tolist(),
        }


def _curves(run: workdirs.Workdir, name: str) -> dict[str, dict[str, list]]:
    """Return kind -> column -> values, thinned, from `metrics.jsonl`."""
    path = files.join(run.root, name, "metrics.jsonl")
    if not files.exists(path):
        return {}
    lines = [json.loads(line) for line in files.read_text(path).splitlines()]
    curves = {}
    for kind, columns in _CURVES.items():
        chosen = thin([line for line in lines if line["kind"] == kind])
        curves[kind] = {
            column: [round(line[column], _DIGITS) for line in chosen]
            for column in ("step", *columns)
            if chosen and column in chosen[0]
        }
    return curves


def thin(lines: Sequence[Any]) -> list[Any]:
    """Return at most about 40 of the lines, evenly, with the last one."""
    stride = -(-len(lines) // _MAX_POINTS) or 1
    return list(lines[::-1][::stride][::-1])


def write(directory: str, record: Record) -> None:
    """Write a record; one that is there is replaced."""
    path = path_of(directory, record.arm, record.seed)
    files.make_directories(files.directory_name(path))
    files.write_text(path, _to_text(record.content))


def _to_text(content: dict[str, Any]) -> str:
    """Return JSON with a line for every field, and for every measurement.

    Differences of two versions stay readable, and files small.
    """
    lines = []
    for name, value in content.items():
        if name == "results":
            rows = ",\n  ".join(map(json.dumps, value))
            text = f"[\n  {rows}\n ]"
        else:
            text = json.dumps(value)
        lines.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_all(directory: str) -> list[Record]:
    """Return all records below a directory, by arm and seed."""
    records = []
    for arm in files.list_directory(directory):
        folder = files.join(directory, arm)
        if not files.is_directory(folder):
            continue
        for name in files.list_directory(folder):
            if name.endswith(".json"):
                content = files.read_json(files.join(folder, name))
                records.append(Record(content["arm"], content["seed"], content))
    return sorted(records, key=lambda record: (record.arm, record.seed))
