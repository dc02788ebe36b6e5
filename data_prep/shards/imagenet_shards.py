"""ImageNet's TFRecords, read where they lie: only indexes are written.

Every picture is decoded once. A file that holds some that cannot be decoded is
copied without them.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar

from data_prep.shards import shard_building, sidecars, splits
from data_prep.sources import items, pictures, tfrecords
from noisy_student_tf import configs, files
from noisy_student_tf.records import parquet_files, schema, shards

_PREFIX = "imagenet:"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForeignPlan(shard_building.ShardPlan):
    """One file to index.

    Attributes:
        source_path: The file.
    """

    schema: ClassVar[shards.Schema] = "imagenet"

    source_path: str

    @property
    def shard_path(self) -> str:
        """The shard as the manifest names it: the file, or its copy's name."""
        name = shards.shard_name(self.split, self.index, self.count)
        has_copy = files.exists(files.join(self.directory, name))
        return name if has_copy else self.source_path

    def identity(self) -> str:
        """Return what the index depends on."""
        size_bytes = files.size_bytes(self.source_path)
        return f"{self.index_name} {self.source_path} {size_bytes}"

    def write(self) -> None:
        """Read the file and write its index, and its copy where needed."""
        rows: list[tuple[Any, ...]] = []
        class_names: dict[str, str] = {}
        corrupt: dict[int, dict[str, str]] = {}
        examples = tfrecords.read_examples(self.source_path)
        for number, (_, _, example) in enumerate(examples):
            key = tfrecords.record_key(self.source_path, number)
            label = tfrecords.imagenet_label(example, key)
            picture = schema.stored_bytes(example, schema.IMAGE)
            try:
                pictures.check_decodable(picture)
            except pictures.CorruptImageError as error:
                corrupt[number] = {"key": key, "reason": str(error)}
                continue
            digest = hashlib.sha256(picture).digest()
            image_id = schema.make_id(tfrecords.IMAGENET, key)
            rows.append((image_id, digest, label, key))
            name = tfrecords.imagenet_class_name(example, label)
            class_names[str(label)] = name
        name = shards.shard_name(self.split, self.index, self.count)
        path = files.join(self.directory, name)
        if corrupt:
            tfrecords.copy_without(self.source_path, path, corrupt.keys())
        summary = sidecars.ShardSummary(
            sha256=shards.fingerprint(path) if corrupt else "",
            corrupt=list(corrupt.values()),
            class_names=class_names,
        )
        sidecars.write_index(self.index_path, rows=rows, summary=summary)


def is_read_in_place(specification: str, data: configs.DataConfig) -> bool:
    """Tell whether a source is ImageNet's files, all images as they are."""
    return specification.startswith(_PREFIX) and not data.max_stored_side


def plan_splits(data: configs.DataConfig, directory: str) -> list[ForeignPlan]:
    """Plan to index the labeled files, whole files of them held out.

    Held out are the files with the smallest hashes of their names, at least
    one where a share is asked for.

    Raises:
        FileNotFoundError: No file matches.
        ValueError: There are too few files to hold out whole ones.
    """
    paths = _find(data.labeled)
    by_hash = sorted(paths, key=_hash_of_name)
    test_share = 0.0 if data.evaluation else data.evaluation_fraction
    num_test = _num_files(test_share, len(paths))
    num_held_out = num_test + _num_files(data.validation_fraction, len(paths))
    if num_held_out >= len(paths):
        raise ValueError(
            f"{data.labeled}: {len(paths)} files match, of which "
            f"{num_held_out} would be held out: whole files are, at least one "
            "each for validation and test. Set --data.validation_fraction or "
            "--data.evaluation_fraction to 0, give --data.evaluation, or use "
            "more files."
        )
    chosen = {
        splits.TRAIN: by_hash[num_held_out:],
        splits.VALIDATION: by_hash[num_test:num_held_out],
        splits.TEST: by_hash[:num_test],
    }
    return [
        plan
        for split, split_paths in chosen.items()
        for plan in _plan(data.labeled, split, sorted(split_paths), directory)
    ]


def plan_test(data: configs.DataConfig, directory: str) -> list[ForeignPlan]:
    """Plan to index the held-out files.

    Raises:
        FileNotFoundError: No file matches.
    """
    paths = _find(data.evaluation)
    return _plan(data.evaluation, splits.TEST, paths, directory)


def _find(specification: str) -> list[str]:
    pattern = specification.removeprefix(_PREFIX)
    return items.expand_absolute(specification, pattern)


def _hash_of_name(path: str) -> float:
    image_id = schema.make_id(tfrecords.IMAGENET, items.base_name(path))
    return schema.unit_hash(image_id, "split")


def _num_files(share: float, num_files: int) -> int:
    return max(1, round(share * num_files)) if share else 0


def _plan(
    specification: str, split: str, paths: list[str], directory: str
) -> list[ForeignPlan]:
    return [
        ForeignPlan(
            specification=specification,
            source_path=path,
            directory=directory,
            split=split,
            index=index,
            count=len(paths),
        )
        for index, path in enumerate(paths)
    ]


def found_classes(plans: Sequence[shard_building.ShardPlan]) -> dict[int, str]:
    """Return label -> name of the classes in indexed files."""
    found: dict[int, str] = {}
    for plan in plans:
        table = parquet_files.read_table(plan.index_path, ["label"])
        names = sidecars.read_summary(table).class_names
        found.update({int(label): name for label, name in names.items()})
    return found
