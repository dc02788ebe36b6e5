"""Pictures that occur more than once among labeled and held-out ones.

Copies are told by what is stored of them, byte by byte. In the search for
duplicates, which compares what pictures look like, unlabeled ones are left out.
"""

import collections
from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from absl import logging

from data_prep.shards import manifests, shard_building, splits
from noisy_student_tf import files
from noisy_student_tf.records import parquet_files

_COLUMNS = ["image_sha256", "key", "label"]

SCHEMA = pa.schema(
    [
        ("image_sha256", pa.binary(32)),
        ("key", pa.string()),
        ("label", pa.int64()),
        ("split", pa.string()),
    ]
)


def read(plans: Sequence[shard_building.ShardPlan]) -> pa.Table:
    """Return what was written of some plans, as `SCHEMA`."""
    parts = []
    for plan in plans:
        table = parquet_files.read_table(plan.index_path, _COLUMNS)
        split = pa.array([plan.split] * len(table), pa.string())
        table = table.append_column("split", split)
        parts.append(table.replace_schema_metadata())
    return pa.concat_tables(parts) if parts else SCHEMA.empty_table()


def check_overlap(
    contents: pa.Table, allow_overlap: bool, *, list_path: str = ""
) -> int:
    """Return how many training images are held out, too.

    Validation images that are test images are named and no more: nothing is
    trained with either.

    Args:
        contents: See `read`.
        allow_overlap: Whether they are accepted.
        list_path: Where their keys are written, one a line, if they are not
            accepted; empty: nowhere.

    Raises:
        ValueError: There are some, and they are not allowed.
    """
    if list_path:
        files.remove(list_path)
    twice = _find_shared(contents, splits.VALIDATION, {splits.TEST})
    if twice:
        logging.warning(
            "%d validation images are test images, too (by content): %s.",
            len(twice),
            _name_pairs(twice),
        )
    held_out = {splits.VALIDATION, splits.TEST}
    pairs = _find_shared(contents, splits.TRAIN, held_out)
    if not pairs:
        return 0
    message = (
        f"{len(pairs)} training images are in the held-out sets, too (by "
        f"content): {_name_pairs(pairs)}"
    )
    if allow_overlap:
        logging.warning("%s.", message)
        return len(pairs)
    if list_path:
        files.write_text(list_path, "".join(f"{key}\n" for key, _ in pairs))
    raise ValueError(
        f"{message}. Remove one of each from its source"
        + (f" ({list_path} lists the training images)" if list_path else "")
        + ", or accept them with --data.allow_overlap (--allow_overlap of the "
        "builder)."
    )


def _name_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return manifests.name_some([f"{key} = {other}" for key, other in pairs])


def _find_shared(
    contents: pa.Table, split: str, others: Collection[str]
) -> list[tuple[str, str]]:
    """Return (key, key in other splits) of pictures that are in both."""
    own = contents.filter(pc.equal(contents["split"], split))
    is_other = pc.is_in(contents["split"], value_set=pa.array(sorted(others)))
    other = contents.filter(is_other)
    own = own.filter(_is_among(own, other["image_sha256"]))
    other = other.filter(_is_among(other, own["image_sha256"]))
    keys = {row["image_sha256"]: row["key"] for row in other.to_pylist()}
    return [(row["key"], keys[row["image_sha256"]]) for row in own.to_pylist()]


def _is_among(table: pa.Table, hashes: pa.ChunkedArray) -> pa.ChunkedArray:
    """Tell of each picture if its hash is one of some."""
    return pc.is_in(table["image_sha256"], value_set=hashes.combine_chunks())


def name_contradictions(
    contents: pa.Table, class_names: Sequence[str]
) -> list[str]:
    """Return a text for each picture that stands in several classes.

    Its labels are kept: nothing tells which one is right.
    """
    named = [
        " = ".join(f"{key} ({class_names[label]})" for key, label in each)
        for each in _find_contradictions(contents)
    ]
    if named:
        logging.warning(
            "%d pictures stand in several classes (by content), and are "
            "trained with each label: %s. Keep the right one of each.",
            len(named),
            manifests.name_some(named),
        )
    return named


def _find_contradictions(contents: pa.Table) -> list[list[tuple[str, int]]]:
    """Return (key, label) of the copies of each picture of several classes."""
    labels = contents.group_by("image_sha256").aggregate(
        [("label", "count_distinct")]
    )
    several = labels.filter(pc.greater(labels["label_count_distinct"], 1))
    copies: dict[bytes, list[tuple[str, int]]] = collections.defaultdict(list)
    shared = contents.filter(_is_among(contents, several["image_sha256"]))
    for row in shared.to_pylist():
        copies[row["image_sha256"]].append((row["key"], row["label"]))
    return [sorted(each) for each in copies.values()]
