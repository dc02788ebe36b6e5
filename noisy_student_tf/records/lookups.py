"""Values of images, looked up by their ids: columns beside `image_id`."""

import dataclasses
from typing import Any

import numpy as np

from noisy_student_tf import files
from noisy_student_tf.records import parquet_files, schema

_ID_TEXT = f"S{schema.ID_BYTES}"


@dataclasses.dataclass(frozen=True)
class Lookup:
    """A value of each of some images.

    Attributes:
        ids: bytes [num_images], sorted.
        values: [num_images], in the order of the ids.
        unknown: Stands for the value of any other image.
    """

    ids: np.ndarray
    values: np.ndarray
    unknown: Any

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Return the value of each image: uint8 [n, 16] -> [n]."""
        found = np.full(len(ids), self.unknown, self.values.dtype)
        if self.ids.size:
            wanted = sortable(ids)
            places = np.searchsorted(self.ids, wanted)
            places = np.minimum(places, self.ids.size - 1)
            is_known = self.ids[places] == wanted
            found[is_known] = self.values[places[is_known]]
        return found


def sortable(ids: np.ndarray) -> np.ndarray:
    """Return ids as byte strings: uint8 [n, 16] -> bytes [n]."""
    return np.ascontiguousarray(ids).view(_ID_TEXT)[:, 0]


def read(path: str, column: str, *, dtype: Any, unknown: Any) -> Lookup:
    """Read a column of a Parquet file; a missing file knows nothing."""
    ids, values = [np.zeros(0, _ID_TEXT)], [np.zeros(0, dtype)]
    if files.exists(path):
        for batch in parquet_files.read_batches(path, ["image_id", column]):
            ids.append(
                sortable(parquet_files.image_ids(batch["image_id"], path))
            )
            found = batch[column].to_numpy(zero_copy_only=False)
            values.append(found.astype(dtype))
    all_ids = np.concatenate(ids)
    order = np.argsort(all_ids, kind="stable")
    return Lookup(all_ids[order], np.concatenate(values)[order], unknown)
