"""What is kept of a finished run: one small JSON file, without weights.

The file says what ran (the whole configuration), what was measured, and how
training went. Tables and plots are made of these files alone.
"""

import json
import operator
from collections.abc import Iterator, Sequence
from typing import Any

from noisy_student_tf import configs, files, recipes, workdirs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.records import shards
from noisy_student_tf.report import label_counts
from study import sharing

# Of the curves, about so many points are kept.
_MAX_POINTS = 40
_DIGITS = 6
_OF_MODEL = ("num_parameters", "resolution", "total_steps", "fingerprint")
_CURVES = {
    "train": ("epoch", "loss", "labeled_loss", "unlabeled_loss"),
    "validation": ("raw_accuracy", "ema_accuracy", "ema_loss"),
}


# What the file holds.
Record = dict[str, Any]


def rows_of(record: Record, model: str) -> list[dict[str, Any]]:
    """Return the measurements of one model."""
    return [row for row in record["results"] if row["model"] == model]


def path_of(directory: str, arm: str, seed: int) -> str:
    """Return where the record of a run lies."""
    return files.join(directory, arm, f"seed_{seed}.json")


def of_run(run: workdirs.Workdir, *, arm: str, study_directory: str) -> Record:
    """Gather the record of a finished run from its folder.

    Args:
        run: Its folders.
        arm: The configuration's name.
        study_directory: What the record calls {workdir}: no path of a machine
            is kept.
    """
    config = workdirs.read_config(run)
    folders = [
        folder
        for model in recipes.of(config).models
        if shards.is_finished(folder := run.folder(model.folder))
    ]
    manifests = [shards.read_manifest(folder) for folder in folders]
    robustness = (
        [shards.read_manifest(run.robustness)]
        if shards.is_finished(run.robustness)
        else []
    )
    text = config_tree.to_json(config)
    return {
        "arm": arm,
        "seed": config.seed,
        "models": {
            manifest["model"]: {key: manifest.get(key) for key in _OF_MODEL}
            for manifest in manifests
        },
        "labeled": shards.read_manifest(run.labeled)["counts_per_class"],
        "pseudo_labels": list(_pseudo_labels(run, config)),
        "shared": sharing.taken(run),
        "results": [
            row
            for manifest in manifests + robustness
            for row in manifest["results"]
        ],
        "curves": {
            folder.rsplit("/", 1)[-1]: _curves(folder) for folder in folders
        },
        "config": json.loads(text.replace(study_directory, "{workdir}")),
    }


def of_peer(run: workdirs.Workdir, config: configs.Config, arm: str) -> Record:
    """Gather the record of a method that is not ours."""
    return {
        "arm": arm,
        "seed": config.seed,
        "models": {},
        "results": files.read_json(run.results),
        "threshold": config.selection.confidence_threshold,
    }


def _pseudo_labels(
    run: workdirs.Workdir, config: configs.Config
) -> Iterator[dict[str, Any]]:
    """Yield how right each student's teacher was, and what was selected."""
    for iteration in range(1, config.self_training.num_iterations + 1):
        labels, selection = label_counts.read(run, iteration)
        if selection:
            yield {
                "iteration": iteration,
                "num_images": int(labels.predicted.images.sum()),
                "accuracy": labels.predicted.accuracy,
                "num_selected": int(selection.selected.images.sum()),
                "selected_accuracy": selection.selected.accuracy,
                "rows_per_class": selection.rows.tolist(),
            }


def _curves(folder: str) -> dict[str, dict[str, list]]:
    """Return kind -> column -> values, thinned, from `metrics.jsonl`."""
    path = files.join(folder, "metrics.jsonl")
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
    path = path_of(directory, record["arm"], record["seed"])
    files.make_directories(files.directory_name(path))
    files.write_text(path, _to_text(record))


def _to_text(record: Record) -> str:
    """Return JSON with a line for every field, and for every measurement.

    Differences of two versions stay readable, and files small.
    """
    lines = []
    for name, value in record.items():
        if name == "results":
            rows = ",\n  ".join(map(json.dumps, value))
            text = f"[\n  {rows}\n ]"
        else:
            text = json.dumps(value)
        lines.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_all(directory: str) -> list[Record]:
    """Return all records below a directory, by arm and seed.

    Before the first run has ended there is no such directory.
    """
    if not files.exists(directory):
        return []
    records = [
        files.read_json(path)
        for arm in files.list_directory(directory)
        for path in files.glob(files.join(directory, arm, "*.json"))
    ]
    return sorted(records, key=operator.itemgetter("arm", "seed"))
