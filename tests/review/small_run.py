"""A run's folder with few images, written without a network."""

import dataclasses
import io

import numpy as np
from PIL import Image

from data_prep.shards import sidecars
from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.records import schema, shards

CLASS_NAMES = ["cat", "dog", 'old, "gray" <b>owl</b>']
NUM_SHARDS = 2


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Images of a split, by key.

    Attributes:
        keys: One an image.
        labels: int64 [num_images]; None: they have none.
    """

    keys: list[str]
    labels: list[int] | None = None

    def ids(self) -> list[bytes]:
        return [image_id(key) for key in self.keys]


def image_id(key: str) -> bytes:
    return schema.make_id("small", key)


def picture(key: str, side: int = 24) -> bytes:
    """Return a picture of few colors that depend on the key."""
    random = np.random.default_rng(list(key.encode()))
    pixels = random.integers(0, 255, [3, 3, 3], np.uint8).repeat(side // 3, 0)
    output = io.BytesIO()
    Image.fromarray(pixels.repeat(side // 3, 1)).save(output, "png")
    return output.getvalue()


def write(root: str, splits: dict[str, Pictures]) -> workdirs.Workdir:
    """Write configuration and shards of a run.

    Args:
        root: Of the run.
        splits: `unlabeled`, and those of the labeled images.
    """
    workdir = workdirs.Workdir(root)
    files.make_directories(root)
    files.write_text(
        workdir.config,
        config_tree.to_json(presets.preset("tiny")),
    )
    entries: dict[str, dict] = {"unlabeled": {}, "labeled": {}}
    for split, pictures in splits.items():
        folder = "unlabeled" if split == "unlabeled" else "labeled"
        entries[folder][split] = _write_split(
            workdir.folder(folder), split, pictures
        )
    for folder, found in entries.items():
        shards.write_manifest(
            workdir.folder(folder),
            {"splits": found, "class_names": CLASS_NAMES},
        )
    return workdir


def _write_split(directory: str, split: str, pictures: Pictures) -> dict:
    files.make_directories(directory)
    names = []
    for index in range(NUM_SHARDS):
        rows = []
        names.append(shards.shard_name(split, index, NUM_SHARDS))
        with shards.open_writer(files.join(directory, names[-1])) as writer:
            for row in range(index, len(pictures.keys), NUM_SHARDS):
                key = pictures.keys[row]
                label = pictures.labels[row] if pictures.labels else None
                record = schema.encode_image(
                    image=picture(key), image_id=image_id(key), label=label
                )
                writer.write(record)
                rows.append((image_id(key), bytes(32), label, key))
        name = shards.index_name(split, index, NUM_SHARDS)
        sidecars.write_index(
            files.join(directory, name),
            rows=rows,
            summary=sidecars.ShardSummary(),
        )
    return shards.split_manifest(
        paths=names,
        num_records=len(pictures.keys),
        schema="image",
        num_classes=len(CLASS_NAMES) if pictures.labels else 0,
    )
