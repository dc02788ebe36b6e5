"""The stage that judges the teacher's training on its own labeled images.

As many teachers as there are folds are trained like the run's, each without
one fold of the labeled images, and answer for that fold. So every labeled
image is held out once, where validation images are few. Each fold is a folder
like a run's, with labeled shards and a teacher of its own.
"""

import dataclasses
import os
from typing import Any

import tensorflow as tf
from absl import logging

from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree
from noisy_student_tf.evaluation import class_metrics, evaluate, metrics
from noisy_student_tf.records import held_out, schema, shards
from noisy_student_tf.stages import models, runs

# Of the rows in `results.json`, and of the file of answers.
SPLIT = "folds"
# Of a fold's teacher nothing else is made.
_CHANGES = {
    "evaluation.teacher_folds": 0,
    "evaluation.supervised_baseline": False,
    "fixres.resolution": 0,
}


def measure(run: runs.Run) -> None:
    """Train a teacher for each fold, and gather what they answer.

    Raises:
        ValueError: The labeled images have no ids, or are fewer than folds.
    """
    directory = run.workdir.folds
    num_folds = run.recipe.num_folds
    if not num_folds or runs.is_done(directory, "Folds of the teacher"):
        return
    for fold in range(num_folds):
        part = _part(run, fold)
        runs.on_chief(run, lambda: _build(run, part, fold))  # noqa: B023
        models.make(part, part.recipe.teacher)
    runs.on_chief(run, lambda: _close(run))


def _part(run: runs.Run, fold: int) -> runs.Run:
    """Return a fold as a run of its own."""
    root = files.join(run.workdir.folds, f"fold_{fold}")
    return dataclasses.replace(
        run,
        config=config_tree.override(run.config, _CHANGES),
        workdir=workdirs.Workdir(root),
    )


def _build(run: runs.Run, part: runs.Run, fold: int) -> None:
    """Write the labeled shards of a fold: what trains, and what is judged."""
    directory = part.workdir.labeled
    if runs.is_done(directory, f"Fold {fold}"):
        return
    labeled = shards.open_split(run.workdir.labeled, "train")
    assigned = _assign(labeled, run.recipe.num_folds)
    manifest = shards.read_manifest(run.workdir.labeled)
    class_names = runs.class_names(run)
    counts = {split: [0] * len(class_names) for split in ("train", "test")}
    kept: dict[str, list[list[bytes]]] = {"train": [], "test": []}
    for path in labeled.paths:
        parts: dict[bool, list[bytes]] = {True: [], False: []}
        for record, image_id, label in _read(path):
            is_judged = assigned[image_id] == fold
            parts[is_judged].append(record)
            counts["test" if is_judged else "train"][label] += 1
        kept["train"].append(parts[False])
        kept["test"].append(parts[True])
    entries = {
        split: _write(directory, split, list(filter(None, parts)), labeled)
        for split, parts in kept.items()
    }
    if "validation" in manifest["splits"]:
        entries["validation"] = _by_whole_paths(run.workdir.labeled)
    shards.write_manifest(
        directory,
        {
            "splits": entries,
            "class_names": class_names,
            "counts_per_class": counts,
        },
    )


def _write(
    directory: str,
    split: str,
    parts: list[list[bytes]],
    labeled: shards.ShardSet,
) -> dict[str, Any]:
    """Write records as shards, and return their entry in the manifest."""
    paths = []
    for index, records in enumerate(parts):
        paths.append(shards.shard_name(split, index, len(parts)))
        with shards.open_writer(files.join(directory, paths[-1])) as writer:
            for record in records:
                writer.write(record)
    return shards.split_manifest(
        paths=paths,
        num_records=sum(map(len, parts)),
        schema=labeled.schema,
        num_classes=labeled.num_classes,
    )


def _by_whole_paths(directory: str) -> dict[str, Any]:
    """Return the entry of the validation images where they lie."""
    found = shards.open_split(directory, "validation")
    paths = tuple(
        path if files.is_remote(path) else os.path.abspath(path)
        for path in found.paths
    )
    return dataclasses.asdict(dataclasses.replace(found, paths=paths))


def _assign(labeled: shards.ShardSet, num_folds: int) -> dict[bytes, int]:
    """Return image id -> fold: each class is dealt out by hashes of the ids.

    Raises:
        ValueError: See `measure`.
    """
    if labeled.schema != "image":
        raise ValueError(
            f"--evaluation.teacher_folds={num_folds}: records of "
            f"{labeled.schema} are read where they lie, and have no ids to "
            "divide them by. Set it to 0, and give validation images."
        )
    if labeled.num_records < num_folds:
        raise ValueError(
            f"--evaluation.teacher_folds={num_folds}: there are "
            f"{labeled.num_records} labeled images to divide. Accepted are 2 "
            "to that number, or 0 for none."
        )
    classes: dict[int, list[bytes]] = {}
    for path in labeled.paths:
        for _, image_id, label in _read(path):
            classes.setdefault(label, []).append(image_id)
    dealt: list[bytes] = []
    for _, ids in sorted(classes.items()):
        dealt += sorted(ids, key=lambda each: schema.unit_hash(each, "fold"))
    # On, from class to class: all folds are of equal size.
    return {image_id: i % num_folds for i, image_id in enumerate(dealt)}


def _read(path: str) -> list[tuple[bytes, bytes, int]]:
    """Return the records of a shard with their ids and labels."""
    found = []
    for record in shards.read_records(path):
        parsed = schema.parse_image(tf.constant(record))
        image_id, label = parsed["image_id"].numpy(), int(parsed["label"])
        found.append((record, image_id, label))
    return found


def _close(run: runs.Run) -> None:
    """Gather the answers of all folds' teachers, and measure them."""
    directory = run.workdir.folds
    row = evaluate.make_row(
        model=run.recipe.teacher.name,
        set=run.config.preset,
        split=SPLIT,
        resolution=shards.read_manifest(run.workdir.teacher)["resolution"],
        weights="ema",
        metrics=_gather(run, held_out.path(directory, SPLIT)),
    )
    low, high = row["interval_95"]
    logging.info(
        "Over %d folds of %d labeled images the teacher is right on %.2f %% "
        "(95 %% interval %.2f to %.2f).",
        run.recipe.num_folds,
        row["num_images"],
        100 * row["accuracy"],
        100 * low,
        100 * high,
    )
    choices = held_out.read_choices(held_out.path(directory, SPLIT))
    standing = metrics.standing(choices.labels, choices.classes)
    shards.write_manifest(
        directory,
        {
            "num_folds": run.recipe.num_folds,
            "standing": {SPLIT: dataclasses.asdict(standing)},
            "results": [row],
        },
    )


def _gather(run: runs.Run, path: str) -> dict[str, Any]:
    """Write what the folds' teachers say in one file; return its metrics."""
    class_names = runs.class_names(run)
    total = metrics.zeros(len(class_names))
    with held_out.open_writer(path, len(class_names)) as keep:
        for fold in range(run.recipe.num_folds):
            teacher = _part(run, fold).workdir.teacher
            for rows in held_out.read(held_out.path(teacher, "test")):
                ids = [image_id.tobytes() for image_id in rows.ids]
                keep(rows.logits, rows.labels, ids)
                found = metrics.of_batch(rows.logits, rows.labels)
                total = metrics.merge(total, found)
    classes = class_metrics.measure(path, class_names)
    class_metrics.write(path, classes)
    return metrics.result(total) | class_metrics.summarize(classes)
