"""Where the images of a run lie, by their ids or by their files' names.

Indexes of shards are streamed; memory holds what is asked for.
"""

import collections
import dataclasses
from collections.abc import Collection, Iterator

import numpy as np

from noisy_student_tf import workdirs
from noisy_student_tf.records import lookups, parquet_files, schema, shards

UNLABELED = "unlabeled"
# Their labels decide what the report says.
HELD_OUT = ("validation", "test")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an image lies.

    Attributes:
        image_id: 16 bytes.
        split: `unlabeled`, or one of the labeled images.
        shard: Number of the shard.
        row: Number of the record there.
        key: Path of its file relative to the source, or number of its record.
        label: Its class; -1 without.
    """

    image_id: bytes
    split: str
    shard: int
    row: int
    key: str
    label: int


@dataclasses.dataclass(frozen=True)
class _Batch:
    split: str
    shard: int
    start: int
    ids: np.ndarray
    keys: list[str]
    labels: np.ndarray

    def place(self, row: int) -> Place:
        return Place(
            image_id=self.ids[row].tobytes(),
            split=self.split,
            shard=self.shard,
            row=self.start + row,
            key=self.keys[row],
            label=int(self.labels[row]),
        )


def directory(workdir: workdirs.Workdir, split: str) -> str:
    """Return the folder of a split's shards."""
    return workdir.unlabeled if split == UNLABELED else workdir.labeled


def find_ids(
    workdir: workdirs.Workdir, ids: Collection[bytes]
) -> dict[bytes, Place]:
    """Return where images lie; ids that the run does not know are left out.

    An image that is unlabeled and labeled, too, is found among the labeled.
    """
    found: dict[bytes, Place] = {}
    if not ids:
        return found
    wanted = np.frombuffer(b"".join(ids), np.uint8)
    wanted = lookups.sortable(wanted.reshape(-1, schema.ID_BYTES))
    for batch in _batches(workdir):
        is_wanted = np.isin(lookups.sortable(batch.ids), wanted)
        for row in np.flatnonzero(is_wanted).tolist():
            place = batch.place(row)
            found[place.image_id] = place
    return found


def find_names(
    workdir: workdirs.Workdir, names: Collection[str]
) -> dict[str, list[Place]]:
    """Return name -> the images that it may mean; none: it is left out.

    A name means a key where one ends with the other, from a slash on. Of
    several keys those with the longest such end are meant.
    """
    by_file = collections.defaultdict(list)
    for name in set(names):
        by_file[name.rpartition("/")[2]].append(name)
    found: dict[str, list[Place]] = {}
    lengths: dict[str, int] = {}
    for batch in _batches(workdir):
        for row, key in enumerate(batch.keys):
            for name in by_file.get(key.rpartition("/")[2], ()):
                length = _common_end(name, key)
                if length and length >= lengths.get(name, 1):
                    if length > lengths.get(name, 0):
                        found[name] = []
                    lengths[name] = length
                    found[name].append(batch.place(row))
    return {name: _once(places) for name, places in found.items()}


def _common_end(name: str, key: str) -> int:
    """Return the length of the shorter one if the longer ends with it."""
    one, other = f"/{name}", f"/{key}"
    is_end = one.endswith(other) or other.endswith(one)
    return min(len(name), len(key)) if is_end else 0


def _once(places: list[Place]) -> list[Place]:
    return list({place.image_id: place for place in places}.values())


def _batches(workdir: workdirs.Workdir) -> Iterator[_Batch]:
    """Yield the unlabeled images, then the labeled ones."""
    for folder in (workdir.unlabeled, workdir.labeled):
        if not shards.is_finished(folder):
            continue
        for split in shards.read_manifest(folder)["splits"]:
            for shard, path in enumerate(shards.index_paths(folder, split)):
                yield from _shard_batches(split, shard, path)


def _shard_batches(split: str, shard: int, path: str) -> Iterator[_Batch]:
    start = 0
    columns = ["image_id", "key", "label"]
    for batch in parquet_files.read_batches(path, columns):
        ids = parquet_files.image_ids(batch["image_id"], path)
        labels = batch["label"].fill_null(schema.NO_LABEL).to_numpy()
        keys = batch["key"].to_pylist()
        yield _Batch(split, shard, start, ids, keys, labels)
        start += len(ids)
