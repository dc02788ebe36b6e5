"""The pictures of a run, read one by one where they lie in their shards."""

import functools
import itertools
import struct
import threading
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from noisy_student_tf import files, workdirs
from noisy_student_tf.pipeline import record_store
from noisy_student_tf.records import schema, shards
from noisy_student_tf.review import places

_HEADER_BYTES = 12
_SHARDS_REMEMBERED = 256


class Pictures:
    """Reads encoded pictures by their places.

    A shard is followed along the lengths of its records once; where they begin
    is remembered, eight bytes a record. Remote shards are read from the front.
    """

    def __init__(self, workdir: workdirs.Workdir) -> None:
        """Read nothing yet."""
        self._workdir = workdir
        self._lock = threading.Lock()
        self._paths = functools.cache(self._find_paths)
        self._offsets = functools.lru_cache(_SHARDS_REMEMBERED)(
            record_store.record_offsets
        )

    def read(self, place: places.Place) -> bytes:
        """Return a picture as it is stored.

        Raises:
            FileNotFoundError: Its shard is gone.
            ValueError: It cannot be read, or another image lies there.
        """
        ((_, encoded),) = self.read_all([place])
        return encoded

    def read_all(
        self, wanted: Iterable[places.Place]
    ) -> Iterator[tuple[places.Place, bytes]]:
        """Yield pictures, shard by shard.

        Raises:
            FileNotFoundError, ValueError: See `read`.
        """

        def shard_of(place: places.Place) -> tuple[str, int]:
            return place.split, place.shard

        ordered = sorted(wanted, key=lambda each: (*shard_of(each), each.row))
        for (split, shard), group in itertools.groupby(ordered, shard_of):
            path = self._path(split, shard)
            here = list(group)
            rows = [place.row for place in here]
            records = (
                _read_from_front(path, rows)
                if files.is_remote(path)
                else self._read_at(path, rows)
            )
            for place, record in zip(here, records, strict=True):
                yield place, _picture(record, place, path)

    def _path(self, split: str, shard: int) -> str:
        with self._lock:
            return self._paths(split)[shard]

    def _find_paths(self, split: str) -> tuple[str, ...]:
        directory = places.directory(self._workdir, split)
        return shards.open_split(directory, split).paths

    def _read_at(self, path: str, rows: list[int]) -> Iterator[bytes]:
        with self._lock:
            offsets = self._offsets(path)
        with open(path, "rb") as file:
            for row in rows:
                if row >= len(offsets):
                    raise _lost(path, row)
                file.seek(int(offsets[row]))
                (length,) = struct.unpack_from("<Q", file.read(_HEADER_BYTES))
                yield file.read(length)


def _read_from_front(path: str, rows: list[int]) -> Iterator[bytes]:
    """Yield some records of a remote shard; rows are in ascending order."""
    left = iter(rows)
    row = next(left)
    for number, record in enumerate(shards.read_records(path)):
        if number == row:
            yield record
            following = next(left, None)
            if following is None:
                return
            row = following
    raise _lost(path, row)


def _picture(record: bytes, place: places.Place, path: str) -> bytes:
    try:
        example = tf.train.Example.FromString(record)
    # Protocol buffers have no public class for what is damaged.
    except Exception as error:
        raise _lost(path, place.row) from error
    stored = schema.stored_bytes(example, schema.IMAGE_ID)
    encoded = schema.stored_bytes(example, schema.IMAGE)
    # Foreign records carry no id.
    if not encoded or stored not in (b"", place.image_id):
        raise _lost(path, place.row)
    return encoded


def _lost(path: str, row: int) -> ValueError:
    return ValueError(
        f"{path}, record {row}: it is damaged, or not the image that the index "
        "beside it names. Build the shards again."
    )


def sample_key(ids: np.ndarray) -> np.ndarray:
    """Return numbers by which the smallest are a random sample of images.

    Args:
        ids: uint8 [num_images, 16], hashes already.

    Returns:
        uint64 [num_images].
    """
    return np.ascontiguousarray(ids[:, :8]).view(">u8")[:, 0]
