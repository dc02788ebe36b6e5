"""A run's folder with few images, written without a network."""

import dataclasses
import io

import numpy as np
from PIL import Image

from data_prep.shards import sidecars
from noisy_student_tf import files, workdirs
from noisy_student_tf.configs import config_tree, presets
from noisy_student_tf.model import architectures, saved
from noisy_student_tf.records import (
    parquet_files,
    predictions,
    schema,
    shards,
)

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


def write(
    root: str, splits: dict[str, Pictures], **overrides
) -> workdirs.Workdir:
    """Write configuration and shards of a run.

    Args:
        root: Of the run.
        splits: `unlabeled`, and those of the labeled images.
        **overrides: Fields of the configuration.
    """
    workdir = workdirs.Workdir(root)
    files.make_directories(root)
    config = config_tree.override(presets.preset("tiny"), overrides)
    files.write_text(workdir.config, config_tree.to_json(config))
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


def write_model(workdir: workdirs.Workdir, folder: str, *, seed: int) -> None:
    """Write a network of random weights."""
    spec = architectures.make_spec(
        presets.preset("tiny").model,
        num_classes=len(CLASS_NAMES),
        class_names=tuple(CLASS_NAMES),
    )
    model = architectures.build(spec, seed=seed)
    directory = workdir.folder(folder)
    saved.save(directory, model=model, ema_model=model, spec=spec)
    shards.write_manifest(directory, {"model": folder, "seed": seed})


def write_predictions(
    workdir: workdirs.Workdir,
    iteration: int,
    pictures: Pictures,
    probabilities: np.ndarray,
) -> None:
    """Write what a teacher says: float [num_images, num_classes]."""
    directory = workdir.predictions(iteration)
    files.make_directories(directory)
    columns = predictions.predictions_schema(len(CLASS_NAMES), metadata={})
    names = []
    for index, rows in _rows_of_shards(pictures):
        names.append(predictions.predictions_name(index, NUM_SHARDS))
        _write_rows(
            files.join(directory, names[-1]),
            columns,
            [pictures.ids()[row] for row in rows],
            probabilities[rows],
            probabilities[rows].astype(np.float16),
        )
    shards.write_manifest(
        directory,
        {
            "num_classes": len(CLASS_NAMES),
            "num_images": len(pictures.keys),
            "shards": names,
        },
    )


def write_selection(
    workdir: workdirs.Workdir,
    iteration: int,
    pictures: Pictures,
    probabilities: np.ndarray,
    is_selected: np.ndarray,
) -> None:
    """Write which of a teacher's labels were kept: bool [num_images]."""
    directory = workdir.selection(iteration)
    files.make_directories(directory)
    for index, rows in _rows_of_shards(pictures):
        kept = [row for row in rows if is_selected[row]]
        _write_rows(
            files.join(
                directory, predictions.selection_name(index, NUM_SHARDS)
            ),
            predictions.selection_schema(),
            [pictures.ids()[row] for row in kept],
            probabilities[kept],
            np.ones(len(kept), np.int32),
        )
    shards.write_manifest(directory, {})


def _rows_of_shards(pictures: Pictures) -> list[tuple[int, list[int]]]:
    num_images = len(pictures.keys)
    return [
        (index, list(range(index, num_images, NUM_SHARDS)))
        for index in range(NUM_SHARDS)
    ]


def _write_rows(path, columns, ids, probabilities, last) -> None:
    rows = predictions.PredictedRows(
        class_ids=probabilities.argmax(1).astype(np.int32),
        confidences=probabilities.max(1, initial=0).astype(np.float32),
        ids=np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 16),
    )
    with parquet_files.open_writer(path, columns) as writer:
        writer.write_batch(predictions.record_batch(columns, rows, last))
