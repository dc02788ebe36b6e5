"""Every pseudo-label as CSV, and single ones by their id."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import (
    duplicates,
    parquet_files,
    predictions,
    schema,
    shards,
)
from noisy_student_tf.report import labels as report_labels
from noisy_student_tf.report import pseudo_label_rows

COLUMNS = (
    "image_id",
    "key",
    "class_id",
    "class_name",
    "confidence",
    "copies",
    "fate",
    "repeats",
    "true_class",
)

_TOP_CLASSES = 5


def write_csv(
    path: str,
    workdir: workdirs.Workdir,
    iteration: int,
    *,
    threshold: float,
    class_names: Sequence[str],
) -> int:
    """Write a line per unlabeled image, and return how many there are.

    Columns are `COLUMNS`; ids in hex. `fate` says whether an image was
    selected, or why not; `repeats` is what a near duplicate repeats.
    """
    truth = report_labels.read_truth(
        files.join(workdir.unlabeled, "truth.parquet")
    )
    num_rows = 0
    with files.temporary_name(path) as temporary:
        with files.open_file(temporary, "wb") as file:
            for table in _tables(
                workdir, iteration, threshold, class_names, truth
            ):
                buffer = io.BytesIO()
                options = csv.WriteOptions(include_header=not num_rows)
                csv.write_csv(table, buffer, options)
                file.write(buffer.getvalue())
                num_rows += table.num_rows
    return num_rows


def _tables(
    workdir: workdirs.Workdir,
    iteration: int,
    threshold: float,
    class_names: Sequence[str],
    truth: report_labels.Truth,
) -> Any:
    names = pa.array(list(class_names))
    keys_of: tuple[int, Any] = (-1, None)
    for rows in pseudo_label_rows.read(
        workdir, iteration, threshold=threshold, truth=truth
    ):
        if keys_of[0] != rows.shard_index:
            keys_of = (
                rows.shard_index,
                pseudo_label_rows.read_keys(workdir, rows.shard_index),
            )
        ids, keys = keys_of[1]
        places = np.searchsorted(ids, report_labels.sortable(rows.ids))
        labels = pa.array(rows.labels, mask=rows.labels == schema.NO_LABEL)
        fates = pa.array(list(pseudo_label_rows.FATES))
        yield pa.table(
            [
                pa.array([each.tobytes().hex() for each in rows.ids]),
                keys.take(pa.array(places)),
                pa.array(rows.class_ids),
                names.take(pa.array(rows.class_ids)),
                pa.array(rows.confidences),
                pa.array(rows.copies),
                fates.take(pa.array(rows.fates())),
                pa.nulls(len(rows.ids), pa.string()),
                names.take(labels),
            ],
            names=list(COLUMNS),
        )
    yield from _duplicate_tables(workdir, names, truth)


def _duplicate_tables(
    workdir: workdirs.Workdir, names: pa.Array, truth: report_labels.Truth
) -> Any:
    """Yield the same of the images that got no label."""
    if not shards.is_finished(workdir.duplicates):
        return
    count = len(shards.read_manifest(workdir.duplicates)["shards"])
    for index in range(count):
        found = list(duplicates.read(workdir.duplicates, index, count))
        if not found:
            continue
        ids, keys = pseudo_label_rows.read_keys(workdir, index)
        own = np.frombuffer(
            b"".join(each.image_id for each in found), np.uint8
        ).reshape(-1, schema.ID_BYTES)
        places = np.searchsorted(ids, report_labels.sortable(own))
        labels = truth.look_up(own)
        nothing = pa.nulls(len(found), pa.int32())
        yield pa.table(
            [
                pa.array([each.image_id.hex() for each in found]),
                keys.take(pa.array(places)),
                nothing,
                pa.nulls(len(found), pa.string()),
                pa.nulls(len(found), pa.float32()),
                pa.array(np.zeros(len(found), np.int32)),
                pa.array([pseudo_label_rows.NEAR_DUPLICATE] * len(found)),
                pa.array([f"{e.kept_split}/{e.kept_id.hex()}" for e in found]),
                names.take(pa.array(labels, mask=labels == schema.NO_LABEL)),
            ],
            names=list(COLUMNS),
        )


def find(
    image_id: bytes,
    workdir: workdirs.Workdir,
    iteration: int,
    *,
    threshold: float,
    class_names: Sequence[str],
) -> tuple[report_labels.Pick, dict[str, Any]]:
    """Return all that is known of one image.

    Args:
        image_id: 16 bytes.
        workdir: Of the run.
        iteration: Whose pseudo-labels.
        threshold: Of the selection.
        class_names: Names of the classes.

    Returns:
        What shows its picture, and facts by name.

    Raises:
        ValueError: No unlabeled image has the id.
    """
    truth = report_labels.read_truth(
        files.join(workdir.unlabeled, "truth.parquet")
    )
    wanted = np.frombuffer(image_id, np.uint8)
    for index, each in pseudo_label_rows.read_duplicates(workdir):
        if each.image_id == image_id:
            label = int(truth.look_up(wanted[None])[0])
            pick = report_labels.Pick(0.0, image_id, 0, label, 0, index)
            return pick, {
                "image_id": image_id.hex(),
                "fate": pseudo_label_rows.NEAR_DUPLICATE,
                "repeats": f"{each.kept_split}/{each.kept_id.hex()}",
                "differing_bits": each.distance,
            }
    for rows in pseudo_label_rows.read(
        workdir, iteration, threshold=threshold, truth=truth
    ):
        (places,) = np.nonzero((rows.ids == wanted).all(axis=1))
        if places.size:
            return _describe(
                rows, int(places[0]), workdir, iteration, class_names
            )
    raise ValueError(
        f"--image_id={image_id.hex()}: no unlabeled image of "
        f"{workdir.unlabeled} has it. Ids are 32 hexadecimal digits, as the "
        "CSV file and the page show them."
    )


def _describe(
    rows: pseudo_label_rows.Rows,
    place: int,
    workdir: workdirs.Workdir,
    iteration: int,
    class_names: Sequence[str],
) -> tuple[report_labels.Pick, dict[str, Any]]:
    image_id = rows.ids[place].tobytes()
    pick = report_labels.Pick(
        confidence=float(rows.confidences[place]),
        image_id=image_id,
        class_id=int(rows.class_ids[place]),
        label=int(rows.labels[place]),
        copies=int(rows.copies[place]),
        shard_index=rows.shard_index,
    )
    ids, keys = pseudo_label_rows.read_keys(workdir, rows.shard_index)
    own = report_labels.sortable(rows.ids[place : place + 1])
    is_known = pick.label != schema.NO_LABEL
    return pick, {
        "image_id": image_id.hex(),
        "key": keys[int(np.searchsorted(ids, own)[0])].as_py(),
        "shard": rows.shard_index,
        "class": class_names[pick.class_id],
        "confidence": round(pick.confidence, 6),
        "true_class": class_names[pick.label] if is_known else None,
        "fate": pseudo_label_rows.FATES[int(rows.fates()[place])],
        "copies": pick.copies,
        "most_probable": _most_probable(
            workdir, iteration, rows.shard_index, image_id, class_names
        ),
    }


def _most_probable(
    workdir: workdirs.Workdir,
    iteration: int,
    shard_index: int,
    image_id: bytes,
    class_names: Sequence[str],
) -> dict[str, float]:
    """Return the stored probabilities of the most probable classes."""
    directory = workdir.predictions(iteration)
    name = shards.read_manifest(directory)["shards"][shard_index]
    wanted = np.frombuffer(image_id, np.uint8)
    path = files.join(directory, name)
    for batch in predictions.read_batches(
        path, ["image_id", "probabilities"], rows_per_batch=8192
    ):
        ids = predictions.read_ids(batch, path)
        (places,) = np.nonzero((ids == wanted).all(axis=1))
        if places.size:
            row = batch["probabilities"].slice(int(places[0]), 1)
            soft = parquet_files.fixed_lists(row)[0].astype(np.float64)
            order = np.argsort(-soft, kind="stable")[:_TOP_CLASSES]
            return {class_names[i]: round(float(soft[i]), 4) for i in order}
    return {}
