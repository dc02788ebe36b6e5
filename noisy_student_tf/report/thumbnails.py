"""Thumbnails of a few images, found by id in their shards."""

import base64
import collections
import io
from collections.abc import Iterable

from noisy_student_tf import files
from noisy_student_tf.records import (
    parquet_files,
    pictures,
    schema,
    shards,
)

# Twice the side on the page, for fine screens.
THUMBNAIL_SIDE = 96
# Reading a shard to its last wanted record is what a thumbnail costs.
MAX_SHARDS_READ = 64


def read(
    directory: str,
    places: Iterable[tuple[int, bytes]],
    split: str = "unlabeled",
) -> dict[bytes, str]:
    """Return thumbnails as data URIs, by id.

    Shards are read one after the other, those with the most wanted images
    first and `MAX_SHARDS_READ` at most; what lies in others is left out.

    Args:
        directory: The unlabeled, or the labeled images.
        places: Shard number and id of each.
        split: Of the directory.
    """
    shard_set = shards.open_split(directory, split)
    wanted: dict[int, set[bytes]] = collections.defaultdict(set)
    for shard_index, image_id in places:
        if shard_index < len(shard_set.paths):
            wanted[shard_index].add(image_id)
    fullest = sorted(wanted, key=lambda index: (-len(wanted[index]), index))
    found = {}
    for shard_index in fullest[:MAX_SHARDS_READ]:
        positions = _positions(
            files.join(
                directory,
                shards.index_name(split, shard_index, len(shard_set.paths)),
            ),
            wanted[shard_index],
        )
        found.update(_read_shard(shard_set.paths[shard_index], positions))
    return found


def _positions(path: str, wanted: set[bytes]) -> dict[int, bytes]:
    """Return record number -> id of the wanted images of one shard's index."""
    positions = {}
    start = 0
    for batch in parquet_files.read_batches(path, ["image_id"]):
        ids = parquet_files.fixed_bytes(batch["image_id"])
        for row, image_id in enumerate(ids):
            if (key := image_id.tobytes()) in wanted:
                positions[start + row] = key
        start += len(ids)
    return positions


def _read_shard(path: str, positions: dict[int, bytes]) -> dict[bytes, str]:
    """Return the thumbnails of some records of one shard, by id."""
    import tensorflow as tf

    found: dict[bytes, str] = {}
    for number, record in enumerate(shards.read_records(path)):
        if number not in positions:
            continue
        image_id = positions[number]
        feature = tf.train.Example.FromString(record).features.feature
        # Foreign records carry no id: the index alone names them.
        stored = feature[schema.IMAGE_ID].bytes_list.value
        if not stored or stored[0] == image_id:
            uri = make(feature[schema.IMAGE].bytes_list.value[0])
            if uri:
                found[image_id] = uri
        if number == max(positions):
            break
    return found


def make(encoded: bytes) -> str | None:
    """Return a picture, made small, as a data URI; None if unreadable."""
    try:
        picture = pictures.open_upright(encoded, draft_side=THUMBNAIL_SIDE)
    except pictures.CorruptImageError:
        return None
    is_small = max(picture.size) <= THUMBNAIL_SIDE
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    output = io.BytesIO()
    # Small pictures stay lossless.
    kind = "png" if is_small else "jpeg"
    picture.save(output, kind, optimize=True, quality=80)
    text = base64.b64encode(output.getvalue()).decode("ascii")
    return f"data:image/{kind};base64,{text}"
