"""Every pseudo-label as CSV, and single ones by their id."""

import io
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from noisy_student_tf import files, workdirs
from noisy_student_tf.records import parquet_files, schema, shards
from noisy_student_tf.report import label_counts, pseudo_label_rows

_COLUMNS = pa.schema(
    [
        ("image_id", pa.string()),
        ("key", pa.string()),
        ("class_id", pa.int32()),
        ("class_name", pa.string()),
        ("confidence", pa.float32()),
        ("copies", pa.int32()),
        ("fate", pa.string()),
        ("repeats", pa.string()),
        ("true_class", pa.string()),
    ]
)
COLUMNS = tuple(_COLUMNS.names)

_TOP_CLASSES = 5


def write_csv(path: str, workdir: workdirs.Workdir, iteration: int) -> int:
    """Write a line per unlabeled image, and return how many there are.

    Columns are `COLUMNS`; ids in hex. `fate` says whether an image was
    selected, or why not; `repeats` is what a near duplicate repeats.
    """
    names = pa.array(_class_names(workdir))
    num_rows = 0
    with files.temporary_name(path) as temporary:
        with files.open_file(temporary, "wb") as file:
            for table in itertools.chain(
                _labeled(workdir, iteration, names), _duplicates(workdir, names)
            ):
                buffer = io.BytesIO()
                options = csv.WriteOptions(include_header=not num_rows)
                csv.write_csv(table, buffer, options)
                file.write(buffer.getvalue())
                num_rows += table.num_rows
    return num_rows


def _class_names(workdir: workdirs.Workdir) -> list[str]:
    return shards.read_manifest(workdir.labeled)["class_names"]


def _labeled(
    workdir: workdirs.Workdir, iteration: int, names: pa.Array
) -> Iterator[pa.Table]:
    fates = pa.array(pseudo_label_rows.FATES)
    for shard_index, batches in itertools.groupby(
        pseudo_label_rows.read(workdir, iteration),
        lambda rows: rows.shard_index,
    ):
        keys = pseudo_label_rows.read_keys(workdir, shard_index)
        for rows in batches:
            yield pa.table(
                {
                    "image_id": [each.tobytes().hex() for each in rows.ids],
                    "key": keys.of(rows.ids),
                    "class_id": rows.class_ids,
                    "class_name": names.take(pa.array(rows.class_ids)),
                    "confidence": rows.confidences,
                    "copies": rows.copies,
                    "fate": fates.take(pa.array(rows.fates())),
                    "repeats": pa.nulls(len(rows.ids), pa.string()),
                    "true_class": _true_classes(rows.labels, names),
                },
                schema=_COLUMNS,
            )


def _true_classes(labels: np.ndarray, names: pa.Array) -> pa.Array:
    return names.take(pa.array(labels, mask=labels == schema.NO_LABEL))


def _duplicates(
    workdir: workdirs.Workdir, names: pa.Array
) -> Iterator[pa.Table]:
    """Yield the same of the images that got no label."""
    truth = label_counts.read_truth(workdir)
    for shard_index, group in itertools.groupby(
        pseudo_label_rows.read_duplicates(workdir), lambda pair: pair[0]
    ):
        found = [each for _, each in group]
        ids = np.stack([np.frombuffer(e.image_id, np.uint8) for e in found])
        keys = pseudo_label_rows.read_keys(workdir, shard_index)
        yield pa.Table.from_pylist(
            [
                {
                    "image_id": each.image_id.hex(),
                    "key": key,
                    "copies": 0,
                    "fate": pseudo_label_rows.NEAR_DUPLICATE,
                    "repeats": f"{each.kept_split}/{each.kept_id.hex()}",
                    "true_class": true_class,
                }
                for each, key, true_class in zip(
                    found,
                    keys.of(ids),
                    _true_classes(truth.of(ids), names).to_pylist(),
                    strict=True,
                )
            ],
            schema=_COLUMNS,
        )


def find(
    image_id: bytes, workdir: workdirs.Workdir, iteration: int
) -> tuple[label_counts.Pick, dict[str, Any]]:
    """Return all that is known of one image.

    Args:
        image_id: 16 bytes.
        workdir: Of the run.
        iteration: Whose pseudo-labels.

    Returns:
        What shows its picture, and facts by name.

    Raises:
        ValueError: No unlabeled image has the id.
    """
    wanted = np.frombuffer(image_id, np.uint8)
    for index, each in pseudo_label_rows.read_duplicates(workdir):
        if each.image_id == image_id:
            label = int(label_counts.read_truth(workdir).of(wanted[None])[0])
            pick = label_counts.Pick(0.0, image_id, 0, label, 0, index)
            return pick, {
                "image_id": image_id.hex(),
                "fate": pseudo_label_rows.NEAR_DUPLICATE,
                "repeats": f"{each.kept_split}/{each.kept_id.hex()}",
                "differing_bits": each.distance,
            }
    for rows in pseudo_label_rows.read(workdir, iteration):
        (places,) = np.nonzero((rows.ids == wanted).all(axis=1))
        if places.size:
            row = int(places[0])
            fate = pseudo_label_rows.FATES[int(rows.fates()[row])]
            return rows.pick(row), _describe(
                rows.pick(row), fate, workdir, iteration
            )
    raise ValueError(
        f"--image_id={image_id.hex()}: no unlabeled image of "
        f"{workdir.unlabeled} has it. Ids are 32 hexadecimal digits, as the "
        "CSV file and the page show them."
    )


def _describe(
    pick: label_counts.Pick,
    fate: str,
    workdir: workdirs.Workdir,
    iteration: int,
) -> dict[str, Any]:
    class_names = _class_names(workdir)
    wanted = np.frombuffer(pick.image_id, np.uint8)
    keys = pseudo_label_rows.read_keys(workdir, pick.shard_index)
    is_known = pick.label != schema.NO_LABEL
    probabilities = _probabilities(workdir, iteration, pick.shard_index, wanted)
    order = np.argsort(-probabilities, kind="stable")[:_TOP_CLASSES]
    return {
        "image_id": pick.image_id.hex(),
        "key": keys.of(wanted[None])[0],
        "shard": pick.shard_index,
        "class": class_names[pick.class_id],
        "confidence": round(pick.confidence, 6),
        "true_class": class_names[pick.label] if is_known else None,
        "fate": fate,
        "copies": pick.copies,
        "most_probable": {
            class_names[i]: round(float(probabilities[i]), 4) for i in order
        },
    }


def _probabilities(
    workdir: workdirs.Workdir,
    iteration: int,
    shard_index: int,
    wanted: np.ndarray,
) -> np.ndarray:
    """Return the stored probabilities of an image: float64 [num_classes]."""
    directory = workdir.predictions(iteration)
    name = shards.read_manifest(directory)["shards"][shard_index]
    path = files.join(directory, name)
    for batch in parquet_files.read_batches(
        path, ["image_id", "probabilities"], rows_per_batch=8192
    ):
        ids = parquet_files.image_ids(batch["image_id"], path)
        (places,) = np.nonzero((ids == wanted).all(axis=1))
        if places.size:
            row = batch["probabilities"].slice(int(places[0]), 1)
            return parquet_files.fixed_lists(row)[0].astype(np.float64)
    return np.zeros(0)
